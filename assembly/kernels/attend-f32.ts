/**
 * Attention of one token over the f32 pages of one KV head, for all query heads that share it: online softmax over fixed
 * spans of 1,024 slots. https://arxiv.org/abs/1805.02867, https://arxiv.org/abs/2205.14135
 *
 *   span: s_j = (q . k_j) / sqrt(keyDim), m = max s_j, w_j = exp(s_j - m), z = sum w_j, o = sum w_j v_j (slots ascending)
 *   merge, spans ascending: M' = max(M, m), Z' = Z e^(M - M') + z e^(m - M'), O' = O e^(M - M') + o e^(m - M')
 *   out = O * (1 / Z)
 *
 * q.k runs over dims ascending with one f32 lane per slot; o with one lane per dim. Query heads go in threes (each load of
 * a key or value serves 3 heads: 12 accumulators), the rest one by one; a head's bits do not depend on its company.
 *
 * Shapes: out [group][valueDim], q [group][keyDim], scratch: ATTEND_SCRATCH bytes + 3 * valueDim f32.
 */
import { HeadView, Layer } from "../memory/records";
import { Size } from "../memory/status";
import { exp1 } from "./exp";
import { softmaxSpan, softmaxSpanRef } from "./softmax-span";

/** Bytes of a head's scores in the scratch. */
const SCORES_BYTES: usize = Size.SPAN_SLOTS << 2;
/** Offset of the spans' (max, sum) pairs, three of them, and of the running pairs. */
const SPAN_STATE: usize = 3 * SCORES_BYTES;
const RUNNING_STATE: usize = SPAN_STATE + 32;
/** Offset of the span outputs; bytes of the scratch before them. */
export const ATTEND_SCRATCH: usize = RUNNING_STATE + 32;

// @ts-ignore: decorator
@inline
function pageAt(head: HeadView, slot: u32): usize {
  return load<u32>(head.pages + (<usize>(slot / Size.PAGE_SLOTS) << 2));
}

/** Scores of 16 slots (4 slot groups of `stride` bytes) for one head. */
function scores16(scores: usize, q: usize, keys: usize, keyDim: u32): void {
  const stride = keyDim << 4;
  let a0 = f32x4.splat(0);
  let a1 = a0;
  let a2 = a0;
  let a3 = a0;
  for (let end = q + (keyDim << 2); q < end; q += 4, keys += 16) {
    const s = v128.load32_splat(q);
    a0 = f32x4.add(a0, f32x4.mul(v128.load(keys), s));
    a1 = f32x4.add(a1, f32x4.mul(v128.load(keys + stride), s));
    a2 = f32x4.add(a2, f32x4.mul(v128.load(keys + 2 * stride), s));
    a3 = f32x4.add(a3, f32x4.mul(v128.load(keys + 3 * stride), s));
  }
  v128.store(scores, a0);
  v128.store(scores, a1, 16);
  v128.store(scores, a2, 32);
  v128.store(scores, a3, 48);
}

