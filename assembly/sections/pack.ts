/**
 * A page's keys or values into codes with sections. What is to be stood for passes through in one order: sections that take
 * something away first, then the codes, then sections that keep what the codes lack.
 *
 *   keys:    x -= mean;  x = 0 in outlier channels;  codes of x;  rest = (x before zeros) - codes;  outliers, salient of rest
 *   values:  x /= factor;  codes of x;  rest = x - factor * codes;  salient of rest
 */
import { groupsOf, hasChannels, packedBytes } from "../cache/packed-page";
import { putGroup, readSlot } from "../cache/quantize-group";
import { Engine } from "../memory/records";
import { KvForm, KvSection, Part, Size } from "../memory/status";
import { putChannels, readChannels } from "./channels";
import { factorAt, factorBytes, takeFactors } from "./factors";
import { meanBytes, takeMean } from "./mean";
import { outlierBytes, putOutliers, takeOutliers } from "./outliers";
import { putSalient } from "./salient";
import { outliersOf, salientOf } from "./sections";

/** Bytes of the two matrices that packing needs: what codes are made of, and what they lack; f32 [32][dim] each. */
// @ts-ignore: decorator
@inline
export function packingBytes(keyDim: u32, valueDim: u32): u64 {
  return 2 * Size.PAGE_SLOTS * (<u64>max<u32>(keyDim, valueDim) << 2);
}

/** Codes and scales of x, f32 [32][dim]. */
function putCodes(to: usize, form: KvForm, part: Part, x: usize, dim: u32, group: u32): void {
  if (hasChannels(form)) {
    putChannels(to, form, x, dim);
    return;
  }
  for (let slot: u32 = 0; slot < <u32>Size.PAGE_SLOTS; ++slot, x += dim << 2) {
    for (let g: u32 = 0; g < groupsOf(dim, group); ++g) {
      putGroup(to, form, part, slot, g * group, min<u32>((g + 1) * group, dim), dim, group, x + ((g * group) << 2));
    }
  }
}

/** rest [32][dim] -= what the codes stand for, times the channels' factors where there are any; `row` f32 [dim] is scratch. */
function takeCodes(rest: usize, from: usize, form: KvForm, part: Part, dim: u32, group: u32, factors: usize, row: usize): void {
  for (let slot: u32 = 0; slot < <u32>Size.PAGE_SLOTS; ++slot, rest += dim << 2) {
    if (hasChannels(form)) readChannels(row, from, form, slot, dim);
    else readSlot(row, from, form, part, slot, dim, group);
    for (let d: u32 = 0; d < dim; ++d) {
      const code = load<f32>(row + (d << 2));
      const held: f32 = factors != 0 ? code * factorAt(factors, d) : code;
      store<f32>(rest + (d << 2), load<f32>(rest + (d << 2)) - held);
    }
  }
}

function isFinite(x: usize, n: u32): bool {
  for (let end = x + (n << 2); x < end; x += 4) if (!(abs<f32>(load<f32>(x)) < Infinity)) return false;
  return true;
}

/** Fills a part, zeroed, of a form that has sections or channels; false where a value is not finite. */
export function packPart(e: Engine, to: usize, form: KvForm, from: usize, fromForm: KvForm, part: Part, dim: u32): bool {
  const group = e.kvGroup;
  const sections = e.kvSections;
  const bytes: usize = (<usize>Size.PAGE_SLOTS * dim) << 2;
  const x = e.packing;
  const rest = x + bytes;
  for (let slot: u32 = 0; slot < <u32>Size.PAGE_SLOTS; ++slot) readSlot(x + ((slot * dim) << 2), from, fromForm, part, slot, dim, group);
  const finite = isFinite(x, Size.PAGE_SLOTS * dim);
  let section = to + packedBytes(form, dim, group);
  let factors: usize = 0;
  const outliers = part == Part.KEYS ? outliersOf(sections) : 0;
  if (part == Part.KEYS && sections & KvSection.MEAN) {
    takeMean(section, x, dim);
    section += meanBytes(dim);
  }
  memory.copy(rest, x, bytes);
  if (outliers != 0) takeOutliers(section, outliers, x, dim);
  if (part == Part.VALUES && sections & KvSection.FACTORS) {
    factors = section;
    takeFactors(section, x, dim);
    section += factorBytes(dim);
  }
  putCodes(to, form, part, x, dim, group);
  if (outliers == 0 && salientOf(sections) == 0) return finite;
  takeCodes(rest, to, form, part, dim, group, factors, x);
  if (outliers != 0) {
    putOutliers(section, outliers, rest, dim);
    section += outlierBytes(outliers);
  }
  if (salientOf(sections) != 0) putSalient(section, salientOf(sections), rest, dim, group);
  return finite;
}
