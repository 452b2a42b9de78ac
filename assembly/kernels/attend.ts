/**
 * Attention of one token over the pages of one KV head, each of its own form, for all query heads that share it: online softmax over fixed
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
 *   pages outer, dims inner in the sum of values: a page's 8 KB at once                          (decode @7K 17.5 -> 20 tokens/s)
 *   splats loaded at each use (no accumulator spills)                                           8.6 | 5.1  not kept
 *   6 accumulators, 8 slots at a time, two dims a turn                                          8.7 | 4.5  not kept
 * Packed pages (decode @7K, SmolLM2 Q4_0, tokens/s q8 | q4): weights rounded by truncation, scales decoded for each head
 *   21 | 24; rounding by adding 1.5 * 2^23, constants of exp in memory, query factor and scale in one 25 | 30; a load of
 *   every cache line of the next page first, for f32 pages too: 26 | 31, f32 15 instead of 19              not kept
 *
 * Packed pages, microseconds a page in cache, relaxed q8 | q4, simd q8 | q4 (one head of 2,048 slots, 3 query heads):
 *   i16 query and weights, pairs                                                       0.67 | 0.71, 0.67 | 0.71
 *   int8 query and weights, dots of four (packed-dots.ts), scales shared by the heads  0.60 | 0.60, 0.73 | 0.74
 *   and from memory (90 heads x 32,768 slots, GB/s of pages, relaxed): 2.7 | 1.7; the next page's lines read first 3.6 | 2.1
 *   a quarter of them before each 8 slots (read-ahead.ts): 3.8 | 2.1
 *   every second line, or four of a kilobyte: 2.0 | 1.4; four, eight pages or the span ahead: as one page         not kept
 *
 * A packed page takes integer scores and weights (scores-packed.ts, values-packed.ts); o goes on from page to page. A page
 * with a NaN or infinity makes o NaN: a broken model is heard.
 *
 * Sections of a page (sections/sections.ts) add to its scores and values; keys in planes are scored from one of them first
 * (sections/planes.ts). Where pages were evicted, each is scored with the query as it sees it (turn-query.ts).
 *
 * Shapes: out [nHeads][valueDim], q [nHeads][keyDim]; the task's scratch: attendScratch(keyDim, valueDim) bytes.
 */
import { isFew } from "../cache/packed-page";
import { isBroken, keyFormOf, keyOffset, keysOf, pageAt, partBytes, valueFormOf, valueOffset, valuesOf } from "../cache/page";
import { usedSlots } from "../cache/slots";
import { AttendTask } from "../memory/records";
import { KvForm, Part, Size } from "../memory/status";
import { addToScores, addToScoresRef, addToValues, addToValuesRef } from "../sections/add";
import { scoresChannels, scoresChannelsRef } from "../sections/channels";
import { isFlat, planeQuery, scoresHigh, scoresHighRef } from "../sections/planes";
import { mergeSpan } from "./merge-span";
import { DOTS_BYTES } from "./packed-dots";
import { queryBytes, quantizeQuery, quantizeQueryRef } from "./quantize-query";
import { readAhead } from "./read-ahead";
import { scaleRow } from "./scale";
import { SCORES_BYTES, scores16, scores16x3 } from "./scores-f32";
import { scoresPacked, scoresPackedRef } from "./scores-packed";
import { softcapRow, softcapRowRef } from "./softcap";
import { softmaxSpan, softmaxSpanRef } from "./softmax-span";
import { shiftOf, turnQueries, turnQueriesRef, turnScratch } from "./turn-query";
import { valuesF32 } from "./values-f32";
import { valuesPacked, valuesPackedRef, WEIGHTS_SCRATCH } from "./values-packed";

/** No shift. */
const NOT_TURNED: u32 = 0xffffffff;

/** Query heads that go together. */
const HEADS: usize = 3;

// Scratch: | scores x 3 | (max, sum) of the span x 3 | and of what went before | weights | span outputs | queries | codes |
//          | turned queries x 3 | their angles |
const SPAN_STATE: usize = HEADS * SCORES_BYTES;
const RUNNING_STATE: usize = SPAN_STATE + 32;
const WEIGHTS: usize = RUNNING_STATE + 32;
const SPAN_OUT: usize = WEIGHTS + WEIGHTS_SCRATCH;