/** Scores of 16 slots for three heads: q at q, q + keyDim, q + 2 keyDim; scores SCORES_BYTES apart. */
function scores16x3(scores: usize, q: usize, keys: usize, keyDim: u32): void {
  const stride = keyDim << 4;
  const qStride: usize = keyDim << 2;
  let a0 = f32x4.splat(0);
  let a1 = a0;
  let a2 = a0;
  let a3 = a0;
  let b0 = a0;
  let b1 = a0;
  let b2 = a0;
  let b3 = a0;
  let c0 = a0;
  let c1 = a0;
  let c2 = a0;
  let c3 = a0;
  for (let end = q + qStride; q < end; q += 4, keys += 16) {
    const sa = v128.load32_splat(q);
    const sb = v128.load32_splat(q + qStride);
    const sc = v128.load32_splat(q + 2 * qStride);
    let key = v128.load(keys);
    a0 = f32x4.add(a0, f32x4.mul(key, sa));
    b0 = f32x4.add(b0, f32x4.mul(key, sb));
    c0 = f32x4.add(c0, f32x4.mul(key, sc));
    key = v128.load(keys + stride);
    a1 = f32x4.add(a1, f32x4.mul(key, sa));
    b1 = f32x4.add(b1, f32x4.mul(key, sb));
    c1 = f32x4.add(c1, f32x4.mul(key, sc));
    key = v128.load(keys + 2 * stride);
    a2 = f32x4.add(a2, f32x4.mul(key, sa));
    b2 = f32x4.add(b2, f32x4.mul(key, sb));
    c2 = f32x4.add(c2, f32x4.mul(key, sc));
    key = v128.load(keys + 3 * stride);
    a3 = f32x4.add(a3, f32x4.mul(key, sa));
    b3 = f32x4.add(b3, f32x4.mul(key, sb));
    c3 = f32x4.add(c3, f32x4.mul(key, sc));
  }
  v128.store(scores, a0);
  v128.store(scores, a1, 16);
  v128.store(scores, a2, 32);
  v128.store(scores, a3, 48);
  v128.store(scores + SCORES_BYTES, b0);
  v128.store(scores + SCORES_BYTES, b1, 16);
  v128.store(scores + SCORES_BYTES, b2, 32);
  v128.store(scores + SCORES_BYTES, b3, 48);
  v128.store(scores + 2 * SCORES_BYTES, c0);
  v128.store(scores + 2 * SCORES_BYTES, c1, 16);
  v128.store(scores + 2 * SCORES_BYTES, c2, 32);
  v128.store(scores + 2 * SCORES_BYTES, c3, 48);
}

/** o[dim .. dim + 4 vectors) of one head over the span's slots [first, first + n). */
// @ts-ignore: decorator
@inline
function values1(out: usize, weights: usize, head: HeadView, first: u32, n: u32, layout: u64, vectors: u32): void {
  const offset = <usize>(layout >> 32);
  const step = <usize>(layout & 0xffffffff);
  let a0 = f32x4.splat(0);
  let a1 = a0;
  let a2 = a0;
  let a3 = a0;
  for (let done: u32 = 0; done < n; done += Size.PAGE_SLOTS) {
    let v = pageAt(head, first + done) + offset;
    const count = min<u32>(Size.PAGE_SLOTS, n - done);
    for (let end = weights + (count << 2); weights < end; weights += 4, v += step) {
      const w = v128.load32_splat(weights);
      a0 = f32x4.add(a0, f32x4.mul(v128.load(v), w));
      if (vectors == 4) {
        a1 = f32x4.add(a1, f32x4.mul(v128.load(v, 16), w));
        a2 = f32x4.add(a2, f32x4.mul(v128.load(v, 32), w));
        a3 = f32x4.add(a3, f32x4.mul(v128.load(v, 48), w));
      }
    }
  }
  v128.store(out, a0);
  if (vectors == 4) {
    v128.store(out, a1, 16);
    v128.store(out, a2, 32);
    v128.store(out, a3, 48);
  }
}

function values16(out: usize, weights: usize, head: HeadView, first: u32, n: u32, layout: u64): void {
  values1(out, weights, head, first, n, layout, 4);
}

function values4(out: usize, weights: usize, head: HeadView, first: u32, n: u32, layout: u64): void {
  values1(out, weights, head, first, n, layout, 1);
}

