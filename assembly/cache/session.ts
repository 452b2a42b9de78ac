/** Sessions: a region from the arena or the free list, its heads' page tables, forks, and the pages they hold. */
import { arenaAlloc } from "../memory/arena";
import { Engine, engine, HeadView, layerAt, Session } from "../memory/records";
import { KvForm, Size } from "../memory/status";
import { setPage } from "./append";
import { evictorBytes, MAX_PINS } from "./evict";
import { headOf, ownBytes, pooledPages } from "./heads";
import { empty, journalBytes, NO_MARK } from "./journal";
import { copyObservation, observationBytes, observationJournalBytes, openObservation } from "./observation";
import { setForms } from "./page";
import { pageShare } from "./pool";
import { copyStatistics, openStatistics, statisticsBytes } from "./query-statistics";
import { mostClosed, mostPages } from "./window";

/** Positions of a session that evicts end here: angles are exact up to 2^20 and as good as f32 up to this. */
export const MAX_POSITION: u32 = 1 << 24;

// @ts-ignore: decorator
@inline
function align16(bytes: u64): u64 {
  return (bytes + 15) & ~15;
}

/** Offset of the first head's own pages. */
function ownOffset(e: Engine): u64 {
  let bytes = <u64>offsetof<Session>() + <u64>e.nHeadViews * offsetof<HeadView>();
  for (let i: u32 = 0; i < e.nLayers; ++i) {
    const layer = layerAt(e, i);
    bytes += <u64>layer.nKvHeads * (<u64>mostPages(e.contextLength, layer.window) << 2);
  }
  return align16(bytes);
}

function sessionBytes(e: Engine): u64 {
  return ownOffset(e) + <u64>e.nHeadViews * ownBytes(e) + journalBytes(e) + evictorBytes(e) + statisticsBytes(e) + observationBytes(e) + observationJournalBytes(e);
}

/** A fresh session of the model's context length; 0 when memory is out. */
export function sessionOpen(): usize {
  const e = engine();
  let address = e.freeSessions;
  if (address != 0) e.freeSessions = changetype<Session>(address).nextFree;
  else address = arenaAlloc(sessionBytes(e));
  if (address == 0) return 0;
  const session = changetype<Session>(address);
  session.nextPosition = 0;
  session.capacity = e.contextLength;
  session.nextFree = 0;
  session.marked = NO_MARK;
  session.heads = address + offsetof<Session>();
  let table = session.heads + <usize>e.nHeadViews * offsetof<HeadView>();
  let own = address + <usize>ownOffset(e);
  session.journal = own + <usize>e.nHeadViews * ownBytes(e);
  session.maxPages = 0;
  session.relative = 0;
  session.pins = session.journal + <usize>journalBytes(e);
  session.nPins = 0;
  session.log = session.pins + (MAX_PINS << 3);
  session.nLogged = 0;
  openStatistics(e, session);
  openObservation(e, session);
  for (let i: u32 = 0; i < e.nLayers; ++i) {
    const layer = layerAt(e, i);
    for (let h: u32 = 0; h < layer.nKvHeads; ++h) {
      const head = headOf(session, layer.firstHead + h);
      head.length = 0;
      head.base = 0;
      head.nPages = 0;
      head.pages = table;
      head.window = layer.window;
      head.list = <u16>min<u32>(layer.firstHead + h, u16.MAX_VALUE);
      head.wide = <u16>(e.wideBytes != 0 && ((layer.wideHeads >> h) & 1) != 0);
      head.open = own;
      head.fixed = own + e.openBytes;
      head.keySquares = 0;
      head.closedSquares = 0;
      head.lead = 0;
      head.removed = 0;
      setForms(own, KvForm.F32, KvForm.F32);
      table += <usize>mostPages(e.contextLength, layer.window) << 2;
      own += ownBytes(e);
    }
  }
  return address;
}

/** Gives the session's pages and its region back, zeroed. */
export function sessionClose(address: usize): void {
  const e = engine();
  const session = changetype<Session>(address);
  empty(e, session);
  const behind = journalBytes(e) + evictorBytes(e) + statisticsBytes(e) + observationBytes(e) + observationJournalBytes(e);
  memory.fill(headOf(session, 0).open, 0, e.nHeadViews * ownBytes(e) + <usize>behind);
  session.nextFree = e.freeSessions;
  e.freeSessions = address;
}

