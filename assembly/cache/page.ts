/**
 * A page: 32 consecutive slots of one KV head of one layer, in one format. This file has the f32 format; quantized ones
 * get their own drawings here.
 *
 *   f32:  | keys: 2 halves of 16 slots; half: keyDim x 16 slots                          | 32 * keyDim * 4 bytes
 *         | values: groups of 16 dims, then of 4; group: 32 slots x 16 (or 4) dims         | 32 * valueDim * 4 bytes
 *
 * Keys lie so that an f32x4 holds one dim of 4 slots (a score lane per slot), values so that it holds 4 dims of a slot; and
 * both so that a kernel's inner loop reads one ascending stream, 64 bytes a step.
 */
import { HeadView } from "../memory/records";
import { Size } from "../memory/status";

/** The page that holds a slot. */
// @ts-ignore: decorator
@inline
export function pageAt(head: HeadView, slot: u32): usize {
  return load<u32>(head.pages + (<usize>((slot - head.base) / Size.PAGE_SLOTS) << 2));
}

// @ts-ignore: decorator
@inline
export function pageBytes(keyDim: u32, valueDim: u32): u32 {
  return Size.PAGE_SLOTS * ((keyDim + valueDim) << 2);
}

/** Offset of the values in a page. */
// @ts-ignore: decorator
@inline
export function valuesOffset(keyDim: u32): u32 {
  return Size.PAGE_SLOTS * (keyDim << 2);
}

/** Offset of a slot's first dim in a page's keys; the next dim is 64 bytes on. */
// @ts-ignore: decorator
@inline
export function keyOffset(slot: u32, keyDim: u32): usize {
  return (slot >> 4) * (keyDim << 6) + ((slot & 15) << 2);
}

/** Dims of the group of values that `dim`, a group's first, begins; its offset is 32 * dim f32. */
// @ts-ignore: decorator
@inline
export function groupDims(dim: u32, valueDim: u32): u32 {
  return dim + 16 <= valueDim ? 16 : 4;
}

/** Offset of dim d of a slot in a page's values. */
export function valueOffset(slot: u32, d: u32, valueDim: u32): usize {
  const first = d < (valueDim & ~15) ? d & ~15 : d & ~3;
  return (first << 7) + ((slot * groupDims(first, valueDim) + (d - first)) << 2);
}

/** Writes key f32 [keyDim] and value f32 [valueDim] into slot 0..31 of a page. */
export function writeSlot(page: usize, slot: u32, key: usize, value: usize, keyDim: u32, valueDim: u32): void {
  let to = page + keyOffset(slot, keyDim);
  for (let end = key + (keyDim << 2); key < end; key += 4, to += 64) store<f32>(to, load<f32>(key));
  const values = page + valuesOffset(keyDim);
  for (let d: u32 = 0; d < valueDim; ) {
    const dims = groupDims(d, valueDim);
    memory.copy(values + (d << 7) + slot * (dims << 2), value + (d << 2), dims << 2);
    d += dims;
  }
}
