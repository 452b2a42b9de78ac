/**
 * A session as an image: what the host reads of one to write it down, and how it builds one again on a fresh session
 * (host/capsule). Forms and places of pages follow from their number alone, as aging puts them (append.ts), so that an image
 * holds contents only: of each head its first slot and their number, of closed pages the contents, slots in use and first
 * position, and the open page slot by slot.
 *
 * Building: `sessionAdopt`, then `headAdopt` for every head, then contents. Until `headAdopt` has run for all of them the
 * session must not be used except to close it, which gives back whatever it has.
 */
import { AttendTask, Engine, engine, HeadView, Session } from "../memory/records";
import { Option, Size, Status } from "../memory/status";
import { emptyPage, setPage } from "./append";
import { headOf, pooledPages } from "./heads";
import {
  keyFormOf, keyOffset, keysOf, pageBytes, setBroken, setFirstPosition, valueFormOf, valueOffset, writeSlot,
} from "./page";
import { MAX_POSITION } from "./session";
import { countGaps, hasPositions } from "./slots";
import { canTruncate, mostPages, pagesFor } from "./window";

// @ts-ignore: decorator
@inline
function headAt(address: usize, index: u32): HeadView {
  return headOf(changetype<Session>(address), index);
}

/** Heads of a session, over all layers. */
export function imageHeads(): u32 {
  return engine().nHeadViews;
}

/** First slot that a head still holds; a multiple of 32. */
export function headBase(session: usize, head: u32): u32 {
  return headAt(session, head).base;
}

/** Sum of the squares of all keys, or of those in closed pages. */
export function headSquares(session: usize, head: u32, closed: bool): f64 {
  const view = headAt(session, head);
  return closed ? view.closedSquares : view.keySquares;
}

/** Address of the page that holds slot `base` + 32 * index. */
export function headPage(session: usize, head: u32, index: u32): usize {
  return load<u32>(headAt(session, head).pages + (<usize>index << 2));
}

/** Bytes of a page in the form it has, header included. */
export function pageSize(page: usize): u32 {
  return pageBytes(engine(), keyFormOf(page), valueFormOf(page));
}

/** A page has its contents, slots and positions again; `broken`: a key or value in it is NaN or infinite. */
export function pageRestored(page: usize, broken: bool): void {
  setBroken(page, broken);
  if (hasPositions(page)) countGaps(engine(), page);
}

/** A slot's key and value, f32 [keyDim] [valueDim], in scratch: the address is good until the next call. */
export function slotRead(session: usize, head: u32, slot: u32): usize {
  const e = engine();
  const open = headAt(session, head).open;
  const to = slotScratch(e);
  const keys = keysOf(open) + keyOffset(slot, e.keyDim);
  for (let d: u32 = 0; d < e.keyDim; ++d) store<u32>(to + (d << 2), load<u32>(keys + (d << 6)));
  const values = keysOf(open) + Size.PAGE_SLOTS * (e.keyDim << 2);
  const end = to + (e.keyDim << 2);
  for (let d: u32 = 0; d < e.valueDim; ++d) store<u32>(end + (d << 2), load<u32>(values + valueOffset(slot, d, e.valueDim)));
  return to;
}

/** Writes slot 0..31 of the open page from where `slotAddress` says. */
export function slotWrite(session: usize, head: u32, slot: u32): void {
  const e = engine();
  const from = slotScratch(e);
  writeSlot(headAt(session, head).open, slot, from, from + (e.keyDim << 2), e.keyDim, e.valueDim);
}

/** Where `slotWrite` finds the key and value. */
export function slotAddress(): usize {
  return slotScratch(engine());
}

/** The attention scratch of the caller's thread, free between forward calls; scores of a span are more than a slot. */
// @ts-ignore: decorator
@inline
function slotScratch(e: Engine): usize {
  return changetype<AttendTask>(e.attention).scratch;
}

/** What the header of a closed page says of its slots: u8 empty ones, u8 1 where they have positions; and the first one. */
export function setPageSlots(page: usize, slots: u32, first: u32): void {
  store<u16>(page, <u16>slots, 6);
  setFirstPosition(page, first);
}

/** Whether queries see cache-relative positions. */
export function isRelative(address: usize): bool {
  return changetype<Session>(address).relative != 0;
}

/** Begins to build a session of `length` tokens on a fresh one. */
export function sessionAdopt(address: usize, length: u32, relative: bool): Status {
  const session = changetype<Session>(address);
  if (session.nextPosition != 0 || length > MAX_POSITION) return Status.BAD_ARGUMENT;
  session.nextPosition = length;
  session.relative = <u32>relative;
  return Status.OK;
}

/** Puts a head's page in the place and form it has by its age. */
function adoptPage(e: Engine, head: HeadView, index: u32, closed: u32): void {
  const page = emptyPage(e, head, index, closed);
  setFirstPosition(page, index * Size.PAGE_SLOTS);
  setPage(head, head.nPages, page);
  head.nPages += 1;
}

/**
 * Gives a head the pages of `length` slots from slot `base` on, zeroed; the host has reserved them. BAD_ARGUMENT where the
 * base cannot be (no multiple of 32, past what the next token sees, or so far back that the window would have dropped it),
 * where other slots than the session's tokens belong to a head that cannot forget, or are more than the context; or where
 * the squares are not two finite numbers in order.
 */
export function headAdopt(address: usize, index: u32, base: u32, length: u32, keySquares: f64, closedSquares: f64): Status {
  const e = engine();
  const position = changetype<Session>(address).nextPosition;
  if (index >= e.nHeadViews) return Status.BAD_ARGUMENT;
  const head = headAt(address, index);
  const mayForget = head.window == 0 && !(e.options & Option.KEY_DRIVEN);
  if (length != position && !mayForget) return Status.BAD_ARGUMENT;
  if (head.window == 0 && length > e.contextLength) return Status.BAD_ARGUMENT;
  const first = base / Size.PAGE_SLOTS;
  if (head.nPages != 0 || base % Size.PAGE_SLOTS != 0 || base > length || !(0 <= closedSquares)) return Status.BAD_ARGUMENT;
  if (!(closedSquares <= keySquares) || !(keySquares < Infinity)) return Status.BAD_ARGUMENT;
  head.base = base;
  const isPossible = canTruncate(head, length) && pagesFor(length) - first <= mostPages(length, head.window);
  if (!isPossible || pooledPages(e, length, base) > (head.wide != 0 ? e.nWideFree : e.nFreePages)) {
    head.base = 0;
    return isPossible ? Status.NO_PAGE : Status.BAD_ARGUMENT;
  }
  const closed = length / Size.PAGE_SLOTS;
  for (let i = first; i < closed; ++i) adoptPage(e, head, i, closed);
  if (length % Size.PAGE_SLOTS != 0) {
    setFirstPosition(head.open, position - (length % Size.PAGE_SLOTS));
    setPage(head, head.nPages, head.open);
    head.nPages += 1;
  }
  head.length = length;
  head.lead = length - position;
  head.keySquares = keySquares;
  head.closedSquares = closedSquares;
  return Status.OK;
}
