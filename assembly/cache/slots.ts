/**
 * Which slots of a page are in use, and the positions of their tokens. A page as `append` filled it has 32 consecutive
 * positions; one that was compacted keeps each slot's distance from the first, u16 [32], in its last 64 bytes, and may end
 * in empty slots. Where the next position would be 2^16 from the first, a page ends early.
 */
import { Engine } from "../memory/records";
import { Size } from "../memory/status";
import { firstPosition, keyFormOf, pageBytes, valueFormOf } from "./page";

/** Positions of a page are less than this apart. */
export const REACH: u32 = 1 << 16;

// @ts-ignore: decorator
@inline
export function usedSlots(page: usize): u32 {
  return Size.PAGE_SLOTS - load<u8>(page, 6);
}

// @ts-ignore: decorator
@inline
export function setUsedSlots(page: usize, used: u32): void {
  store<u8>(page, <u8>(Size.PAGE_SLOTS - used), 6);
}

// @ts-ignore: decorator
@inline
export function hasPositions(page: usize): bool {
  return load<u8>(page, 7) != 0;
}

/** Address of the distances. */
// @ts-ignore: decorator
@inline
function distances(e: Engine, page: usize): usize {
  return page + pageBytes(e, keyFormOf(page), valueFormOf(page)) - Size.POSITIONS;
}

export function positionOf(e: Engine, page: usize, slot: u32): u32 {
  return firstPosition(page) + (hasPositions(page) ? <u32>load<u16>(distances(e, page) + (slot << 1)) : slot);
}

/** Position of the page's last token. */
export function lastPosition(e: Engine, page: usize): u32 {
  return positionOf(e, page, usedSlots(page) - 1);
}

/** Positions that are missing between the first and the last token of a page. */
// @ts-ignore: decorator
@inline
export function gapsOf(page: usize): u32 {
  return load<u16>(page, 10);
}

/** Says the position of a page's next slot; its first position is known, and its forms are set. */
export function setPosition(e: Engine, page: usize, slot: u32, position: u32): void {
  const distance = position - firstPosition(page);
  store<u8>(page, 1, 7);
  store<u16>(distances(e, page) + (slot << 1), <u16>distance);
  store<u16>(page, <u16>(distance - slot), 10);
}

/** Counts the gaps of a page whose positions have been written. */
export function countGaps(e: Engine, page: usize): void {
  setPosition(e, page, usedSlots(page) - 1, lastPosition(e, page));
}

/** A page that is made from another one has its slots. */
export function copySlots(e: Engine, to: usize, from: usize): void {
  store<u16>(to, load<u16>(from, 6), 6);
  store<u16>(to, <u16>gapsOf(from), 10);
  if (hasPositions(from)) memory.copy(distances(e, to), distances(e, from), Size.POSITIONS);
}