/** A second session that goes on from the same tokens: pages of the pool are shared, its own ones copied; 0: no memory. */
export function sessionFork(address: usize): usize {
  const e = engine();
  const copy = sessionOpen();
  if (copy == 0) return 0;
  const from = changetype<Session>(address);
  const to = changetype<Session>(copy);
  to.nextPosition = from.nextPosition;
  to.maxPages = from.maxPages;
  to.relative = from.relative;
  to.sinkPages = from.sinkPages;
  to.windowPages = from.windowPages;
  to.nPins = from.nPins;
  memory.copy(to.pins, from.pins, from.nPins << 3);
  copyStatistics(e, to, from);
  copyObservation(e, to, from);
  memory.copy(headOf(to, 0).open, headOf(from, 0).open, e.nHeadViews * ownBytes(e));
  for (let i: u32 = 0; i < e.nHeadViews; ++i) {
    const a = headOf(from, i);
    const b = headOf(to, i);
    b.length = a.length;
    b.base = a.base;
    b.nPages = a.nPages;
    b.keySquares = a.keySquares;
    b.closedSquares = a.closedSquares;
    b.lead = a.lead;
    b.removed = a.removed;
    for (let p: u32 = 0; p < a.nPages; ++p) {
      const page = load<u32>(a.pages + (<usize>p << 2));
      const isOwn = page - a.open < ownBytes(e);
      if (!isOwn) pageShare(page);
      setPage(b, p, isOwn ? page - a.open + b.open : page);
    }
  }
  return copy;
}

export function sessionLength(address: usize): u32 {
  return changetype<Session>(address).nextPosition;
}

/** Slots of the head that has most of those that see everything; where all have windows, the tokens so far. */
export function slotsOf(session: Session): u32 {
  let most: u32 = 0;
  let all = true;
  for (let i: u32 = 0; i < engine().nHeadViews; ++i) {
    const head = headOf(session, i);
    if (head.window != 0) continue;
    all = false;
    most = max<u32>(most, head.length);
  }
  return all ? session.nextPosition : most;
}

export function sessionSlots(address: usize): u32 {
  return slotsOf(changetype<Session>(address));
}

/** Pages of a head that other sessions refer to as well: to give them up does not free them. */
function sharedPages(head: HeadView): u32 {
  let shared: u32 = 0;
  for (let p: u32 = 0; p < head.nPages; ++p) {
    if (load<u32>(load<u32>(head.pages + (<usize>p << 2))) > 1) shared += 1;
  }
  return shared;
}

/** Pages of the pool that a head's next slots need; one that evicts holds no more than maxPages - 1 closed ones. */
export function pagesNeeded(e: Engine, session: Session, head: HeadView, nTokens: u32): u32 {
  const held = pooledPages(e, head.length, head.base);
  const length = head.length + nTokens;
  if (head.window != 0) {
    const most = mostClosed(head.window);
    return min<u32>(pooledPages(e, length, head.base) - held, (most > held ? most - held : 0) + sharedPages(head));
  }
  const full = session.maxPages * Size.PAGE_SLOTS;
  if (full == 0 || length < full) return pooledPages(e, length, head.base) - held;
  const most = pooledPages(e, full - Size.PAGE_SLOTS, head.base);
  return (most > held ? most - held : 0) + min<u32>(nTokens / Size.PAGE_SLOTS + 1, sharedPages(head));
}

/** Pages, or wide pages, that `nTokens` more tokens can need beyond those the session holds. */
export function sessionPagesNeeded(address: usize, nTokens: u32, isWide: bool): u32 {
  const e = engine();
  const session = changetype<Session>(address);
  let needed: u32 = 0;
  for (let i: u32 = 0; i < e.nHeadViews; ++i) {
    const head = headOf(session, i);
    if ((head.wide != 0) == isWide) needed += pagesNeeded(e, session, head, nTokens);
  }
  return needed;
}

/** Pages of the pool, or wide pages, that a session refers to, shared ones included. */
export function sessionPages(address: usize, isWide: bool): u32 {
  const e = engine();
  const session = changetype<Session>(address);
  let pages: u32 = 0;
  for (let i: u32 = 0; i < e.nHeadViews; ++i) {
    const head = headOf(session, i);
    if ((head.wide != 0) == isWide) pages += pooledPages(e, head.length, head.base);
  }
  return pages;
}
