/**
 * The shared pool of pages, one size per cache, and another of wide pages for heads that keep 8 bits where the others have
 * fewer. The host reserves before a forward call, so that taking a page inside a token never grows memory. Sessions share
 * pages by reference; one that nobody refers to any more is zeroed before anyone else can get it.
 *
 * Free pages are listed by head, and new ones are dealt in runs, so that a head's pages lie side by side: attention reads
 * them one after the other, and the system's pages of memory, and what the processor fetches ahead, are a head's own then.
 *
 *   new pages:  | head 0: r pages | head 1: r pages | ...
 *
 * A head whose list is empty takes of the next one's, which lie beside its own: as those do that hold fewer tokens than others,
 * or take pages of the other size.
 *
 * Wide heads: the sensitive ones at more bits. https://arxiv.org/abs/2403.04643 (QAQ), https://arxiv.org/abs/2402.12065
 * (WKVQuant). Which ones is the caller's to say; a page tells by its forms whose it is.
 */
import { arenaAlloc, arenaTouch } from "../memory/arena";
import { Engine, engine, HeadView } from "../memory/records";
import { isFew } from "./packed-page";
import { keyFormOf, valueFormOf } from "./page";

/** Pages of one size, as the engine's record has them. */
@unmanaged
class PageList {
  /** u32[nHeadViews]: the first free page of each head; they are linked through their first word. */
  firsts: usize;
  nFree: u32;
  nPages: u32;
  bytes: u32;
}

function listOf(e: Engine, isWide: bool): PageList {
  const offset = isWide ? offsetof<Engine>("widePages") : offsetof<Engine>("freePages");
  return changetype<PageList>(changetype<usize>(e) + offset);
}

/** Of the pool's pages only wide ones have no part of fewer than 8 bits. */
function isWidePage(e: Engine, page: usize): bool {
  return e.wideBytes != 0 && !isFew(keyFormOf(page)) && !isFew(valueFormOf(page));
}

/** Grows the pool until `n` pages are free. False when memory cannot grow; pages already won stay. */
export function poolReserve(n: u32, isWide: bool): bool {
  const e = engine();
  const list = listOf(e, isWide);
  if (list.nFree >= n) return true;
  const missing = n - list.nFree;
  const bytes = <u64>missing * list.bytes;
  const slab = arenaAlloc(bytes);
  if (slab == 0) return false;
  arenaTouch(slab, <usize>bytes);
  const run = (missing + e.nHeadViews - 1) / e.nHeadViews;
  for (let i = missing; i-- > 0; ) push(list, i / run, slab + <usize>i * list.bytes);
  list.nFree += missing;
  list.nPages += missing;
  return true;
}

function push(list: PageList, index: u32, page: usize): void {
  const first = list.firsts + (<usize>index << 2);
  store<u32>(page, load<u32>(first));
  store<u32>(first, <u32>page);
}

/** A zeroed page with one reference, or 0 when none is free. */
export function poolTake(head: HeadView): usize {
  const e = engine();
  const list = listOf(e, head.wide != 0);
  if (list.nFree == 0) return 0;
  let index: u32 = head.list;
  let first: usize;
  while (load<u32>((first = list.firsts + (<usize>index << 2))) == 0) index = (index + 1) % e.nHeadViews;
  const page: usize = load<u32>(first);
  store<u32>(first, load<u32>(page));
  store<u32>(page, 1);
  list.nFree -= 1;
  return page;
}

/** One more session refers to the page; pages of a session's own region have no count. */
export function pageShare(page: usize): void {
  if (load<u32>(page) != 0) store<u32>(page, load<u32>(page) + 1);
}

/** One session less, whose head it was. */
export function pageRelease(head: HeadView, page: usize): void {
  const references = load<u32>(page);
  if (references == 0) return;
  if (references > 1) {
    store<u32>(page, references - 1);
    return;
  }
  const e = engine();
  const list = listOf(e, isWidePage(e, page));
  memory.fill(page, 0, list.bytes);
  push(list, head.list, page);
  list.nFree += 1;
}

/** Pages in the pool, in use and free. */
export function poolPages(isWide: bool): u32 {
  return listOf(engine(), isWide).nPages;
}

export function poolFreePages(isWide: bool): u32 {
  return listOf(engine(), isWide).nFree;
}
