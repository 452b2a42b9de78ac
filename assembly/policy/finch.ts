/**
 * FINCH: what a prompt's last queries look at, each counted by how much there was to look at. https://arxiv.org/abs/2408.00167
 *
 *   score_j = sum over the last w queries r and the heads of the group of a_rj * (slots before r);   the last w slots stay
 *
 * As kvpress has it, for the whole prompt at once; the paper goes chunk by chunk, w being the question, and rotates keys anew.
 */
import { Engine, HeadView, Layer, Session } from "../memory/records";
import { readSeenKeys } from "./seen-keys";
import { addWindow, slotsBefore } from "./window-attention";

export function scoreFinch(e: Engine, session: Session, layer: Layer, head: HeadView, kv: u32, rows: u32, out: usize): void {
  readSeenKeys(e, session, layer, head);
  memory.fill(out, 0, head.length << 2);
  addWindow(e, session, layer, head, kv, rows, true, out);
  for (let j = slotsBefore(e, session, head, rows); j < head.length; ++j) store<f32>(out + (j << 2), Infinity);
}