/** Bytes between the span outputs of two heads: whole sixteens of dims. */
// @ts-ignore: decorator
@inline
function outStride(valueDim: u32): usize {
  return ((valueDim + 15) & ~15) << 2;
}

/** Bytes for the dots of a page, and its codes expanded to bytes. */
// @ts-ignore: decorator
@inline
function workBytes(keyDim: u32, valueDim: u32): usize {
  return DOTS_BYTES + (<usize>max<u32>((keyDim + 15) & ~15, (valueDim + 15) & ~15) << 5);
}

/** Bytes of a task's scratch. */
export function attendScratch(keyDim: u32, valueDim: u32): usize {
  const work = workBytes(keyDim, valueDim);
  return SPAN_OUT + HEADS * (outStride(valueDim) + queryBytes(keyDim) + (keyDim << 2)) + work + turnScratch(keyDim);
}

/** First slot of the first span: the page of the first visible slot begins there. */
// @ts-ignore: decorator
@inline
function firstSpan(task: AttendTask): u32 {
  return task.first & ~(Size.PAGE_SLOTS - 1);
}

/** NaN where one of the span's pages holds what is not a number, else 0: added to what the span gives. */
// @ts-ignore: decorator
@inline
function brokenTerm(page: usize): f32 {
  return isBroken(page) ? NaN : 0;
}

/** Queries as codes. */
function quantizeQueries(queries: usize, q: usize, task: AttendTask, nHeads: u32): void {
  const keyDim = task.keyDim;
  for (let h: usize = 0; h < nHeads; ++h) {
    const query = queries + h * queryBytes(keyDim);
    quantizeQuery(query, q + h * (keyDim << 2), keyDim, task.group, task.scale);
    if (task.flat != 0) planeQuery(task.extra + h * queryBytes(keyDim), query, keyDim, task.group);
  }
}

/** Turns the queries to where the page that begins with slot `slot` sees them; they stay so until another shift is met. */
function turnTo(turned: usize, q: usize, queries: usize, task: AttendTask, page: usize, slot: u32, nHeads: u32): void {
  const shift = shiftOf(task, page, slot);
  if (shift == task.turned) return;
  task.turned = shift;
  turnQueries(turned, q, nHeads, task, shift, turned + HEADS * (task.keyDim << 2));
  quantizeQueries(queries, turned, task, nHeads);
}

/** Empty slots at a page's end have no weight. */
function hideEmpty(scores: usize, used: u32, nHeads: u32): void {
  for (let h: usize = 0; h < nHeads; ++h) {
    for (let i = used; i < <u32>Size.PAGE_SLOTS; ++i) store<f32>(scores + h * SCORES_BYTES + (i << 2), -Infinity);
  }
}

/** Scores of a packed page for `nHeads` (1 or 3) heads; `isWhole`: of planes, both are read. */
// @ts-ignore: decorator
@inline
function pageScores(at: usize, q: usize, queries: usize, work: usize, task: AttendTask, page: usize, nHeads: u32, isWhole: bool): void {
  const form = keyFormOf(page);
  const keyDim = task.keyDim;
  if (form == KvForm.Q8_PLANES && !isWhole) scoresHigh(at, task.extra, keysOf(page), keyDim, task.group, nHeads, work);
  else if (form > KvForm.Q8_PLANES) scoresChannels(at, q, keysOf(page), form, keyDim, task.scale, nHeads, task.extra, work);
  else scoresPacked(at, queries, keysOf(page), form, keyDim, task.group, nHeads, work);
  if (task.sections != 0) addToScores(at, q, queries, page, task, nHeads);
}

/** Has the next page read while this one is scored, where it is packed. */
// @ts-ignore: decorator
@inline
function expectPage(page: usize, task: AttendTask): void {
  const form = valueFormOf(page);
  if (form == KvForm.F32) return;
  const values = valuesOf(page, task.keyDim, task.group, task.sections);
  const bytes = partBytes(form, Part.VALUES, task.valueDim, task.group, task.sections);
  readAhead(page, values + bytes - page, Size.PAGE_SLOTS >> 3);
}

