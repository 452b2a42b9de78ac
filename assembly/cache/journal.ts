/**
 * Going back. A session can always drop tokens of its open page; beyond that it depends on the form of its pages:
 *
 *   f32            to any length: closed pages still hold every key and value
 *   8 bits         to the end of any closed page, since those do not change any more
 *   any            to the mark: `sessionMark` copies the open, sink and recent pages, so that a turn can be undone
 *
 * What has been evicted does not come back: after an eviction only slots of the open page can be dropped, and the mark be
 * gone back to as long as nothing went after it.
 *
 * `sessionTruncate` goes to the longest of these lengths that is not above the one asked for, or to 0, and the host
 * computes what is missing again: the result is that of a session which never went further.
 *
 *   journal:  | HeadView x nHeadViews | own pages x nHeadViews |      nothing where all pages are f32
 */
import { Engine, engine, HeadView, Session } from "../memory/records";
import { KvForm, Option, Size } from "../memory/status";
import { agesTwice, fixedPage, setPage } from "./append";
import { convertPage } from "./convert";
import { headOf, ownBytes } from "./heads";
import { measureKeys, measureOpen } from "./key-squares";
import { isBound, markObservation, truncateObservation } from "./observation";
import { pageRelease } from "./pool";
import { hasPositions } from "./slots";
import { canTruncate } from "./window";

/** `Session.marked` without a mark. */
export const NO_MARK: u32 = 0xffffffff;

// @ts-ignore: decorator
@inline
function isFloat(e: Engine): bool {
  return e.keyForm == KvForm.F32 && e.valueForm == KvForm.F32;
}

export function journalBytes(e: Engine): u64 {
  return isFloat(e) ? 0 : <u64>e.nHeadViews * (offsetof<HeadView>() + ownBytes(e));
}

/** Remembers the session as it is now; the mark before is gone. */
export function sessionMark(address: usize): void {
  const e = engine();
  const session = changetype<Session>(address);
  markObservation(e, session);
  if (isFloat(e)) return;
  const views = e.nHeadViews * offsetof<HeadView>();
  memory.copy(session.journal, session.heads, views);
  memory.copy(session.journal + views, headOf(session, 0).open, e.nHeadViews * ownBytes(e));
  session.marked = session.nextPosition;
}

/** Releases the head's pages from number `index` (from slot 0 on) to the end of its table. */
function releaseFrom(head: HeadView, index: u32): void {
  const keep = index - head.base / Size.PAGE_SLOTS;
  while (head.nPages > keep) {
    head.nPages -= 1;
    pageRelease(head, load<u32>(head.pages + (<usize>head.nPages << 2)));
  }
}

/** Back to the mark: pages that aged after it are recent again. */
function restoreMark(e: Engine, session: Session): void {
  const views = e.nHeadViews * offsetof<HeadView>();
  for (let i: u32 = 0; i < e.nHeadViews; ++i) {
    const head = headOf(session, i);
    const then = changetype<HeadView>(session.journal + <usize>i * offsetof<HeadView>());
    const first = head.base / Size.PAGE_SLOTS;
    const closed = then.length / Size.PAGE_SLOTS;
    const recent = agesTwice(e) ? max<u32>(e.sinkPages, closed > e.recentPages ? closed - e.recentPages : 0) : closed;
    const from = max<u32>(first, min<u32>(recent, closed)); // a window may have left recent pages behind
    releaseFrom(head, from);
    for (let index = from; index < closed; ++index) setPage(head, index - first, fixedPage(e, head, index));
    head.nPages = closed - first;
    if (then.length % Size.PAGE_SLOTS != 0) {
      setPage(head, head.nPages, head.open);
      head.nPages += 1;
    }
    head.length = then.length;
    head.keySquares = then.keySquares;
    head.closedSquares = then.closedSquares;
  }
  memory.copy(headOf(session, 0).open, session.journal + views, e.nHeadViews * ownBytes(e));
  session.nextPosition = session.marked;
}

/** Drops slots from `length` on, within the open page or, of f32 pages, anywhere. */
function cut(e: Engine, head: HeadView, length: u32): void {
  const place = length % Size.PAGE_SLOTS;
  const index = length / Size.PAGE_SLOTS;
  const first = head.base / Size.PAGE_SLOTS;
  if (place != 0 && index < head.length / Size.PAGE_SLOTS) { // a closed page opens again
    const page = load<u32>(head.pages + (<usize>(index - first) << 2));
    convertPage(e, head.open, page);
  }
  releaseFrom(head, index);
  if (place != 0) {
    setPage(head, head.nPages, head.open);
    head.nPages += 1;
  }
  head.length = length;
}

