/**
 * A page ages: its keys and values go from one form to the next, f32 -> Q8 -> the cache's (drawing: packed-page.ts, formulas:
 * quantize-group.ts). Quantizing is scalar and the only implementation: a page is converted twice in its life, a few thousand
 * operations a token in all. A NaN or infinity marks the page as broken: what is computed from it is then NaN (kernels/attend.ts).
 */
import { halfToFloat, roundToHalf } from "../kernels/f16";
import { Engine } from "../memory/records";
import { KvForm, Part, Size } from "../memory/status";
import { packPart } from "../sections/pack";
import { sectionBytes } from "../sections/sections";
import { groupsOf, hasChannels, hasMinima, isFew, minimumOffset, scaleAt } from "./packed-page";
import {
  firstPosition, floatOffset, isBroken, keyFormOf, keysOf, partBytes, setBroken, setFirstPosition, valueFormOf,
  valuesOf,
} from "./page";
import { gather, putGroup, topByte } from "./quantize-group";
import { copyCodes } from "./slot-codes";
import { copySlots } from "./slots";

/** Values of one token and group, while they are quantized. */
const GROUP_VALUES: usize = memory.data(64 * 4, 16);

/**
 * A slot's keys or values from one page into another whose place for them is zero; false where one is not finite. Codes and
 * scales of the same form are copied, f32 becomes fewer bits than 8 by way of 8.
 */
export function convertSlot(
  to: usize, toForm: KvForm, toSlot: u32, from: usize, form: KvForm, slot: u32, part: Part, dim: u32, group: u32,
): bool {
  let finite = true;
  const isSame = toForm == form && form != KvForm.F32;
  if (isSame) copyCodes(to, toSlot, from, slot, form, part, dim);
  for (let g: u32 = 0; g < groupsOf(dim, group); ++g) {
    const first = g * group;
    const end = min<u32>(first + group, dim);
    if (isSame) {
      const scale = scaleAt(to, form, toSlot, g, dim);
      const source = scaleAt(from, form, slot, g, dim);
      store<u16>(scale, load<u16>(source));
      if (hasMinima(form)) store<u16>(scale + minimumOffset(dim, group), load<u16>(source + minimumOffset(dim, group)));
      continue;
    }
    gather(GROUP_VALUES, from, form, part, slot, first, end, dim, group);
    if (toForm == KvForm.F32) {
      for (let d = first; d < end; ++d) store<f32>(to + floatOffset(part, toSlot, d, dim), load<f32>(GROUP_VALUES + ((d - first) << 2)));
      continue;
    }
    if (form == KvForm.F32 && isFew(toForm) && !throughBytes(GROUP_VALUES, end - first, topByte(part))) finite = false;
    if (!putGroup(to, toForm, part, toSlot, first, end, dim, group, GROUP_VALUES)) finite = false;
  }
  return finite;
}

/** What 8 bits would make of a group; false where a value is not finite. */
function throughBytes(x: usize, n: u32, top: f32): bool {
  let range: f32 = 0;
  let finite = true;
  for (let i: u32 = 0; i < n; ++i) {
    const size = abs<f32>(load<f32>(x + (i << 2)));
    if (!(size < Infinity)) finite = false;
    range = max<f32>(range, size);
  }
  const scale = halfToFloat(roundToHalf(range / top));
  const inverse: f32 = scale > 0 ? <f32>1 / scale : 0;
  for (let i: u32 = 0; i < n; ++i) {
    const code = nearest<f32>(load<f32>(x + (i << 2)) * inverse);
    store<f32>(x + (i << 2), min<f32>(max<f32>(code, -top), top) * scale);
  }
  return finite;
}

/** Keys or values of all slots; false where one is not finite. `to` is zeroed where codes share a byte. */
function convertPart(e: Engine, to: usize, toForm: KvForm, from: usize, form: KvForm, part: Part, dim: u32): bool {
  const group = e.kvGroup;
  if (toForm == form) {
    memory.copy(to, from, partBytes(form, part, dim, group, e.kvSections));
    return true;
  }
  if (hasChannels(toForm) || sectionBytes(e.kvSections, toForm, part, dim, group) != 0) return packPart(e, to, toForm, from, form, part, dim);
  let finite = true;
  for (let slot: u32 = 0; slot < <u32>Size.PAGE_SLOTS; ++slot) {
    if (!convertSlot(to, toForm, slot, from, form, slot, part, dim, group)) finite = false;
  }
  return finite;
}

/** Fills page `to`, whose forms are set, from a full page. */
export function convertPage(e: Engine, to: usize, from: usize): void {
  const keyForm = keyFormOf(to);
  const valueForm = valueFormOf(to);
  setFirstPosition(to, firstPosition(from));
  copySlots(e, to, from);
  const group = e.kvGroup;
  const sections = e.kvSections;
  const keys = convertPart(e, keysOf(to), keyForm, keysOf(from), keyFormOf(from), Part.KEYS, e.keyDim);
  const source = valuesOf(from, e.keyDim, group, sections);
  const values = convertPart(e, valuesOf(to, e.keyDim, group, sections), valueForm, source, valueFormOf(from), Part.VALUES, e.valueDim);
  setBroken(to, isBroken(from) || !keys || !values);
}