/** Scores of the span's `count` slots; to the end of the last sixteen at least. */
// @ts-ignore: decorator
@inline
function spanScores(
  scores: usize, q: usize, queries: usize, work: usize, task: AttendTask, span: u32, count: u32, nHeads: u32, isWhole: bool,
): void {
  const keyDim = task.keyDim;
  const turned = work + workBytes(keyDim, task.valueDim);
  const seen = task.rope != 0 ? turned : q;
  for (let slot: u32 = 0; slot < count; slot += Size.PAGE_SLOTS) {
    const page = pageAt(task.head, span + slot);
    const at = scores + (slot << 2);
    const form = keyFormOf(page);
    if (task.rope != 0) turnTo(turned, q, queries, task, page, span + slot, nHeads);
    const used = usedSlots(page);
    if (form != KvForm.F32) {
      if (span + slot + Size.PAGE_SLOTS < task.end) expectPage(pageAt(task.head, span + slot + Size.PAGE_SLOTS), task);
      pageScores(at, seen, queries, work, task, page, nHeads, isWhole);
      if (used < <u32>Size.PAGE_SLOTS) hideEmpty(at, used, nHeads);
      continue;
    }
    for (let half: u32 = 0; half < 32 && slot + half < count; half += 16) {
      const keys = keysOf(page) + keyOffset(half, keyDim);
      if (nHeads == 3) scores16x3(at + (half << 2), seen, keys, keyDim);
      else scores16(at + (half << 2), seen, keys, keyDim);
      for (let h: usize = 0; h < nHeads; ++h) scaleRow(at + h * SCORES_BYTES + (half << 2), 16, task.scale);
    }
    if (used < <u32>Size.PAGE_SLOTS) hideEmpty(at, used, nHeads);
  }
}

/** One head's scores of a span, capped, from both planes. */
function wholeScores(scores: usize, q: usize, queries: usize, work: usize, task: AttendTask, span: u32, count: u32): void {
  task.turned = NOT_TURNED; // what is turned serves the heads together
  spanScores(scores, q, queries, work, task, span, count, 1, true);
  task.turned = NOT_TURNED;
  if (task.softcap != 0) softcapRow(scores, count, task.softcap);
}

/** A head's scores of a span once more, from both planes, and their softmax. */
function refine(scores: usize, state: usize, q: usize, queries: usize, work: usize, task: AttendTask, span: u32, count: u32, hidden: u32): void {
  wholeScores(scores, q, queries, work, task, span, count);
  softmaxSpan(scores, hidden, count, state);
}

/**
 * The scores that attention has for one query head, f32, of slots [first, end) and to the end of its sixteen; `first` begins a
 * page, `end` is one or the task's.
 */
export function headScores(out: usize, q: usize, task: AttendTask, first: u32, end: u32): void {
  const queries = task.scratch + SPAN_OUT + HEADS * outStride(task.valueDim);
  const work = queries + HEADS * queryBytes(task.keyDim);
  if (task.rope == 0) quantizeQueries(queries, q, task, 1);
  for (let span = first; span < end; span += Size.SPAN_SLOTS, out += Size.SPAN_SLOTS << 2) {
    wholeScores(out, q, queries, work, task, span, min<u32>(Size.SPAN_SLOTS, end - span));
  }
}

/** Span outputs from weights in `scores`. */
// @ts-ignore: decorator
@inline
function spanValues(out: usize, scores: usize, weights: usize, work: usize, task: AttendTask, span: u32, count: u32, nHeads: u32): void {
  const valueDim = task.valueDim;
  const stride = outStride(valueDim);
  memory.fill(out, 0, nHeads * stride);
  for (let slot: u32 = 0; slot < count; slot += Size.PAGE_SLOTS) {
    const page = pageAt(task.head, span + slot);
    const values = valuesOf(page, task.keyDim, task.group, task.sections);
    const form = valueFormOf(page);
    const at = scores + (slot << 2);
    if (task.sections != 0 && isFew(form)) addToValues(out, stride, at, values, form, task, nHeads, weights, work);
    else if (form != KvForm.F32) valuesPacked(out, stride, at, values, form, valueDim, task.group, nHeads, weights, work);
    else valuesF32(out, stride, at, values, min<u32>(Size.PAGE_SLOTS, count - slot), valueDim, nHeads);
    if (isBroken(page)) {
      for (let end = out + nHeads * stride, x = out; x < end; x += 4) store<f32>(x, NaN);
    }
  }
}