/** Gives all pages back, whatever a session says it holds: one that was built half may not say. */
export function empty(e: Engine, session: Session): void {
  for (let i: u32 = 0; i < e.nHeadViews; ++i) {
    const head = headOf(session, i);
    releaseFrom(head, head.base / Size.PAGE_SLOTS);
    head.length = 0;
    head.base = 0;
    head.lead = 0;
    head.removed = 0;
    head.keySquares = 0;
    head.closedSquares = 0;
  }
  session.nextPosition = 0;
}

/** Whether pages of a head were packed: empty slots can make up for tokens that went, so that `lead` is 0 again. */
function isPacked(head: HeadView): bool {
  for (let p: u32 = 0; p < head.nPages; ++p) if (hasPositions(load<u32>(head.pages + (<usize>p << 2)))) return true;
  return false;
}

/** Whether a head has given up tokens that its sequence cannot do without, or has them in other slots. */
function headsEvicted(e: Engine, session: Session): bool {
  for (let i: u32 = 0; i < e.nHeadViews; ++i) {
    const head = headOf(session, i);
    if (head.lead != 0 || (e.slotPositions != 0 && isPacked(head))) return true;
  }
  return false;
}

/** The first position that every head still has in its open page, or the next one where it has none. */
function openStart(e: Engine, session: Session): u32 {
  let start: u32 = 0;
  for (let i: u32 = 0; i < e.nHeadViews; ++i) {
    start = max<u32>(start, session.nextPosition - headOf(session, i).length % Size.PAGE_SLOTS);
  }
  return start;
}

/** The longest length up to `length` that the pages allow, the mark apart. */
function reachable(e: Engine, session: Session, length: u32): u32 {
  const hasEvicted = headsEvicted(e, session);
  const isMeasured = (e.options & Option.KEY_DRIVEN) != 0;
  if (isFloat(e) && !hasEvicted) {
    for (let i: u32 = 0; i < e.nHeadViews; ++i) {
      const head = headOf(session, i);
      if (!canTruncate(head, length) || (isMeasured && head.base != 0)) return 0;
    }
    return length;
  }
  const isOpen = length >= openStart(e, session);
  if (!isOpen && (isMeasured || hasEvicted || agesTwice(e))) return 0;
  if (!isOpen) length -= length % Size.PAGE_SLOTS;
  for (let i: u32 = 0; i < e.nHeadViews; ++i) if (!canTruncate(headOf(session, i), length)) return 0;
  return length;
}

/** Whether the mark can be gone back to: no head has given up a page that it needs. */
function canRestore(e: Engine, session: Session): bool {
  for (let i: u32 = 0; i < e.nHeadViews; ++i) {
    const head = headOf(session, i);
    const then = changetype<HeadView>(session.journal + <usize>i * offsetof<HeadView>());
    if (head.base != then.base || head.lead != then.lead) return false;
  }
  return true;
}

/** Goes back to `length` tokens, or to fewer (see above). Returns the new length. */
export function sessionTruncate(address: usize, length: u32): u32 {
  const e = engine();
  const session = changetype<Session>(address);
  if (length >= session.nextPosition) return session.nextPosition;
  const bound = isBound(e, session);
  if (bound) length = session.observedMark <= length ? session.observedMark : 0;
  const reach = reachable(e, session, length);
  const near: u32 = bound && reach != length ? 0 : reach;
  const marked = session.marked;
  if (marked != NO_MARK && marked <= length && marked > near && canRestore(e, session)) {
    restoreMark(e, session);
    truncateObservation(e, session);
    return marked;
  }
  if (near == 0) empty(e, session);
  else {
    for (let i: u32 = 0; i < e.nHeadViews; ++i) cut(e, headOf(session, i), near + headOf(session, i).lead);
    session.nextPosition = near;
    if (e.options & Option.KEY_DRIVEN) {
      if (isFloat(e)) measureKeys(e, session);
      else measureOpen(e, session);
    }
  }
  truncateObservation(e, session);
  if (marked != NO_MARK && marked > near) session.marked = NO_MARK;
  return near;
}
