/**
 * A page ages: its keys and values go from one form to the next, f32 -> Q8 -> the cache's (drawing: packed-page.ts). Scalar
 * and the only implementation: a page is converted twice in its life, a few thousand operations a token in all.
 *
 *   Q8: scale = f16(absmax / 127), code = nearest-even(x / scale) within +-127
 *   Q4, Q3: minimum = f16(min), scale = f16((max - minimum) / top), code = nearest-even((x - minimum) / scale) within 0..top
 *
 * x / scale is x * (1 / scale) in f32; a scale of 0 gives codes 0. Scales beyond f16's range are taken as its largest. A
 * NaN or infinity marks the page as broken: what is computed from it is then NaN (kernels/attend.ts).
 */
import { halfToFloat, roundToHalf } from "../kernels/f16";
import { Engine } from "../memory/records";
import { KvForm, Part, Size } from "../memory/status";
import { codeAt, groupsOf, hasMinima, minimumOffset, putCode, scaleAt } from "./packed-page";
import {
  firstPosition, floatOffset, isBroken, keyFormOf, keysOf, partBytes, setBroken, setFirstPosition, setForms, valueFormOf,
  valuesOf,
} from "./page";
import { copySlots } from "./slots";

/** Values of one token and group, while they are quantized. */
const GROUP_VALUES: usize = memory.data(64 * 4, 16);

/** Largest code of a form with minima. */
// @ts-ignore: decorator
@inline
export function topCode(form: KvForm): i32 {
  return form == KvForm.Q4 ? 15 : 7;
}

/** Dims [first, end) of a slot as f32 into `out`. */
function gather(out: usize, from: usize, form: KvForm, part: Part, slot: u32, first: u32, end: u32, dim: u32, group: u32): void {
  if (form == KvForm.F32) {
    for (let d = first; d < end; ++d) store<f32>(out + ((d - first) << 2), load<f32>(from + floatOffset(part, slot, d, dim)));
    return;
  }
  const at = scaleAt(from, form, slot, first / group, dim);
  const scale = halfToFloat(load<u16>(at));
  const minimum: f32 = hasMinima(form) ? halfToFloat(load<u16>(at + minimumOffset(dim, group))) : 0;
  for (let d = first; d < end; ++d) {
    const x: f32 = <f32>codeAt(from, form, part, slot, d, dim) * scale;
    store<f32>(out + ((d - first) << 2), hasMinima(form) ? x + minimum : x);
  }
}

/** A slot's key or value as f32 [dim]. */
export function readSlot(out: usize, from: usize, form: KvForm, part: Part, slot: u32, dim: u32, group: u32): void {
  for (let first: u32 = 0; first < dim; first += group) {
    gather(out + (first << 2), from, form, part, slot, first, min<u32>(first + group, dim), dim, group);
  }
}

/** Quantizes one token's group; returns false where a value is not finite. */
function putGroup(to: usize, form: KvForm, part: Part, slot: u32, first: u32, end: u32, dim: u32, group: u32, x: usize): bool {
  let low: f32 = load<f32>(x);
  let high: f32 = low;
  const n = end - first;
  for (let i: u32 = 1; i < n; ++i) {
    low = min<f32>(low, load<f32>(x + (i << 2)));
    high = max<f32>(high, load<f32>(x + (i << 2)));
  }
  const at = scaleAt(to, form, slot, first / group, dim);
  let minimum: f32 = 0;
  let top: f32 = 127;
  let range: f32 = max<f32>(-low, high);
  if (hasMinima(form)) {
    const bits = roundToHalf(low);
    store<u16>(at + minimumOffset(dim, group), <u16>bits);
    minimum = halfToFloat(bits);
    top = <f32>topCode(form);
    range = max<f32>(high - minimum, 0);
  }
  const bits = roundToHalf(range / top);
  store<u16>(at, <u16>bits);
  const scale = halfToFloat(bits);
  const inverse: f32 = scale > 0 ? <f32>1 / scale : 0;
  const bottom: f32 = hasMinima(form) ? 0 : -top;
  for (let i: u32 = 0; i < n; ++i) {
    const code = nearest<f32>((load<f32>(x + (i << 2)) - minimum) * inverse);
    putCode(to, form, part, slot, first + i, dim, <i32>min<f32>(max<f32>(code, bottom), top));
  }
  return abs<f32>(low) < Infinity && abs<f32>(high) < Infinity;
}