/** `nHeads` (1 or 3) query heads. */
// @ts-ignore: decorator
@inline
function attendHeads(out: usize, q: usize, task: AttendTask, nHeads: u32): void {
  const keyDim = task.keyDim;
  const valueDim = task.valueDim;
  const scratch = task.scratch;
  const end = task.end;
  const stride = outStride(valueDim);
  const spanOut = scratch + SPAN_OUT;
  const queries = spanOut + HEADS * stride;
  const work = queries + HEADS * queryBytes(keyDim);
  const start = firstSpan(task);
  task.turned = NOT_TURNED;
  if (task.rope == 0) quantizeQueries(queries, q, task, nHeads);
  for (let span = start; span < end; span += Size.SPAN_SLOTS) {
    const count = min<u32>(Size.SPAN_SLOTS, end - span);
    const hidden = span < task.first ? task.first - span : 0;
    spanScores(scratch, q, queries, work, task, span, count, nHeads, task.flat == 0);
    for (let h: usize = 0; h < nHeads; ++h) {
      const scores = scratch + h * SCORES_BYTES;
      const state = scratch + SPAN_STATE + (h << 3);
      if (task.softcap != 0) softcapRow(scores, count, task.softcap);
      softmaxSpan(scores, hidden, count, state);
      if (task.flat != 0 && isFlat(load<f32>(state, 4), task.flat)) {
        refine(scores, state, q + h * (keyDim << 2), queries + h * queryBytes(keyDim), work, task, span, count, hidden);
      }
    }
    spanValues(spanOut, scratch, scratch + WEIGHTS, work, task, span, count, nHeads);
    for (let h: usize = 0; h < nHeads; ++h) {
      const state = h << 3;
      mergeSpan(
        out + h * (valueDim << 2), scratch + RUNNING_STATE + state, spanOut + h * stride, scratch + SPAN_STATE + state,
        valueDim, span == start,
      );
    }
  }
  for (let h: usize = 0; h < nHeads; ++h) {
    const inverse = f32x4.splat(<f32>1 / load<f32>(scratch + RUNNING_STATE + (h << 3), 4));
    const at = out + ((h * valueDim) << 2);
    for (let i: u32 = 0; i < valueDim << 2; i += 16) v128.store(at + i, f32x4.mul(v128.load(at + i), inverse));
  }
}

/** All query heads of the task. */
export function attend(out: usize, q: usize, task: AttendTask): void {
  const group = task.nHeads;
  const keyBytes = task.keyDim << 2;
  const valueBytes = task.valueDim << 2;
  let h: u32 = 0;
  for (; h + 3 <= group; h += 3) attendHeads(out + h * valueBytes, q + h * keyBytes, task, 3);
  for (; h < group; ++h) attendHeads(out + h * valueBytes, q + h * keyBytes, task, 1);
}

/** Scores of one page for one head, as the drawing says. */
function pageScoresRef(scores: usize, q: usize, query: usize, page: usize, slot: u32, n: u32, task: AttendTask, isWhole: bool): void {
  const keyDim = task.keyDim;
  if (task.rope != 0) {
    const turned = query + queryBytes(keyDim);
    turnQueriesRef(turned, q, 1, task, shiftOf(task, page, slot), turned + (keyDim << 2));
    quantizeQueryRef(query, turned, keyDim, task.group, task.scale);
    q = turned;
  }
  const form = keyFormOf(page);
  const used = usedSlots(page);
  if (form != KvForm.F32) {
    if (form == KvForm.Q8_PLANES && !isWhole) scoresHighRef(scores, query, keysOf(page), keyDim, task.group);
    else if (form > KvForm.Q8_PLANES) scoresChannelsRef(scores, q, keysOf(page), form, keyDim, task.scale);
    else scoresPackedRef(scores, query, keysOf(page), form, keyDim, task.group);
    addToScoresRef(scores, q, query, page, task);
    for (let i = used; i < <u32>Size.PAGE_SLOTS; ++i) store<f32>(scores + (i << 2), -Infinity);
    return;
  }
  for (let i = used; i < n; ++i) store<f32>(scores + (i << 2), -Infinity);
  for (let i: u32 = 0; i < min<u32>(n, used); ++i) {
    const key = keysOf(page) + keyOffset(i, keyDim);
    let dot: f32 = 0;
    for (let d: u32 = 0; d < keyDim; ++d) {
      const product: f32 = load<f32>(key + (d << 6)) * load<f32>(q + (d << 2));
      dot = dot + product;
    }
    store<f32>(scores + (i << 2), dot * task.scale);
  }
}

