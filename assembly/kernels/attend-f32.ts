/**
 * Attention of one token over the f32 pages of one KV head, for all query heads that share it: online softmax over fixed
 * spans of 1,024 slots. https://arxiv.org/abs/1805.02867, https://arxiv.org/abs/2205.14135
 *
 *   spans start at the page of the first visible slot
 *   span: s_j = cap((q . k_j) * scale), m = max s_j, w_j = exp(s_j - m), z = sum w_j, o = sum w_j v_j (slots ascending)
 *   merge, spans ascending: M' = max(M, m), Z' = Z e^(M - M') + z e^(m - M'), O' = O e^(M - M') + o e^(m - M')
 *   out = O * (1 / Z)
 *
 * q.k runs over dims ascending with one f32 lane per slot; o with one lane per dim. Query heads go in threes (each load of
 * a key or value serves 3 heads: 12 accumulators), the rest one by one; a head's bits do not depend on its company.
 *
 * Ladder (GMAC/s of scores and values on Zen 3, f32, 3 heads of 64 dims: 1,024 slots in cache | 90 heads x 7,168 slots;
 * `npm run bench -- --only kernels`):
 *   three heads a load; keys in groups of 4 slots, values a row a slot: four streams             7.9 | 3.6
 *   16 slots, 16 dims beside each other: one stream                                             9.0 | 5.0
 *   splats loaded at each use (no accumulator spills)                                           8.6 | 5.1  not kept
 *   6 accumulators, 8 slots at a time, two dims a turn                                          8.7 | 4.5  not kept
 *
 * Shapes: out [nHeads][valueDim], q [nHeads][keyDim]; the task's scratch: ATTEND_SCRATCH bytes + 3 * valueDim f32.
 */
import { keyOffset, pageAt, valueOffset, valuesOffset } from "../cache/page";
import { AttendTask } from "../memory/records";
import { Size } from "../memory/status";
import { mergeSpan } from "./merge-span";
import { scaleRow, scaleRowRef } from "./scale";
import { SCORES_BYTES, scores16, scores16x3 } from "./scores-f32";
import { softcapRow, softcapRowRef } from "./softcap";
import { softmaxSpan, softmaxSpanRef } from "./softmax-span";
import { values4, values16, values16x3 } from "./values-f32";

/** Offset of the spans' (max, sum) pairs, three of them, and of the running pairs. */
const SPAN_STATE: usize = 3 * SCORES_BYTES;
const RUNNING_STATE: usize = SPAN_STATE + 32;
/** Offset of the span outputs; bytes of the scratch before them. */
export const ATTEND_SCRATCH: usize = RUNNING_STATE + 32;

/** First slot of the first span: the page of the first visible slot begins there. */
// @ts-ignore: decorator
@inline
function firstSpan(task: AttendTask): u32 {
  return task.first & ~(Size.PAGE_SLOTS - 1);
}

