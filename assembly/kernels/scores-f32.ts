/**
 * Scores q.k of 16 consecutive slots of an f32 page (drawing: cache/page.ts), dims ascending, one lane per slot. Three
 * query heads at a time share every load of a key: 12 accumulators.
 */
import { Size } from "../memory/status";

/** Bytes between the scores of two heads: a span each. */
export const SCORES_BYTES: usize = Size.SPAN_SLOTS << 2;

/** Scores of 16 slots for one head. */
export function scores16(scores: usize, q: usize, keys: usize, keyDim: u32): void {
  let a0 = f32x4.splat(0);
  let a1 = a0;
  let a2 = a0;
  let a3 = a0;
  for (let end = q + (keyDim << 2); q < end; q += 4, keys += 64) {
    const s = v128.load32_splat(q);
    a0 = f32x4.add(a0, f32x4.mul(v128.load(keys), s));
    a1 = f32x4.add(a1, f32x4.mul(v128.load(keys, 16), s));
    a2 = f32x4.add(a2, f32x4.mul(v128.load(keys, 32), s));
    a3 = f32x4.add(a3, f32x4.mul(v128.load(keys, 48), s));
  }
  v128.store(scores, a0);
  v128.store(scores, a1, 16);
  v128.store(scores, a2, 32);
  v128.store(scores, a3, 48);
}

/** Scores of 16 slots for three heads: q at q, q + keyDim, q + 2 keyDim; scores SCORES_BYTES apart. */
export function scores16x3(scores: usize, q: usize, keys: usize, keyDim: u32): void {
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
  for (let end = q + qStride; q < end; q += 4, keys += 64) {
    const sa = v128.load32_splat(q);
    const sb = v128.load32_splat(q + qStride);
    const sc = v128.load32_splat(q + 2 * qStride);
    let key = v128.load(keys);
    a0 = f32x4.add(a0, f32x4.mul(key, sa));
    b0 = f32x4.add(b0, f32x4.mul(key, sb));
    c0 = f32x4.add(c0, f32x4.mul(key, sc));
    key = v128.load(keys, 16);
    a1 = f32x4.add(a1, f32x4.mul(key, sa));
    b1 = f32x4.add(b1, f32x4.mul(key, sb));
    c1 = f32x4.add(c1, f32x4.mul(key, sc));
    key = v128.load(keys, 32);
    a2 = f32x4.add(a2, f32x4.mul(key, sa));
    b2 = f32x4.add(b2, f32x4.mul(key, sb));
    c2 = f32x4.add(c2, f32x4.mul(key, sc));
    key = v128.load(keys, 48);
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
