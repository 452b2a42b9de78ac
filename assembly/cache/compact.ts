/**
 * Compaction: the slots of a head that stay move together, in order, and their pages take the places and forms that pages of
 * their age have (append.ts): the first sinkPages and the last recentPages at 8 bits, the others in the cache's form. The
 * open page closes as it is, so that the next token opens a new one; the last page ends in empty slots.
 *
 *   before: | sinks | aged ... | recent | open |      keep: u8 for each slot
 *   after:  | sinks | aged ... | recent |             length = 32 * pages
 *
 * Codes move as they are between pages of one form; what was f32 becomes 8 bits on its way to fewer. A head's own pages are
 * copied to its journal first, since they are written while they are read. The mark before is gone: slots are others now, even
 * where they are as many.
 */
import { Engine, HeadView, Session } from "../memory/records";
import { KvForm, Part, Size } from "../memory/status";
import { agesTwice, emptyPage, setPage } from "./append";
import { convertSlot } from "./convert";
import { ownBytes } from "./heads";
import { NO_MARK } from "./journal";
import { cutObserved, NOBODY, sumsOf } from "./observation";
import { isBroken, keyFormOf, keysOf, setBroken, setFirstPosition, valueFormOf, valuesOf } from "./page";
import { pageRelease } from "./pool";
import { positionOf, REACH, setPosition, setUsedSlots, usedSlots } from "./slots";

/** Slots of the page at `index`; the open one is full up to the head's length. */
function slotsIn(head: HeadView, index: u32, page: usize): u32 {
  return min<u32>(usedSlots(page), head.length - index * Size.PAGE_SLOTS);
}

/** Pages that the slots with a 1 in `keep` take. */
function pagesOfKept(e: Engine, head: HeadView, keep: usize): u32 {
  let pages: u32 = 0;
  let used: u32 = Size.PAGE_SLOTS;
  let first: u32 = 0;
  for (let p: u32 = 0; p < head.nPages; ++p) {
    const page: usize = load<u32>(head.pages + (<usize>p << 2));
    for (let i: u32 = 0; i < slotsIn(head, p, page); ++i) {
      if (load<u8>(keep + p * Size.PAGE_SLOTS + i) == 0) continue;
      const position = positionOf(e, page, i);
      if (used == Size.PAGE_SLOTS || position - first >= REACH) {
        pages += 1;
        used = 0;
        first = position;
      }
      used += 1;
    }
  }
  return pages;
}

/** One slot from page to page. */
function moveSlot(e: Engine, to: usize, toSlot: u32, from: usize, slot: u32): void {
  const group = e.kvGroup;
  const keys = convertSlot(keysOf(to), keyFormOf(to), toSlot, keysOf(from), keyFormOf(from), slot, Part.KEYS, e.keyDim, group);
  const into = valuesOf(to, e.keyDim, group, e.kvSections);
  const values = convertSlot(into, valueFormOf(to), toSlot, valuesOf(from, e.keyDim, group, e.kvSections), valueFormOf(from), slot, Part.VALUES, e.valueDim, group);
  setPosition(e, to, toSlot, positionOf(e, from, slot));
  setUsedSlots(to, toSlot + 1);
  if (isBroken(from) || !keys || !values) setBroken(to, true);
}

/** Pages of the pool that compacting a head can need beyond those it gives back. */
export function compactPages(e: Engine, head: HeadView): u32 {
  let shared: u32 = 0;
  for (let p: u32 = 0; p < head.nPages; ++p) if (load<u32>(load<u32>(head.pages + (<usize>p << 2))) > 1) shared += 1;
  return 2 + e.recentPages + e.sinkPages + shared;
}

/** Keeps the slots with a 1 in `keep`; `index` is the head's number in the session. */
export function compactHead(e: Engine, session: Session, head: HeadView, index: u32, keep: usize): void {
  const own = ownBytes(e);
  const pages = pagesOfKept(e, head, keep);
  let moved: usize = 0; // what is added to the address of an own page to find its copy
  if (agesTwice(e)) {
    const copy = session.journal + e.nHeadViews * offsetof<HeadView>() + index * own;
    memory.copy(copy, head.open, own);
    moved = copy - head.open;
  }
  session.marked = NO_MARK;
  session.observedMark = NOBODY;
  const sources = head.nPages;
  let to: usize = 0;
  let used: u32 = Size.PAGE_SLOTS;
  let first: u32 = 0;
  let made: u32 = 0;
  const sums = e.observedKind == 0 ? 0 : sumsOf(e, session, index);
  let next: usize = sources > 0 ? load<u32>(head.pages) : 0;
  for (let p: u32 = 0; p < sources; ++p) {
    const page = next;
    if (p + 1 < sources) next = load<u32>(head.pages + (<usize>(p + 1) << 2)); // before a made page may take its place
    const isOwn = page - head.open < own;
    const from = isOwn ? page + moved : page;
    const slots = slotsIn(head, p, from);
    for (let i: u32 = 0; i < slots; ++i) {
      if (load<u8>(keep + p * Size.PAGE_SLOTS + i) == 0) continue;
      const position = positionOf(e, from, i);
      if (used == Size.PAGE_SLOTS || position - first >= REACH) {
        to = emptyPage(e, head, made, pages);
        setFirstPosition(to, position);
        setPage(head, made, to);
        made += 1;
        used = 0;
        first = position;
      }
      moveSlot(e, to, used, from, i);
      // No slot moves up: greedy pages are never more than those the slots came from.
      if (sums != 0) store<f32>(sums + (((made - 1) * Size.PAGE_SLOTS + used) << 2), load<f32>(sums + ((p * Size.PAGE_SLOTS + i) << 2)));
      used += 1;
    }
    if (!isOwn) pageRelease(head, page);
  }
  if (made > 0) cutObserved(e, session, index, (made - 1) * Size.PAGE_SLOTS + used);
  head.nPages = made;
  head.length = made * Size.PAGE_SLOTS;
  head.lead = head.length - session.nextPosition;
}