/** The same for three heads and 16 dims; outputs `step` bytes (valueDim f32) apart. */
function values16x3(out: usize, weights: usize, head: HeadView, first: u32, n: u32, layout: u64): void {
  const offset = <usize>(layout >> 32);
  const step = <usize>(layout & 0xffffffff);
  let a0 = f32x4.splat(0);
  let a1 = a0;
  let a2 = a0;
  let a3 = a0;
  let b0 = a0;
  let b1 = a0;
  let b2 = a0;
  let b3 = a0;
  let c0 = a0;
  let c1 = a0;
  let c2 = a0;
  let c3 = a0;
  for (let done: u32 = 0; done < n; done += Size.PAGE_SLOTS) {
    let v = pageAt(head, first + done) + offset;
    const count = min<u32>(Size.PAGE_SLOTS, n - done);
    for (let end = weights + (count << 2); weights < end; weights += 4, v += step) {
      const wa = v128.load32_splat(weights);
      const wb = v128.load32_splat(weights, SCORES_BYTES);
      const wc = v128.load32_splat(weights, 2 * SCORES_BYTES);
      let value = v128.load(v);
      a0 = f32x4.add(a0, f32x4.mul(value, wa));
      b0 = f32x4.add(b0, f32x4.mul(value, wb));
      c0 = f32x4.add(c0, f32x4.mul(value, wc));
      value = v128.load(v, 16);
      a1 = f32x4.add(a1, f32x4.mul(value, wa));
      b1 = f32x4.add(b1, f32x4.mul(value, wb));
      c1 = f32x4.add(c1, f32x4.mul(value, wc));
      value = v128.load(v, 32);
      a2 = f32x4.add(a2, f32x4.mul(value, wa));
      b2 = f32x4.add(b2, f32x4.mul(value, wb));
      c2 = f32x4.add(c2, f32x4.mul(value, wc));
      value = v128.load(v, 48);
      a3 = f32x4.add(a3, f32x4.mul(value, wa));
      b3 = f32x4.add(b3, f32x4.mul(value, wb));
      c3 = f32x4.add(c3, f32x4.mul(value, wc));
    }
  }
  v128.store(out, a0);
  v128.store(out, a1, 16);
  v128.store(out, a2, 32);
  v128.store(out, a3, 48);
  v128.store(out + step, b0);
  v128.store(out + step, b1, 16);
  v128.store(out + step, b2, 32);
  v128.store(out + step, b3, 48);
  v128.store(out + 2 * step, c0);
  v128.store(out + 2 * step, c1, 16);
  v128.store(out + 2 * step, c2, 32);
  v128.store(out + 2 * step, c3, 48);
}

/** Folds a span's (max, sum, out) into the running ones; the first span is taken as it is. */
function mergeSpan(out: usize, running: usize, spanOut: usize, span: usize, valueDim: u32, isFirst: bool): void {
  const m = load<f32>(span);
  const z = load<f32>(span, 4);
  if (isFirst) {
    store<f32>(running, m);
    store<f32>(running, z, 4);
    memory.copy(out, spanOut, valueDim << 2);
    return;
  }
  const M = load<f32>(running);
  const top: f32 = M > m ? M : m;
  const a = exp1(M - top);
  const b = exp1(m - top);
  store<f32>(running, top);
  store<f32>(running, load<f32>(running, 4) * a + z * b, 4);
  for (let i: u32 = 0; i < valueDim << 2; i += 4) {
    store<f32>(out + i, load<f32>(out + i) * a + load<f32>(spanOut + i) * b);
  }
}

/** `nHeads` (1 or 3) query heads over the first n slots. */
// @ts-ignore: decorator
@inline
function attendHeads(out: usize, q: usize, head: HeadView, n: u32, layer: Layer, scratch: usize, nHeads: u32): void {
  const keyDim = layer.keyDim;
  const valueDim = layer.valueDim;
  const scale: f32 = <f32>1 / sqrt<f32>(<f32>keyDim);
  const valuesAt = <u64>(Size.PAGE_SLOTS * (keyDim << 2));
  const spanOut = scratch + ATTEND_SCRATCH;
  for (let first: u32 = 0; first < n; first += Size.SPAN_SLOTS) {
    const count = min<u32>(Size.SPAN_SLOTS, n - first);
    for (let slot: u32 = 0; slot < count; slot += 16) {
      const keys = pageAt(head, first + slot) + (slot & 16 ? keyDim << 6 : 0);
      if (nHeads == 3) scores16x3(scratch + (slot << 2), q, keys, keyDim);
      else scores16(scratch + (slot << 2), q, keys, keyDim);
    }
    for (let h: usize = 0; h < nHeads; ++h) {
      softmaxSpan(scratch + h * SCORES_BYTES, count, scale, scratch + SPAN_STATE + (h << 3));
    }
    let dim: u32 = 0;
    for (; dim + 16 <= valueDim; dim += 16) {
      const layout = ((valuesAt + (dim << 2)) << 32) | <u64>(valueDim << 2);
      if (nHeads == 3) values16x3(spanOut + (dim << 2), scratch, head, first, count, layout);
      else values16(spanOut + (dim << 2), scratch, head, first, count, layout);
    }
    for (; dim < valueDim; dim += 4) {
      const layout = ((valuesAt + (dim << 2)) << 32) | <u64>(valueDim << 2);
      for (let h: usize = 0; h < nHeads; ++h) {
        values4(spanOut + ((h * valueDim + dim) << 2), scratch + h * SCORES_BYTES, head, first, count, layout);
      }
    }
    for (let h: usize = 0; h < nHeads; ++h) {
      const at = (h * valueDim) << 2;
      mergeSpan(out + at, scratch + RUNNING_STATE + (h << 3), spanOut + at, scratch + SPAN_STATE + (h << 3), valueDim, first == 0);
    }
  }
  for (let h: usize = 0; h < nHeads; ++h) {
    const inverse = f32x4.splat(<f32>1 / load<f32>(scratch + RUNNING_STATE + (h << 3), 4));
    const at = out + ((h * valueDim) << 2);
    for (let i: u32 = 0; i < valueDim << 2; i += 16) v128.store(at + i, f32x4.mul(v128.load(at + i), inverse));
  }
}

