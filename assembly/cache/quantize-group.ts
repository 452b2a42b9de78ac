/**
 * Codes and scales of one token's group of dims (drawing: packed-page.ts):
 *
 *   Q8: scale = f16(absmax / top), code = nearest-even(x / scale) within +-top, top 63 of keys and 127 of values
 *   Q4, Q3: minimum = f16(min), scale = f16((max - minimum) / top), code = nearest-even((x - minimum) / scale) within 0..top
 *
 * x / scale is x * (1 / scale) in f32; a scale of 0 gives codes 0. Scales beyond f16's range are taken as its largest.
 */
import { halfToFloat, roundToHalf } from "../kernels/f16";
import { KvForm, Part } from "../memory/status";
import { hasMinima, minimumOffset, putCode, scaleAt } from "./packed-page";
import { floatOffset } from "./page";
import { scaleCodes } from "./slot-codes";

/** Largest code of a form with minima. */
// @ts-ignore: decorator
@inline
export function topCode(form: KvForm): i32 {
  return form == KvForm.Q4 ? 15 : 7;
}

/** Largest code in 8 bits: integer dots take keys as 0..127 around 64 (packed-page.ts). */
// @ts-ignore: decorator
@inline
export function topByte(part: Part): f32 {
  return part == Part.KEYS ? 63 : 127;
}

/** Dims [first, end) of a slot as f32 into `out`. */
export function gather(out: usize, from: usize, form: KvForm, part: Part, slot: u32, first: u32, end: u32, dim: u32, group: u32): void {
  if (form == KvForm.F32) {
    for (let d = first; d < end; ++d) store<f32>(out + ((d - first) << 2), load<f32>(from + floatOffset(part, slot, d, dim)));
    return;
  }
  const at = scaleAt(from, form, slot, first / group, dim);
  const scale = halfToFloat(load<u16>(at));
  const minimum: f32 = hasMinima(form) ? halfToFloat(load<u16>(at + minimumOffset(dim, group))) : 0;
  scaleCodes(out, from, form, part, slot, first, end, dim, scale, minimum);
}

/** A slot's key or value as f32 [dim]. */
export function readSlot(out: usize, from: usize, form: KvForm, part: Part, slot: u32, dim: u32, group: u32): void {
  for (let first: u32 = 0; first < dim; first += group) {
    gather(out + (first << 2), from, form, part, slot, first, min<u32>(first + group, dim), dim, group);
  }
}

/** Quantizes one token's group; returns false where a value is not finite. */
export function putGroup(to: usize, form: KvForm, part: Part, slot: u32, first: u32, end: u32, dim: u32, group: u32, x: usize): bool {
  let low: f32 = load<f32>(x);
  let high: f32 = low;
  const n = end - first;
  for (let i: u32 = 1; i < n; ++i) {
    low = min<f32>(low, load<f32>(x + (i << 2)));
    high = max<f32>(high, load<f32>(x + (i << 2)));
  }
  const at = scaleAt(to, form, slot, first / group, dim);
  let minimum: f32 = 0;
  let top = topByte(part);
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
