/**
 * What all rows of a prompt give each slot, added up while they are computed, for policies that look at more than the last
 * rows. Each block's rows are scored once more after they have attended, when the highest score and the sum of a row are
 * known at once; so a prompt's attention takes as many products q.k again (about half as many operations more), and one
 * query head at a time. Nothing of it runs without such a policy.
 *
 *   observedSums: f32 [nHeadViews][policySlots], of one session at a time, from position observedFrom on
 *   Observed.ATTENTION: sum over rows r, ascending, and query heads of the group of a_rj = softmax over j <= r of the scores
 *
 * a is normalised over all slots at once, not span by span. Slots are those of the head: where a page is evicted, its sums go.
 */
import { headScores } from "../kernels/attend";
import { softmaxSpan } from "../kernels/softmax-span";
import { AttendTask, Engine, engine, HeadView, Layer, Row, Session } from "../memory/records";
import { Size } from "../memory/status";
import { scoresOf } from "./slots";

/** A head's sums; `index` is its number in the session. */
// @ts-ignore: decorator
@inline
export function sumsOf(e: Engine, index: u32): usize {
  return e.observedSums + ((<usize>index * e.policySlots) << 2);
}

/** The same for the host; 0 where nothing is added up. */
export function observedSumsAddress(index: u32): usize {
  const e = engine();
  return e.observedKind == 0 ? 0 : sumsOf(e, index);
}

// @ts-ignore: decorator
@inline
export function isObserved(e: Engine, row: Row): bool {
  return row.session == e.observedSession && row.position >= e.observedFrom;
}

/** Nothing has been seen yet. */
export function clearObserved(e: Engine): void {
  if (e.observedKind != 0) memory.fill(e.observedSums, 0, (<usize>e.nHeadViews * e.policySlots) << 2);
}

/** One row of KV head kv: its query heads at `q`, what they see in the task. */
export function addObserved(e: Engine, layer: Layer, kv: u32, task: AttendTask, q: usize): void {
  const weights = scoresOf(e, kv); // policies score when the rows are done
  const sums = sumsOf(e, layer.firstHead + kv);
  const bytes = ((task.end + 3) & ~3) << 2;
  for (let h: u32 = 0; h < task.nHeads; ++h, q += task.keyDim << 2) {
    headScores(weights, q, task);
    softmaxSpan(weights, 0, task.end, task.scratch);
    const inverse = f32x4.splat(<f32>1 / load<f32>(task.scratch, 4));
    for (let i: usize = 0; i < bytes; i += 16) {
      v128.store(sums + i, f32x4.add(v128.load(sums + i), f32x4.mul(v128.load(weights + i), inverse)));
    }
  }
}

/** A head has given up the page that was at place `page`; what follows has moved up. */
export function dropObserved(e: Engine, session: Session, head: HeadView, index: u32, page: u32): void {
  if (e.observedKind == 0 || changetype<usize>(session) != e.observedSession) return;
  const at = sumsOf(e, index) + (page * Size.PAGE_SLOTS << 2);
  const rest = (head.length - page * Size.PAGE_SLOTS) << 2;
  memory.copy(at, at + (Size.PAGE_SLOTS << 2), rest);
  memory.fill(at + rest, 0, Size.PAGE_SLOTS << 2);
}