/** All query heads of one KV head over its first n slots. */
export function attendF32(out: usize, q: usize, head: HeadView, n: u32, layer: Layer, scratch: usize): void {
  const group = layer.nHeads / layer.nKvHeads;
  const keyBytes = layer.keyDim << 2;
  const valueBytes = layer.valueDim << 2;
  let h: u32 = 0;
  for (; h + 3 <= group; h += 3) attendHeads(out + h * valueBytes, q + h * keyBytes, head, n, layer, scratch, 3);
  for (; h < group; ++h) attendHeads(out + h * valueBytes, q + h * keyBytes, head, n, layer, scratch, 1);
}

export function attendF32Ref(out: usize, q: usize, head: HeadView, n: u32, layer: Layer, scratch: usize): void {
  const keyDim = layer.keyDim;
  const valueDim = layer.valueDim;
  const valuesAt = Size.PAGE_SLOTS * (keyDim << 2);
  const scale: f32 = <f32>1 / sqrt<f32>(<f32>keyDim);
  const spanOut = scratch + ATTEND_SCRATCH;
  for (let h: u32 = 0; h < layer.nHeads / layer.nKvHeads; ++h, out += valueDim << 2, q += keyDim << 2) {
    for (let first: u32 = 0; first < n; first += Size.SPAN_SLOTS) {
      const count = min<u32>(Size.SPAN_SLOTS, n - first);
      for (let i: u32 = 0; i < count; ++i) {
        const key = pageAt(head, first + i) + ((i & 31) >> 2) * (keyDim << 4) + ((i & 3) << 2);
        let dot: f32 = 0;
        for (let d: u32 = 0; d < keyDim; ++d) {
          const product: f32 = load<f32>(key + (d << 4)) * load<f32>(q + (d << 2));
          dot = dot + product;
        }
        store<f32>(scratch + (i << 2), dot);
      }
      softmaxSpanRef(scratch, count, scale, scratch + SPAN_STATE);
      for (let d: u32 = 0; d < valueDim; ++d) {
        let sum: f32 = 0;
        for (let i: u32 = 0; i < count; ++i) {
          const value = load<f32>(pageAt(head, first + i) + valuesAt + (((i & 31) * valueDim + d) << 2));
          const product: f32 = value * load<f32>(scratch + (i << 2));
          sum = sum + product;
        }
        store<f32>(spanOut + (d << 2), sum);
      }
      mergeSpan(out, scratch + RUNNING_STATE, spanOut, scratch + SPAN_STATE, valueDim, first == 0);
    }
    const inverse: f32 = <f32>1 / load<f32>(scratch + RUNNING_STATE, 4);
    for (let d: u32 = 0; d < valueDim; ++d) store<f32>(out + (d << 2), load<f32>(out + (d << 2)) * inverse);
  }
}
