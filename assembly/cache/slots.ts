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

/** Says the position of a slot whose page's first position is known; its forms are set. */
export function setPosition(e: Engine, page: usize, slot: u32, position: u32): void {
  store<u8>(page, 1, 7);
  store<u16>(distances(e, page) + (slot << 1), <u16>(position - firstPosition(page)));
}

/** A page that is made from another one has its slots. */
export function copySlots(e: Engine, to: usize, from: usize): void {
  store<u16>(to, load<u16>(from, 6), 6);
  if (hasPositions(from)) memory.copy(distances(e, to), distances(e, from), Size.POSITIONS);
}
