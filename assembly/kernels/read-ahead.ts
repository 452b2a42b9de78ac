/**
 * Lines of memory that are wanted next, read while something else is computed: WebAssembly has no prefetch, and left to
 * themselves the pages of a cache come in the order of use, half a page of keys and later half a page of values, which no
 * processor foresees. A few lines at a time, so that their misses pass while integer dots are made.
 *
 * A global of a module belongs to one thread.
 */

/** Bytes of a cache line. */
const LINE: usize = 64;

let next: usize = 0;
let limit: usize = 0;
let stride: usize = 0;

/** From now on, `bytes` from `address` on are read in so many steps. */
export function readAhead(address: usize, bytes: usize, steps: usize): void {
  next = address;
  limit = address + bytes;
  stride = (bytes / steps + LINE) & ~(LINE - 1);
}

/** One step. What was read goes to `sink`, 4 bytes about to be overwritten, so that no compiler leaves the reading out. */
// @ts-ignore: decorator
@inline
export function readOn(sink: usize): void {
  const end = min<usize>(next + stride, limit);
  let at = next;
  if (at >= end) return;
  let seen: u32 = 0;
  for (; at < end; at += LINE) seen ^= load<u32>(at);
  next = at;
  store<u32>(sink, seen);
}