/**
 * A slot's keys or values from one page into another whose place for them is zero; false where one is not finite. Codes and
 * scales of the same form are copied, f32 becomes fewer bits than 8 by way of 8.
 */
export function convertSlot(
  to: usize, toForm: KvForm, toSlot: u32, from: usize, form: KvForm, slot: u32, part: Part, dim: u32, group: u32,
): bool {
  let finite = true;
  for (let g: u32 = 0; g < groupsOf(dim, group); ++g) {
    const first = g * group;
    const end = min<u32>(first + group, dim);
    if (toForm == form && form != KvForm.F32) {
      for (let d = first; d < end; ++d) putCode(to, form, part, toSlot, d, dim, codeAt(from, form, part, slot, d, dim));
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
    if (form == KvForm.F32 && toForm > KvForm.Q8 && !throughBytes(GROUP_VALUES, end - first)) finite = false;
    if (!putGroup(to, toForm, part, toSlot, first, end, dim, group, GROUP_VALUES)) finite = false;
  }
  return finite;
}

/** What 8 bits would make of a group; false where a value is not finite. */
function throughBytes(x: usize, n: u32): bool {
  let range: f32 = 0;
  let finite = true;
  for (let i: u32 = 0; i < n; ++i) {
    const size = abs<f32>(load<f32>(x + (i << 2)));
    if (!(size < Infinity)) finite = false;
    range = max<f32>(range, size);
  }
  const scale = halfToFloat(roundToHalf(range / 127));
  const inverse: f32 = scale > 0 ? <f32>1 / scale : 0;
  for (let i: u32 = 0; i < n; ++i) {
    const code = nearest<f32>(load<f32>(x + (i << 2)) * inverse);
    store<f32>(x + (i << 2), min<f32>(max<f32>(code, -127), 127) * scale);
  }
  return finite;
}

/** Keys or values of all slots; false where one is not finite. `to` is zeroed where codes share a byte. */
function convertPart(to: usize, toForm: KvForm, from: usize, form: KvForm, part: Part, dim: u32, group: u32): bool {
  if (toForm == form) {
    memory.copy(to, from, partBytes(form, dim, group));
    return true;
  }
  let finite = true;
  for (let slot: u32 = 0; slot < <u32>Size.PAGE_SLOTS; ++slot) {
    for (let g: u32 = 0; g < groupsOf(dim, group); ++g) {
      const end = min<u32>((g + 1) * group, dim);
      gather(GROUP_VALUES, from, form, part, slot, g * group, end, dim, group);
      if (!putGroup(to, toForm, part, slot, g * group, end, dim, group, GROUP_VALUES)) finite = false;
    }
  }
  return finite;
}

/** Fills page `to`, of these forms, from a full page. */
export function convertPage(e: Engine, to: usize, keyForm: KvForm, valueForm: KvForm, from: usize): void {
  setForms(to, keyForm, valueForm);
  setFirstPosition(to, firstPosition(from));
  copySlots(e, to, from);
  const group = e.kvGroup;
  const keys = convertPart(keysOf(to), keyForm, keysOf(from), keyFormOf(from), Part.KEYS, e.keyDim, group);
  const source = valuesOf(from, e.keyDim, group);
  const values = convertPart(valuesOf(to, e.keyDim, group), valueForm, source, valueFormOf(from), Part.VALUES, e.valueDim, group);
  setBroken(to, isBroken(from) || !keys || !values);
}
