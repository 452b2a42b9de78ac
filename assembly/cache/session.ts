/** Sessions: a region from the arena or the free list, its heads' page tables, and going back to an earlier length. */
import { arenaAlloc } from "../memory/arena";
import { Engine, engine, HeadView, layerAt, Session } from "../memory/records";
import { Option } from "../memory/status";
import { measureKeys } from "./key-squares";
import { poolFree } from "./pool";
import { canTruncate, mostPages, pagesFor } from "./window";

function sessionBytes(e: Engine): u64 {
  let bytes = <u64>offsetof<Session>();
  for (let i: u32 = 0; i < e.nLayers; ++i) {
    const layer = layerAt(e, i);
    bytes += <u64>layer.nKvHeads * (offsetof<HeadView>() + (<u64>mostPages(e.contextLength, layer.window) << 2));
  }
  return bytes;
}

// @ts-ignore: decorator
@inline
export function headOf(session: Session, index: u32): HeadView {
  return changetype<HeadView>(session.heads + <usize>index * offsetof<HeadView>());
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
  session.heads = address + offsetof<Session>();
  let table = session.heads + <usize>e.nHeadViews * offsetof<HeadView>();
  for (let i: u32 = 0; i < e.nLayers; ++i) {
    const layer = layerAt(e, i);
    for (let h: u32 = 0; h < layer.nKvHeads; ++h) {
      const head = headOf(session, layer.firstHead + h);
      head.length = 0;
      head.base = 0;
      head.nPages = 0;
      head.pages = table;
      head.window = layer.window;
      head.keySquares = 0;
      table += <usize>mostPages(e.contextLength, layer.window) << 2;
    }
  }
  return address;
}

/** Gives the session's pages and its region back. */
export function sessionClose(address: usize): void {
  const e = engine();
  sessionTruncate(address, 0);
  changetype<Session>(address).nextFree = e.freeSessions;
  e.freeSessions = address;
}

/**
 * Drops everything from token `length` on: the journal of an append-only cache is its length. Where a head's window has
 * already given back what a query at `length` sees, everything goes. Returns the new length.
 */
export function sessionTruncate(address: usize, length: u32): u32 {
  const e = engine();
  const session = changetype<Session>(address);
  if (length >= session.nextPosition) return session.nextPosition;
  const measured = (e.options & Option.KEY_DRIVEN) != 0;
  for (let i: u32 = 0; i < e.nHeadViews; ++i) {
    const head = headOf(session, i);
    if (!canTruncate(head, length) || (measured && head.base != 0)) length = 0;
  }
  for (let i: u32 = 0; i < e.nHeadViews; ++i) {
    const head = headOf(session, i);
    if (length == 0) head.base = 0;
    const keep: u32 = length == 0 ? 0 : pagesFor(length) - pagesFor(head.base);
    while (head.nPages > keep) {
      head.nPages -= 1;
      poolFree(load<u32>(head.pages + (<usize>head.nPages << 2)));
    }
    head.length = length;
  }
  session.nextPosition = length;
  if (measured) measureKeys(e, session);
  return length;
}

export function sessionLength(address: usize): u32 {
  return changetype<Session>(address).nextPosition;
}

/** Pages that `nTokens` more tokens can need beyond those the session holds. */
export function sessionPagesNeeded(address: usize, nTokens: u32): u32 {
  const e = engine();
  const session = changetype<Session>(address);
  let needed: u32 = 0;
  for (let i: u32 = 0; i < e.nHeadViews; ++i) {
    const head = headOf(session, i);
    needed += mostPages(head.length + nTokens - head.base, head.window) - head.nPages;
  }
  return needed;
}

/** Pages a session holds. */
export function sessionPages(address: usize): u32 {
  const e = engine();
  const session = changetype<Session>(address);
  let pages: u32 = 0;
  for (let i: u32 = 0; i < e.nHeadViews; ++i) pages += headOf(session, i).nPages;
  return pages;
}
