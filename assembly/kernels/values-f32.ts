/**
 * Weighted sums of the values of an f32 page, slots ascending, one lane per dim: out_d += sum_j w_j v_jd, from the first
 * `n` slots. Three query heads at a time share every load of a value: 12 accumulators.
 */
import { groupDims } from "../cache/page";
import { SCORES_BYTES } from "./scores-f32";

/** 4 vectors of dims, or one, of one head. */
// @ts-ignore: decorator
@inline
function values1(out: usize, weights: usize, v: usize, n: u32, vectors: u32): void {
  const step: usize = vectors << 4;
  let a0 = v128.load(out);
  let a1 = vectors == 4 ? v128.load(out, 16) : a0;
  let a2 = vectors == 4 ? v128.load(out, 32) : a0;
  let a3 = vectors == 4 ? v128.load(out, 48) : a0;
  for (let end = weights + (n << 2); weights < end; weights += 4, v += step) {
    const w = v128.load32_splat(weights);
    a0 = f32x4.add(a0, f32x4.mul(v128.load(v), w));
    if (vectors == 4) {
      a1 = f32x4.add(a1, f32x4.mul(v128.load(v, 16), w));
      a2 = f32x4.add(a2, f32x4.mul(v128.load(v, 32), w));
      a3 = f32x4.add(a3, f32x4.mul(v128.load(v, 48), w));
    }
  }
  v128.store(out, a0);
  if (vectors == 4) {
    v128.store(out, a1, 16);
    v128.store(out, a2, 32);
    v128.store(out, a3, 48);
  }
}

function values16(out: usize, weights: usize, v: usize, n: u32): void {
  values1(out, weights, v, n, 4);
}

function values4(out: usize, weights: usize, v: usize, n: u32): void {
  values1(out, weights, v, n, 1);
}

/** The same for three heads and 16 dims; outputs `stride` bytes apart. */
function values16x3(out: usize, stride: usize, weights: usize, v: usize, n: u32): void {
  let a0 = v128.load(out);
  let a1 = v128.load(out, 16);
  let a2 = v128.load(out, 32);
  let a3 = v128.load(out, 48);
  let b0 = v128.load(out + stride);
  let b1 = v128.load(out + stride, 16);
  let b2 = v128.load(out + stride, 32);
  let b3 = v128.load(out + stride, 48);
  let c0 = v128.load(out + 2 * stride);
  let c1 = v128.load(out + 2 * stride, 16);
  let c2 = v128.load(out + 2 * stride, 32);
  let c3 = v128.load(out + 2 * stride, 48);
  for (let end = weights + (n << 2); weights < end; weights += 4, v += 64) {
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
  v128.store(out, a0);
  v128.store(out, a1, 16);
  v128.store(out, a2, 32);
  v128.store(out, a3, 48);
  v128.store(out + stride, b0);
  v128.store(out + stride, b1, 16);
  v128.store(out + stride, b2, 32);
  v128.store(out + stride, b3, 48);
  v128.store(out + 2 * stride, c0);
  v128.store(out + 2 * stride, c1, 16);
  v128.store(out + 2 * stride, c2, 32);
  v128.store(out + 2 * stride, c3, 48);
}

/** All dims of `nHeads` (1 or 3) heads: weights SCORES_BYTES, outputs `stride` bytes apart. */
export function valuesF32(out: usize, stride: usize, weights: usize, values: usize, n: u32, dim: u32, nHeads: u32): void {
  for (let d: u32 = 0; d < dim; ) {
    const v = values + (d << 7);
    const dims = groupDims(d, dim);
    if (dims == 16 && nHeads == 3) values16x3(out + (d << 2), stride, weights, v, n);
    else {
      for (let h: usize = 0; h < nHeads; ++h) {
        if (dims == 16) values16(out + h * stride + (d << 2), weights + h * SCORES_BYTES, v, n);
        else values4(out + h * stride + (d << 2), weights + h * SCORES_BYTES, v, n);
      }
    }
    d += dims;
  }
}
