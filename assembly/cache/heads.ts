/** The heads of a session: their records, and where their pages lie. */
import { Engine, HeadView, Session } from "../memory/records";
import { agesTwice } from "./append";

// @ts-ignore: decorator
@inline
export function headOf(session: Session, index: u32): HeadView {
  return changetype<HeadView>(session.heads + <usize>index * offsetof<HeadView>());
}

/** Bytes of one head's pages in a session's region: the open one, sinks and recent ones. */
// @ts-ignore: decorator
@inline
export function ownBytes(e: Engine): usize {
  return e.openBytes + <usize>(e.sinkPages + e.recentPages) * e.recentBytes;
}

/** Pages of the pool that a head of `length` slots holds, of those from page `base` / 32 on. */
export function pooledPages(e: Engine, length: u32, base: u32): u32 {
  const closed = length >> 5;
  const first = base >> 5;
  if (!agesTwice(e)) return closed - first;
  const from = max<u32>(first, e.sinkPages);
  return closed > from + e.recentPages ? closed - e.recentPages - from : 0;
}
