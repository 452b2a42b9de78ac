/**
 * The shared pool of pages, one size per cache, and another of wide pages for heads that keep 8 bits where the others have
 * fewer. The host reserves before a forward call, so that taking a page inside a token never grows memory. Sessions share
 * pages by reference; one that nobody refers to any more is zeroed before anyone else can get it.
 *
 * Wide heads: the sensitive ones at more bits. https://arxiv.org/abs/2403.04643 (QAQ), https://arxiv.org/abs/2402.12065
 * (WKVQuant). Which ones is the caller's to say; a page tells by its forms whose it is.
 */
import { arenaAlloc, arenaTouch } from "../memory/arena";
import { Engine, engine } from "../memory/records";
import { isFew } from "./packed-page";
import { keyFormOf, valueFormOf } from "./page";

/** Pages of one size, as the engine's record has them: the free ones linked through their first word. */
@unmanaged
class PageList {
  free: usize;
  nFree: u32;
  nPages: u32;
  bytes: u32;
}

// @ts-ignore: decorator
@inline
function listOf(e: Engine, isWide: bool): PageList {
  const offset = isWide ? offsetof<Engine>("wideFree") : offsetof<Engine>("freePages");
  return changetype<PageList>(changetype<usize>(e) + offset);
}

/** Of the pool's pages only wide ones have no part of fewer than 8 bits. */
// @ts-ignore: decorator
@inline
function isWidePage(e: Engine, page: usize): bool {
  return e.wideBytes != 0 && !isFew(keyFormOf(page)) && !isFew(valueFormOf(page));
}

/** Grows the pool until `n` pages are free. False when memory cannot grow; pages already won stay. */
export function poolReserve(n: u32, isWide: bool): bool {
  const list = listOf(engine(), isWide);
  if (list.nFree >= n) return true;
  const missing = n - list.nFree;
  const bytes = <u64>missing * list.bytes;
  const slab = arenaAlloc(bytes);
  if (slab == 0) return false;
  arenaTouch(slab, <usize>bytes);
  for (let i = missing; i > 0; --i) {
    const page = slab + <usize>(i - 1) * list.bytes;
    store<usize>(page, list.free);
    list.free = page;
  }
  list.nFree += missing;
  list.nPages += missing;
  return true;
}

/** A zeroed page with one reference, or 0 when none is free. */
export function poolTake(isWide: bool): usize {
  const list = listOf(engine(), isWide);
  const page = list.free;
  if (page == 0) return 0;
  list.free = load<usize>(page);
  store<usize>(page, 1);
  list.nFree -= 1;
  return page;
}

/** One more session refers to the page; pages of a session's own region have no count. */
export function pageShare(page: usize): void {
  if (load<u32>(page) != 0) store<u32>(page, load<u32>(page) + 1);
}

/** One session less. */
export function pageRelease(page: usize): void {
  const references = load<u32>(page);
  if (references == 0) return;
  if (references > 1) {
    store<u32>(page, references - 1);
    return;
  }
  const e = engine();
  const list = listOf(e, isWidePage(e, page));
  memory.fill(page, 0, list.bytes);
  store<usize>(page, list.free);
  list.free = page;
  list.nFree += 1;
}

/** Pages in the pool, in use and free. */
export function poolPages(isWide: bool): u32 {
  return listOf(engine(), isWide).nPages;
}

export function poolFreePages(isWide: bool): u32 {
  return listOf(engine(), isWide).nFree;
}
