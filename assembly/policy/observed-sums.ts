/**
 * What all rows of a prompt give each slot, added up while they are computed, for policies that look at more than the last
 * rows. Each block's rows are scored once more after they have attended, when the highest score and the sum of a row are
 * known at once; so a prompt's attention takes as many products q.k again (about half as many operations more), and one
 * query head at a time. Nothing of it runs without such a policy, nor once a prompt has ended; decoding in a session that is
 * thinned goes on being observed and pays it too, more than any other policy: docs/benchmarks.md.
 *
 *   sums: f32 [nHeadViews][policySlots] of the session, of rows from position observedFrom on (cache/observation.ts)
 *   Observed.ATTENTION: sum over rows r, ascending, and query heads of the group of a_rj = softmax over j <= r of the scores
 *
 * a is normalised over all slots at once, not span by span. Slots are those of the head: where slots go, so do their sums. Rows
 * of a turn that is undone stay counted in the slots before it.
 */
import { headScores } from "../kernels/attend";
import { softmaxSpan } from "../kernels/softmax-span";
import { sumsOf } from "../cache/observation";
import { AttendTask, Engine, Layer, Row, Session } from "../memory/records";
import { Observed } from "../memory/status";
import { scoresOf } from "./slots";

/** Whether what a row gives the slots counts. */
// @ts-ignore: decorator
@inline
export function isObserved(e: Engine, row: Row): bool {
  if (e.observedKind == <u32>Observed.LARGEST) return row.session == e.observedFork && row.position >= e.observedFrom;
  return row.position >= changetype<Session>(row.session).observedFrom;
}

/** One row of KV head kv: its query heads at `q`, what they see in the task. */
export function addObserved(e: Engine, session: Session, layer: Layer, kv: u32, task: AttendTask, q: usize): void {
  const weights = scoresOf(e, kv); // policies score when the rows are done
  const sums = sumsOf(e, session, layer.firstHead + kv);
  const bytes = ((task.end + 3) & ~3) << 2;
  for (let h: u32 = 0; h < task.nHeads; ++h, q += task.keyDim << 2) {
    headScores(weights, q, task, 0, task.end);
    softmaxSpan(weights, 0, task.end, task.scratch);
    const inverse = f32x4.splat(<f32>1 / load<f32>(task.scratch, 4));
    for (let i: usize = 0; i < bytes; i += 16) {
      v128.store(sums + i, f32x4.add(v128.load(sums + i), f32x4.mul(v128.load(weights + i), inverse)));
    }
  }
}