/** `nHeads` (1 or 3) query heads. */
// @ts-ignore: decorator
@inline
function attendHeads(out: usize, q: usize, task: AttendTask, nHeads: u32): void {
  const head = task.head;
  const keyDim = task.keyDim;
  const valueDim = task.valueDim;
  const scratch = task.scratch;
  const end = task.end;
  const spanOut = scratch + ATTEND_SCRATCH;
  const start = firstSpan(task);
  for (let span = start; span < end; span += Size.SPAN_SLOTS) {
    const count = min<u32>(Size.SPAN_SLOTS, end - span);
    for (let slot: u32 = 0; slot < count; slot += 16) {
      const keys = pageAt(head, span + slot) + (slot & 16 ? keyDim << 6 : 0);
      if (nHeads == 3) scores16x3(scratch + (slot << 2), q, keys, keyDim);
      else scores16(scratch + (slot << 2), q, keys, keyDim);
    }
    const hidden = span < task.first ? task.first - span : 0;
    for (let h: usize = 0; h < nHeads; ++h) {
      const scores = scratch + h * SCORES_BYTES;
      scaleRow(scores, count, task.scale);
      if (task.softcap != 0) softcapRow(scores, count, task.softcap);
      softmaxSpan(scores, hidden, count, scratch + SPAN_STATE + (h << 3));
    }
    let dim: u32 = 0;
    for (; dim + 16 <= valueDim; dim += 16) {
      const layout = (<u64>(valuesOffset(keyDim) + (dim << 7)) << 32) | <u64>(valueDim << 2);
      if (nHeads == 3) values16x3(spanOut + (dim << 2), scratch, head, span, count, layout);
      else values16(spanOut + (dim << 2), scratch, head, span, count, layout);
    }
    for (; dim < valueDim; dim += 4) {
      const layout = (<u64>(valuesOffset(keyDim) + (dim << 7)) << 32) | <u64>(valueDim << 2);
      for (let h: usize = 0; h < nHeads; ++h) {
        values4(spanOut + ((h * valueDim + dim) << 2), scratch + h * SCORES_BYTES, head, span, count, layout);
      }
    }
    for (let h: usize = 0; h < nHeads; ++h) {
      const at = (h * valueDim) << 2;
      mergeSpan(out + at, scratch + RUNNING_STATE + (h << 3), spanOut + at, scratch + SPAN_STATE + (h << 3), valueDim, span == start);
    }
  }
  for (let h: usize = 0; h < nHeads; ++h) {
    const inverse = f32x4.splat(<f32>1 / load<f32>(scratch + RUNNING_STATE + (h << 3), 4));
    const at = out + ((h * valueDim) << 2);
    for (let i: u32 = 0; i < valueDim << 2; i += 16) v128.store(at + i, f32x4.mul(v128.load(at + i), inverse));
  }
}

/** All query heads of the task. */
export function attendF32(out: usize, q: usize, task: AttendTask): void {
  const group = task.nHeads;
  const keyBytes = task.keyDim << 2;
  const valueBytes = task.valueDim << 2;
  let h: u32 = 0;
  for (; h + 3 <= group; h += 3) attendHeads(out + h * valueBytes, q + h * keyBytes, task, 3);
  for (; h < group; ++h) attendHeads(out + h * valueBytes, q + h * keyBytes, task, 1);
}

export function attendF32Ref(out: usize, q: usize, task: AttendTask): void {
  const head = task.head;
  const keyDim = task.keyDim;
  const valueDim = task.valueDim;
  const scratch = task.scratch;
  const spanOut = scratch + ATTEND_SCRATCH;
  const start = firstSpan(task);
  for (let h: u32 = 0; h < task.nHeads; ++h, out += valueDim << 2, q += keyDim << 2) {
    for (let span = start; span < task.end; span += Size.SPAN_SLOTS) {
      const count = min<u32>(Size.SPAN_SLOTS, task.end - span);
      for (let i: u32 = 0; i < count; ++i) {
        const key = pageAt(head, span + i) + keyOffset(i & 31, keyDim);
        let dot: f32 = 0;
        for (let d: u32 = 0; d < keyDim; ++d) {
          const product: f32 = load<f32>(key + (d << 6)) * load<f32>(q + (d << 2));
          dot = dot + product;
        }
        store<f32>(scratch + (i << 2), dot);
      }
      scaleRowRef(scratch, count, task.scale);
      if (task.softcap != 0) softcapRowRef(scratch, count, task.softcap);
      softmaxSpanRef(scratch, span < task.first ? task.first - span : 0, count, scratch + SPAN_STATE);
      for (let d: u32 = 0; d < valueDim; ++d) {
        let sum: f32 = 0;
        for (let i: u32 = 0; i < count; ++i) {
          const value = load<f32>(pageAt(head, span + i) + valuesOffset(keyDim) + valueOffset(i & 31, d, valueDim));
          const product: f32 = value * load<f32>(scratch + (i << 2));
          sum = sum + product;
        }
        store<f32>(spanOut + (d << 2), sum);
      }
      mergeSpan(out, scratch + RUNNING_STATE, spanOut, scratch + SPAN_STATE, valueDim, span == start);
    }
    const inverse: f32 = <f32>1 / load<f32>(scratch + RUNNING_STATE, 4);
    for (let d: u32 = 0; d < valueDim; ++d) store<f32>(out + (d << 2), load<f32>(out + (d << 2)) * inverse);
  }
}
