/**
 * The most that each slot of a text is given while the text is read once more: what its repetition needs is what will be asked
 * for. https://arxiv.org/abs/2505.23416 (KVzip)
 *
 *   rows r of the repetition, from observedFrom on; a_rj = softmax of the scores over the first `observedSinks` positions,
 *   those of the span [observedLow, observedHigh), and the repetition up to r, as kvpress has it
 *   sums_j = max over r and the heads of the group of a_rj, for j in the span
 */
import { headScores } from "../kernels/attend";
import { softmaxSpan } from "../kernels/softmax-span";
import { sumsOf } from "../cache/observation";
import { AttendTask, Engine, engine, HeadView, Layer, Session } from "../memory/records";
import { Size } from "../memory/status";
import { scoresOf, slotFrom } from "./slots";

/**
 * The rows of `fork` that come, from position `from` on, repeat positions [low, high) of `session`, which gets what they give;
 * fork 0: none do.
 */
export function observeSpan(session: usize, fork: usize, from: u32, sinks: u32, low: u32, high: u32): void {
  const e = engine();
  e.observedTarget = session;
  e.observedFork = fork;
  e.observedFrom = from;
  e.observedSinks = sinks;
  e.observedLow = low;
  e.observedHigh = high;
}

/** The next slot from `slot` on that begins a page. */
// @ts-ignore: decorator
@inline
function pageEnd(slot: u32): u32 {
  return (slot + Size.PAGE_SLOTS - 1) & ~(Size.PAGE_SLOTS - 1);
}

/** Slots [first, end) are not seen. */
function hide(scores: usize, first: u32, end: u32): void {
  for (let j = first; j < end; ++j) store<f32>(scores + (j << 2), -Infinity);
}

/** One row of KV head kv: its query heads at `q`. */
export function addLargest(e: Engine, layer: Layer, kv: u32, task: AttendTask, q: usize): void {
  const head = task.head;
  const weights = scoresOf(e, kv);
  const sums = sumsOf(e, changetype<Session>(e.observedTarget), layer.firstHead + kv);
  const low = slotFrom(e, head, e.observedLow);
  const high = slotFrom(e, head, e.observedHigh);
  const sinks = min<u32>(slotFrom(e, head, e.observedSinks), low);
  const own = slotFrom(e, head, e.observedFrom);
  // Pages that nothing is seen of are left out: those between the sinks and the span, and between the span and the repetition.
  const spanPage = max<u32>(pageEnd(sinks), low - (low % Size.PAGE_SLOTS));
  const ownPage = max<u32>(pageEnd(high), own - (own % Size.PAGE_SLOTS));
  const sinkEnd = pageEnd(sinks);
  const highEnd = min<u32>(pageEnd(high), task.end);
  const before = spanPage - sinkEnd;
  const skipped = before + ownPage - pageEnd(high);
  for (let h: u32 = 0; h < task.nHeads; ++h, q += task.keyDim << 2) {
    headScores(weights, q, task, 0, sinkEnd);
    headScores(weights + (sinkEnd << 2), q, task, spanPage, highEnd);
    headScores(weights + ((highEnd - before) << 2), q, task, ownPage, task.end);
    hide(weights, sinks, low - before);
    hide(weights, high - before, own - skipped);
    softmaxSpan(weights, 0, task.end - skipped, task.scratch);
    const inverse: f32 = <f32>1 / load<f32>(task.scratch, 4);
    for (let j = low; j < high; ++j) {
      const at = sums + (j << 2);
      store<f32>(at, max<f32>(load<f32>(at), load<f32>(weights + ((j - before) << 2)) * inverse));
    }
  }
}

/** Scores of a head's slots; the first `sinks` positions and the newest `recent`, which were not repeated, stay. */
export function scoreRepeated(e: Engine, session: Session, layer: Layer, head: HeadView, kv: u32, sinks: u32, recent: u32, out: usize): void {
  const sums = sumsOf(e, session, layer.firstHead + kv);
  memory.copy(out, sums, head.length << 2);
  const first = slotFrom(e, head, sinks);
  const next = session.nextPosition;
  const last = slotFrom(e, head, next - min<u32>(recent, next));
  for (let j: u32 = 0; j < first; ++j) store<f32>(out + (j << 2), Infinity);
  for (let j = last; j < head.length; ++j) store<f32>(out + (j << 2), Infinity);
}