function pageValuesRef(out: usize, weights: usize, page: usize, n: u32, task: AttendTask): void {
  const valueDim = task.valueDim;
  const values = valuesOf(page, task.keyDim, task.group, task.sections);
  const form = valueFormOf(page);
  if (isFew(form)) addToValuesRef(out, weights, values, form, task);
  else if (form != KvForm.F32) valuesPackedRef(out, weights, values, form, valueDim, task.group);
  else {
    for (let d: u32 = 0; d < valueDim; ++d) {
      let sum = load<f32>(out + (d << 2));
      for (let i: u32 = 0; i < n; ++i) {
        const product: f32 = load<f32>(values + valueOffset(i, d, valueDim)) * load<f32>(weights + (i << 2));
        sum = sum + product;
      }
      store<f32>(out + (d << 2), sum);
    }
  }
  for (let d: u32 = 0; d < valueDim; ++d) store<f32>(out + (d << 2), load<f32>(out + (d << 2)) + brokenTerm(page));
}

/** Scores of a span and their softmax. */
function spanScoresRef(scratch: usize, q: usize, query: usize, task: AttendTask, span: u32, count: u32, isWhole: bool): void {
  for (let slot: u32 = 0; slot < count; slot += Size.PAGE_SLOTS) {
    const n = min<u32>(Size.PAGE_SLOTS, count - slot);
    pageScoresRef(scratch + (slot << 2), q, query, pageAt(task.head, span + slot), span + slot, n, task, isWhole);
  }
  if (task.softcap != 0) softcapRowRef(scratch, count, task.softcap);
  softmaxSpanRef(scratch, span < task.first ? task.first - span : 0, count, scratch + SPAN_STATE);
}

export function attendRef(out: usize, q: usize, task: AttendTask): void {
  const head = task.head;
  const scratch = task.scratch;
  const keyDim = task.keyDim;
  const valueDim = task.valueDim;
  const spanOut = scratch + SPAN_OUT;
  const query = spanOut + HEADS * outStride(valueDim);
  const start = firstSpan(task);
  for (let h: u32 = 0; h < task.nHeads; ++h, out += valueDim << 2, q += keyDim << 2) {
    quantizeQueryRef(query, q, keyDim, task.group, task.scale);
    for (let span = start; span < task.end; span += Size.SPAN_SLOTS) {
      const count = min<u32>(Size.SPAN_SLOTS, task.end - span);
      spanScoresRef(scratch, q, query, task, span, count, task.flat == 0);
      if (task.flat != 0 && isFlat(load<f32>(scratch, SPAN_STATE + 4), task.flat)) spanScoresRef(scratch, q, query, task, span, count, true);
      memory.fill(spanOut, 0, valueDim << 2);
      for (let slot: u32 = 0; slot < count; slot += Size.PAGE_SLOTS) {
        const n = min<u32>(Size.PAGE_SLOTS, count - slot);
        pageValuesRef(spanOut, scratch + (slot << 2), pageAt(head, span + slot), n, task);
      }
      mergeSpan(out, scratch + RUNNING_STATE, spanOut, scratch + SPAN_STATE, valueDim, span == start);
    }
    const inverse: f32 = <f32>1 / load<f32>(scratch + RUNNING_STATE, 4);
    for (let d: u32 = 0; d < valueDim; ++d) store<f32>(out + (d << 2), load<f32>(out + (d << 2)) * inverse);
  }
}
