/**
 * What a session keeps of its rows for policies that ask which slots queries look at: the queries of the newest rows, as
 * attention uses them, and what all rows have given the slots (policy/observed-sums.ts).
 *
 *   | sums f32 [nHeadViews][policySlots], where observedKind is not 0 | queries f32 [layers][observeRows][nHeads][keyDim] |
 *
 * The queries are a ring: a row lies at its position modulo observeRows. They count from `session.observedFrom` on.
 *
 * Where rows are looked at, a copy of both and of the sums over queries lies behind: going back to a mark (journal.ts) brings
 * back what was observed by then. A session that observes goes back to a mark or to its beginning.
 */
import { Engine, engine, HeadView, Layer, Row, Session } from "../memory/records";
import { Observed, Size } from "../memory/status";
import { evictorBytes } from "./evict";
import { headOf } from "./heads";
import { statisticsBytes } from "./query-statistics";

/** `Session.observedFrom` where no row counts. */
export const NOBODY: u32 = 0xffffffff;

function sumsBytes(e: Engine): u64 {
  return e.observedKind == 0 ? 0 : <u64>e.nHeadViews * (e.policySlots << 2);
}

/** Whether what is observed changes with every row. */
function looksAtRows(e: Engine): bool {
  const kind = e.observedKind;
  return e.observeRows != 0 || e.queryStatistics != 0 || kind == <u32>Observed.ATTENTION || kind == <u32>Observed.CHUNKS;
}

/** Bytes of the copy. */
export function observationJournalBytes(e: Engine): u64 {
  return looksAtRows(e) ? statisticsBytes(e) + observationBytes(e) : 0;
}

/** Bytes of what is observed of a session; 0 where no policy asks. */
export function observationBytes(e: Engine): u64 {
  return sumsBytes(e) + ((<u64>e.nLayers * e.observeRows * e.nHeads * e.keyDim) << 2);
}

/** It lies behind the sums over queries. */
export function observationOf(e: Engine, session: Session): usize {
  return session.pins + <usize>(evictorBytes(e) + statisticsBytes(e));
}

/** For capsules: where sums over queries and then this begin, and the bytes of both. */
export function observationImage(address: usize): usize {
  const e = engine();
  return observationOf(e, changetype<Session>(address)) - <usize>statisticsBytes(e);
}

export function observationImageBytes(): u32 {
  const e = engine();
  return <u32>(statisticsBytes(e) + observationBytes(e));
}

/** A fresh session observes nothing. */
export function openObservation(e: Engine, session: Session): void {
  session.observedFrom = NOBODY;
  session.observedMark = NOBODY;
  clearObserved(e, session);
}

/** A fork goes on observing. */
export function copyObservation(e: Engine, to: Session, from: Session): void {
  to.observedFrom = from.observedFrom;
  if (from.observedFrom != NOBODY) memory.copy(observationOf(e, to), observationOf(e, from), <usize>observationBytes(e));
}

/** Nothing has been given to any slot yet. */
export function clearObserved(e: Engine, session: Session): void {
  memory.fill(observationOf(e, session), 0, <usize>sumsBytes(e));
}

/** What the slots of a head were given; `index` is its number in the session. */
// @ts-ignore: decorator
@inline
export function sumsOf(e: Engine, session: Session, index: u32): usize {
  return observationOf(e, session) + ((<usize>index * e.policySlots) << 2);
}

/** The same for the host; 0 where nothing is added up. */
export function observedSumsAddress(address: usize, index: u32): usize {
  const e = engine();
  return e.observedKind == 0 ? 0 : sumsOf(e, changetype<Session>(address), index);
}

/** A head has given up the page that was at place `page`; what follows has moved up. */
export function dropObserved(e: Engine, session: Session, head: HeadView, index: u32, page: u32): void {
  if (e.observedKind == 0) return;
  const at = sumsOf(e, session, index) + (page * Size.PAGE_SLOTS << 2);
  const rest = (head.length - page * Size.PAGE_SLOTS) << 2;
  memory.copy(at, at + (Size.PAGE_SLOTS << 2), rest);
  memory.fill(at + rest, 0, Size.PAGE_SLOTS << 2);
}

/** A head's slots from `length` on are empty. */
export function cutObserved(e: Engine, session: Session, index: u32, length: u32): void {
  if (e.observedKind != 0) memory.fill(sumsOf(e, session, index) + (length << 2), 0, (e.policySlots - length) << 2);
}

/** Remembers what has been observed by now. */
export function markObservation(e: Engine, session: Session): void {
  const bytes = <usize>observationJournalBytes(e);
  session.observedMark = session.observedFrom == NOBODY || bytes == 0 ? NOBODY : session.nextPosition;
  session.observedFromThen = session.observedFrom;
  if (session.observedMark == NOBODY) return;
  const image = observationImage(changetype<usize>(session));
  memory.copy(image + bytes, image, bytes);
}

/** Whether a session that is to go back to `length` tokens has to go to a mark or to its beginning. */
export function isBound(e: Engine, session: Session): bool {
  return session.observedFrom != NOBODY && looksAtRows(e);
}

/** The session went back: to the mark, to its beginning, or, where no row was looked at, to some length. */
export function truncateObservation(e: Engine, session: Session): void {
  if (session.observedFrom == NOBODY) return;
  const next = session.nextPosition;
  if (looksAtRows(e) && next == session.observedMark) {
    const bytes = <usize>observationJournalBytes(e);
    const image = observationImage(changetype<usize>(session));
    memory.copy(image, image + bytes, bytes);
    session.observedFrom = session.observedFromThen;
    return;
  }
  for (let i: u32 = 0; i < e.nHeadViews; ++i) cutObserved(e, session, i, headOf(session, i).length);
  session.observedFrom = min<u32>(session.observedFrom, next);
}

/** Address of a layer's queries of the row at a position. */
// @ts-ignore: decorator
@inline
export function queryAt(e: Engine, session: Session, layer: Layer, position: u32): usize {
  const row = (<usize>(layer.firstHead / e.nKvHeads) * e.observeRows + (position % e.observeRows)) * e.nHeads;
  return observationOf(e, session) + <usize>sumsBytes(e) + ((row * e.keyDim) << 2);
}

/** Position of row `r` of the newest `rows`. */
// @ts-ignore: decorator
@inline
export function observedPosition(session: Session, r: u32, rows: u32): u32 {
  return session.nextPosition - rows + r;
}

/** Keeps a row's queries. */
export function observe(e: Engine, layer: Layer, row: Row, q: usize): void {
  const session = changetype<Session>(row.session);
  if (row.position < session.observedFrom) return;
  memory.copy(queryAt(e, session, layer, row.position), q, (<usize>e.nHeads * e.keyDim) << 2);
}

/** Rows of a session count from position `from` on, and what was added up before is forgotten; from 2^32 - 1 on: none do. */
export function observeRows(address: usize, from: u32): void {
  const session = changetype<Session>(address);
  session.observedFrom = from;
  clearObserved(engine(), session);
}

/** Observed.LARGEST: the session's tokens before position `end` have been repeated. */
export function observedUntil(address: usize, end: u32): void {
  changetype<Session>(address).observedFrom = end;
}

/** First position whose row counts, or, Observed.LARGEST, that was not repeated yet; 2^32 - 1: there is none. */
export function observedStart(address: usize): u32 {
  return changetype<Session>(address).observedFrom;
}

/** Rows of a session whose queries are there, all of the newest tokens. */
export function observedCount(e: Engine, session: Session): u32 {
  if (session.nextPosition <= session.observedFrom) return 0;
  return min<u32>(e.observeRows, session.nextPosition - session.observedFrom);
}
