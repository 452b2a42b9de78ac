/** Sessions: a region from the arena or the free list, its heads' page tables, and going back to an earlier length. */
import { arenaAlloc } from "../memory/arena";
import { Engine, engine, HeadView, Session } from "../memory/records";
import { pagesFor, poolFree } from "./pool";

function sessionBytes(e: Engine): u64 {
  const nHeads = <u64>e.nLayers * e.nKvHeads;
  return <u64>offsetof<Session>() + nHeads * (offsetof<HeadView>() + (<u64>pagesFor(e.contextLength) << 2));
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
  const nHeads = e.nLayers * e.nKvHeads;
  session.nextPosition = 0;
  session.capacity = e.contextLength;
  session.nextFree = 0;
  session.heads = address + offsetof<Session>();
  let table = session.heads + <usize>nHeads * offsetof<HeadView>();
  for (let i: u32 = 0; i < nHeads; ++i, table += pagesFor(e.contextLength) << 2) {
    const head = headOf(session, i);
    head.length = 0;
    head.nPages = 0;
    head.pages = table;
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

/** Drops everything from token `length` on: the journal of an append-only cache is its length. */
export function sessionTruncate(address: usize, length: u32): void {
  const e = engine();
  const session = changetype<Session>(address);
  if (length >= session.nextPosition) return;
  for (let i: u32 = 0; i < e.nLayers * e.nKvHeads; ++i) {
    const head = headOf(session, i);
    const keep = pagesFor(length);
    while (head.nPages > keep) {
      head.nPages -= 1;
      poolFree(load<u32>(head.pages + (<usize>head.nPages << 2)));
    }
    head.length = length;
  }
  session.nextPosition = length;
}

export function sessionLength(address: usize): u32 {
  return changetype<Session>(address).nextPosition;
}

/** Pages that `nTokens` more tokens need beyond those the session holds. */
export function sessionPagesNeeded(address: usize, nTokens: u32): u32 {
  const e = engine();
  const session = changetype<Session>(address);
  let needed: u32 = 0;
  for (let i: u32 = 0; i < e.nLayers * e.nKvHeads; ++i) {
    const head = headOf(session, i);
    needed += pagesFor(head.length + nTokens) - head.nPages;
  }
  return needed;
}

/** Pages a session holds. */
export function sessionPages(address: usize): u32 {
  const e = engine();
  const session = changetype<Session>(address);
  let pages: u32 = 0;
  for (let i: u32 = 0; i < e.nLayers * e.nKvHeads; ++i) pages += headOf(session, i).nPages;
  return pages;
}
