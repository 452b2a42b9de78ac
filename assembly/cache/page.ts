/**
 * A page: 32 consecutive slots of one KV head of one layer. The first 16 bytes say what it is; keys and values then have a
 * form each (KvForm). This file has the f32 form, packed-page.ts those of fewer bits, sections/ what the latter may keep
 * beside their codes.
 *
 *   | u32 references | u8 key form, u8 value form, u8 empty slots, u8 1 where slots have positions | u16 1 where a value was not finite | u16 gaps | u32 first position | keys | values |
 *
 *   f32:  | keys: 2 halves of 16 slots; half: keyDim x 16 slots                          | 32 * keyDim * 4 bytes
 *         | values: groups of 16 dims, then of 4; group: 32 slots x 16 (or 4) dims         | 32 * valueDim * 4 bytes
 *
 * Keys lie so that an f32x4 holds one dim of 4 slots (a score lane per slot), values so that it holds 4 dims of a slot; and
 * both so that a kernel's inner loop reads one ascending stream, 64 bytes a step.
 *
 * A page holds 32 consecutive positions; one that was compacted (compact.ts) may end in empty slots, and says behind its
 * values which position each slot has (slots.ts); `gaps` of them are missing between its first and its last. References count the sessions that share a page of the pool; a page in a session's own region has 0.
 */
import { Engine, HeadView } from "../memory/records";
import { KvForm, Part, Size } from "../memory/status";
import { sectionBytes } from "../sections/sections";
import { packedBytes } from "./packed-page";

/** The page that holds a slot. */
// @ts-ignore: decorator
@inline
export function pageAt(head: HeadView, slot: u32): usize {
  return load<u32>(head.pages + (<usize>((slot - head.base) / Size.PAGE_SLOTS) << 2));
}

// @ts-ignore: decorator
@inline
export function keyFormOf(page: usize): KvForm {
  return load<u8>(page, 4);
}

// @ts-ignore: decorator
@inline
export function valueFormOf(page: usize): KvForm {
  return load<u8>(page, 5);
}

// @ts-ignore: decorator
@inline
export function setForms(page: usize, keyForm: KvForm, valueForm: KvForm): void {
  store<u8>(page, keyForm, 4);
  store<u8>(page, valueForm, 5);
}

/** A key or value in it was NaN or infinite. */
// @ts-ignore: decorator
@inline
export function isBroken(page: usize): bool {
  return load<u16>(page, 8) != 0;
}

// @ts-ignore: decorator
@inline
export function setBroken(page: usize, broken: bool): void {
  store<u16>(page, <u16>broken, 8);
}

/** Position of the page's first slot. */
// @ts-ignore: decorator
@inline
export function firstPosition(page: usize): u32 {
  return load<u32>(page, 12);
}

// @ts-ignore: decorator
@inline
export function setFirstPosition(page: usize, position: u32): void {
  store<u32>(page, position, 12);
}

/** Bytes of the keys or of the values of a page, with the sections that such pages of the cache have. */
export function partBytes(form: KvForm, part: Part, dim: u32, group: u32, sections: u32): u32 {
  if (form == KvForm.F32) return Size.PAGE_SLOTS * (dim << 2);
  return packedBytes(form, dim, group) + sectionBytes(sections, form, part, dim, group);
}

export function pageBytes(e: Engine, keyForm: KvForm, valueForm: KvForm): u32 {
  const keys = partBytes(keyForm, Part.KEYS, e.keyDim, e.kvGroup, e.kvSections);
  const values = partBytes(valueForm, Part.VALUES, e.valueDim, e.kvGroup, e.kvSections);
  return Size.PAGE_HEADER + keys + values + (e.slotPositions != 0 ? Size.POSITIONS : 0);
}

/** Address of a page's keys; the values lie behind them. */
// @ts-ignore: decorator
@inline
export function keysOf(page: usize): usize {
  return page + Size.PAGE_HEADER;
}

// @ts-ignore: decorator
@inline
export function valuesOf(page: usize, keyDim: u32, group: u32, sections: u32): usize {
  return page + Size.PAGE_HEADER + partBytes(keyFormOf(page), Part.KEYS, keyDim, group, sections);
}

/** Offset of a slot's first dim in f32 keys; the next dim is 64 bytes on. */
// @ts-ignore: decorator
@inline
export function keyOffset(slot: u32, keyDim: u32): usize {
  return (slot >> 4) * (keyDim << 6) + ((slot & 15) << 2);
}

/** Dims of the group of f32 values that `dim`, a group's first, begins; its offset is 32 * dim f32. */
// @ts-ignore: decorator
@inline
export function groupDims(dim: u32, valueDim: u32): u32 {
  return dim + 16 <= valueDim ? 16 : 4;
}

/** Offset of dim d of a slot in f32 values. */
export function valueOffset(slot: u32, d: u32, valueDim: u32): usize {
  const first = d < (valueDim & ~15) ? d & ~15 : d & ~3;
  return (first << 7) + ((slot * groupDims(first, valueDim) + (d - first)) << 2);
}

/** Offset of dim d of a slot in a part of f32. */
// @ts-ignore: decorator
@inline
export function floatOffset(part: Part, slot: u32, d: u32, dim: u32): usize {
  return part == Part.KEYS ? keyOffset(slot, dim) + (d << 6) : valueOffset(slot, d, dim);
}

/** Writes key f32 [keyDim] and value f32 [valueDim] into slot 0..31 of an f32 page. */
export function writeSlot(page: usize, slot: u32, key: usize, value: usize, keyDim: u32, valueDim: u32): void {
  let to = keysOf(page) + keyOffset(slot, keyDim);
  for (let end = key + (keyDim << 2); key < end; key += 4, to += 64) store<f32>(to, load<f32>(key));
  const values = keysOf(page) + Size.PAGE_SLOTS * (keyDim << 2);
  for (let d: u32 = 0; d < valueDim; ) {
    const dims = groupDims(d, valueDim);
    memory.copy(values + (d << 7) + slot * (dims << 2), value + (d << 2), dims << 2);
    d += dims;
  }
}
