/** Sessions: a region from the arena or the free list, its heads' page tables, forks, and the pages they hold. */
import { arenaAlloc } from "../memory/arena";
import { Engine, engine, HeadView, layerAt, Session } from "../memory/records";
import { KvForm } from "../memory/status";
import { setPage } from "./append";
import { headOf, ownBytes, pooledPages } from "./heads";
import { journalBytes, NO_MARK, sessionTruncate } from "./journal";
import { setForms } from "./page";
import { pageShare } from "./pool";
import { mostClosed, mostPages } from "./window";

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
  return ownOffset(e) + <u64>e.nHeadViews * ownBytes(e) + journalBytes(e);
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
  for (let i: u32 = 0; i < e.nLayers; ++i) {
    const layer = layerAt(e, i);
    for (let h: u32 = 0; h < layer.nKvHeads; ++h) {
      const head = headOf(session, layer.firstHead + h);
      head.length = 0;
      head.base = 0;
      head.nPages = 0;
      head.pages = table;
      head.window = layer.window;
      head.open = own;
      head.fixed = own + e.openBytes;
      head.keySquares = 0;
      head.closedSquares = 0;
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
  sessionTruncate(address, 0);
  const session = changetype<Session>(address);
  memory.fill(headOf(session, 0).open, 0, e.nHeadViews * ownBytes(e) + <usize>journalBytes(e));
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
  memory.copy(headOf(to, 0).open, headOf(from, 0).open, e.nHeadViews * ownBytes(e));
  for (let i: u32 = 0; i < e.nHeadViews; ++i) {
    const a = headOf(from, i);
    const b = headOf(to, i);
    b.length = a.length;
    b.base = a.base;
    b.nPages = a.nPages;
    b.keySquares = a.keySquares;
    b.closedSquares = a.closedSquares;
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

/** Pages of a head that other sessions refer to as well: a window that moves past them does not free them. */
function sharedPages(head: HeadView): u32 {
  let shared: u32 = 0;
  for (let p: u32 = 0; p < head.nPages; ++p) {
    if (load<u32>(load<u32>(head.pages + (<usize>p << 2))) > 1) shared += 1;
  }
  return shared;
}

/** Pages that `nTokens` more tokens can need beyond those the session holds. */
export function sessionPagesNeeded(address: usize, nTokens: u32): u32 {
  const e = engine();
  const session = changetype<Session>(address);
  let needed: u32 = 0;
  for (let i: u32 = 0; i < e.nHeadViews; ++i) {
    const head = headOf(session, i);
    const held = pooledPages(e, head.length, head.base);
    const more = pooledPages(e, head.length + nTokens, head.base) - held;
    const most = mostClosed(head.window);
    needed += head.window == 0 ? more : min<u32>(more, (most > held ? most - held : 0) + sharedPages(head));
  }
  return needed;
}

/** Pages of the pool that a session refers to, shared ones included. */
export function sessionPages(address: usize): u32 {
  const e = engine();
  const session = changetype<Session>(address);
  let pages: u32 = 0;
  for (let i: u32 = 0; i < e.nHeadViews; ++i) {
    const head = headOf(session, i);
    pages += pooledPages(e, head.length, head.base);
  }
  return pages;
}
