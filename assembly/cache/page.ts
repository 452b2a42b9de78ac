/**
 * A page: 32 consecutive slots of one KV head of one layer, in one format. This file has the f32 format; quantized ones
 * get their own drawings here.
 *
 *   f32:  | keys: 8 groups of 4 slots; group: keyDim x 4 f32 (dim outer, slot inner)    | 32 * keyDim * 4 bytes
 *         | values: 32 slots x valueDim f32                                              | 32 * valueDim * 4 bytes
 *
 * Keys lie so that one f32x4 holds one dim of 4 slots (a score lane per slot); values so that one holds 4 dims of a slot.
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

/** Writes key f32 [keyDim] and value f32 [valueDim] into slot 0..31 of a page. */
export function writeSlot(page: usize, slot: u32, key: usize, value: usize, keyDim: u32, valueDim: u32): void {
  let to = page + (slot >> 2) * (keyDim << 4) + ((slot & 3) << 2);
  for (let end = key + (keyDim << 2); key < end; key += 4, to += 16) store<f32>(to, load<f32>(key));
  memory.copy(page + valuesOffset(keyDim) + slot * (valueDim << 2), value, valueDim << 2);
}
