/** Slots that stay whatever a policy says of them: the first positions, the newest, pinned ones. */
import { Engine, HeadView, Session } from "../memory/records";
import { isUsed, slotAt } from "./slots";

function isPinned(session: Session, position: u32): bool {
  for (let i: u32 = 0; i < session.nPins; ++i) {
    const pin = session.pins + (i << 3);
    if (load<u32>(pin) <= position && position < load<u32>(pin, 4)) return true;
  }
  return false;
}

/** Whether a slot holds one of the first `sinks` positions, of the newest `window`, or a pinned one. */
export function isProtected(e: Engine, session: Session, head: HeadView, slot: u32, sinks: u32, window: u32): bool {
  if (!isUsed(head, slot)) return false;
  const position = slotAt(e, head, slot);
  return position < sinks || position + window >= session.nextPosition || isPinned(session, position);
}

/** Lifts those slots above all scores, and puts empty ones below. */
export function protect(e: Engine, session: Session, head: HeadView, scores: usize, sinks: u32, window: u32): void {
  for (let j: u32 = 0; j < head.length; ++j) {
    if (!isUsed(head, j)) store<f32>(scores + (j << 2), -Infinity);
    else if (isProtected(e, session, head, j, sinks, window)) store<f32>(scores + (j << 2), Infinity);
  }
}
