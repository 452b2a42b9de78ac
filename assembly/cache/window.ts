/**
 * Sliding windows: a query at position t sees slots t - window + 1 .. t. A head with a window keeps the pages of those
 * slots, and of 32 slots before them, so that the last 32 tokens can be taken back; older pages go to the pool.
 *
 *   kept before slot t:  pages whose last slot is >= t - window + 1 - SPARE
 */
import { HeadView } from "../memory/records";
import { Size } from "../memory/status";
import { pageRelease } from "./pool";

/** Tokens that can be taken back, counted from the longest the session has been. */
const SPARE: u32 = Size.PAGE_SLOTS;

/** The first slot that the query of slot `slot` sees. */
// @ts-ignore: decorator
@inline
export function firstVisible(slot: u32, window: u32): u32 {
  return window != 0 && slot + 1 > window ? slot + 1 - window : 0;
}

/** The most pages a head holds of a sequence of `length` slots. */
export function mostPages(length: u32, window: u32): u32 {
  const all = pagesFor(length);
  if (window == 0) return all;
  return <u32>min<u64>(all, (<u64>window + SPARE + 2 * (Size.PAGE_SLOTS - 1)) / Size.PAGE_SLOTS);
}

/** The most closed pages a head with a window holds: those of the window and SPARE before the next slot. */
export function mostClosed(window: u32): u32 {
  return <u32>((<u64>window + SPARE + Size.PAGE_SLOTS - 1) / Size.PAGE_SLOTS);
}

/** Pages that `length` slots take. */
// @ts-ignore: decorator
@inline
export function pagesFor(length: u32): u32 {
  return (length + Size.PAGE_SLOTS - 1) / Size.PAGE_SLOTS;
}

/** Gives back the pages that neither the next slot's query nor one of the 32 before it sees. */
export function dropHidden(head: HeadView): void {
  const seen = firstVisible(head.length, head.window);
  while (head.nPages > 0 && head.base + Size.PAGE_SLOTS + SPARE <= seen) {
    pageRelease(head, load<u32>(head.pages));
    head.nPages -= 1;
    head.base += Size.PAGE_SLOTS;
    memory.copy(head.pages, head.pages + 4, <usize>head.nPages << 2);
  }
}

/** Whether a head that goes back to `length` slots still has all that the next query sees. */
export function canTruncate(head: HeadView, length: u32): bool {
  return head.base <= firstVisible(length, head.window);
}
