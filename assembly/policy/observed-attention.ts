/**
 * Observed attention: what all queries of a prompt have looked at (observed-sums.ts). https://arxiv.org/abs/2306.14048 (H2O)
 *
 *   mean:  score_j = sum over rows r >= j and heads of the group of a_rj / (rows that see j * heads), as kvpress has it
 *   H2O:   score_j = sum over rows and heads of a_rj, so that early slots have had more time; as the paper has it
 *   `recent`: so many of the newest slots stay in any case
 *
 * Rows are those that were computed since the observation began: where a turn goes on from what an earlier one has
 * computed, they are the turn's own. At a prompt's end; the paper evicts one slot a step.
 */
import { sumsOf } from "../cache/observation";
import { positionOf } from "../cache/slots";
import { Engine, HeadView, Layer, Session } from "../memory/records";
import { Size } from "../memory/status";
import { isUsed } from "./slots";

export function scoreObserved(
  e: Engine, session: Session, layer: Layer, head: HeadView, kv: u32, isMean: bool, recent: u32, out: usize,
): void {
  const sums = sumsOf(e, session, layer.firstHead + kv);
  const group = layer.nHeads / layer.nKvHeads;
  let newest = recent;
  for (let j = head.length; j-- > 0; ) {
    const at = out + (j << 2);
    if (!isUsed(head, j)) continue; // lowered by protection
    if (newest > 0) {
      newest -= 1;
      store<f32>(at, Infinity);
      continue;
    }
    const page: usize = load<u32>(head.pages + (<usize>(j / Size.PAGE_SLOTS) << 2));
    const first = max<u32>(positionOf(e, page, j % Size.PAGE_SLOTS), session.observedFrom);
    const rows = session.nextPosition - first;
    store<f32>(at, isMean ? load<f32>(sums + (j << 2)) / <f32>(rows * group) : load<f32>(sums + (j << 2)));
  }
}
