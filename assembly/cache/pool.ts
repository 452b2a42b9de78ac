/**
 * The shared pool of pages, one size per cache. The host reserves before a forward call, so that taking a page inside a
 * token never grows memory. Sessions share pages by reference; one that nobody refers to any more is zeroed before anyone
 * else can get it.
 */
import { arenaAlloc, arenaTouch } from "../memory/arena";
import { engine } from "../memory/records";

/** Grows the pool until `n` pages are free. False when memory cannot grow; pages already won stay. */
export function poolReserve(n: u32): bool {
  const e = engine();
  if (e.nFreePages >= n) return true;
  const missing = n - e.nFreePages;
  const bytes = <u64>missing * e.pageBytes;
  const slab = arenaAlloc(bytes);
  if (slab == 0) return false;
  arenaTouch(slab, <usize>bytes);
  for (let i = missing; i > 0; --i) {
    const page = slab + <usize>(i - 1) * e.pageBytes;
    store<usize>(page, e.freePages);
    e.freePages = page;
  }
  e.nFreePages += missing;
  e.nPages += missing;
  return true;
}

/** A zeroed page with one reference, or 0 when none is free. */
export function poolTake(): usize {
  const e = engine();
  const page = e.freePages;
  if (page == 0) return 0;
  e.freePages = load<usize>(page);
  store<usize>(page, 1);
  e.nFreePages -= 1;
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
  memory.fill(page, 0, e.pageBytes);
  store<usize>(page, e.freePages);
  e.freePages = page;
  e.nFreePages += 1;
}

/** Pages in the pool, in use and free. */
export function poolPages(): u32 {
  return engine().nPages;
}

export function poolFreePages(): u32 {
  return engine().nFreePages;
}
