/**
 * Prefill: 4 tokens times a tile of 8 rows of packed q4 or q8 weights. The same operations per output as
 * gemv-quantized.ts, hence the same bits.
 *
 * Optimisation ladder (Q4, 1536 x 576, 64 tokens, GMAC/s on a shared Zen 3 core, Node 20; medians, ratios matter):
 *   10    4 rows x 8 tokens, sums in registers, vectors of a block unrolled: the compiler moves every splat load of a basic
 *         block to its front and everything pure to its end, so 32 splats spill and come back
 *   12.9  8 rows x 2 tokens, an inner loop over the four vectors of a block, splat loads
 *   14.7  the same with one vector load and four shuffles for each four splats: nothing spills
 *   15.4  8 rows x 3 tokens, shuffles
 *   17.3  HERE: 8 rows x 4 tokens, shuffles (some of the 8 sums live on the stack, and still it is the best)
 *
 * Shapes: out [4 tokens][outStride bytes], 8 f32 each; x four quantized rows xStride bytes apart; weights one tile.
 */
import { rowDotRef } from "./dot-ref";
import { addPairs, halfBias, halfMask, loadHalf4, nibbleMask, pair0, pair1, pair2, pair3 } from "./simd";
import { Form, Size } from "../memory/status";

/** Tokens of a call. */
export const GEMM_TOKENS: u32 = 4;

/** acc + f32(dot) * (dw * dx) [+ mw * sx]. */
// @ts-ignore: decorator
@inline
function scaled(acc: v128, dot: v128, dw: v128, mw: v128, x: usize, hasMin: bool): v128 {
  acc = f32x4.add(acc, f32x4.mul(f32x4.convert_i32x4_s(dot), f32x4.mul(dw, v128.load32_splat(x, 64))));
  if (hasMin) acc = f32x4.add(acc, f32x4.mul(mw, v128.load32_splat(x, 72)));
  return acc;
}

/** Pair k of the weights of a vector of one group: two columns of 4 rows as i16; `k` and `form` are constants. */
// @ts-ignore: decorator
@inline
function weightPair(first: v128, second: v128, low: v128, k: i32, form: Form): v128 {
  if (form == Form.Q8) {
    const half = k < 2 ? first : second;
    return k & 1 ? i16x8.extend_high_i8x16_s(half) : i16x8.extend_low_i8x16_s(half);
  }
  if (k == 0) return v128.and(first, low);
  if (k == 1) return v128.and(i16x8.shr_u(first, 4), low);
  if (k == 2) return v128.and(i16x8.shr_u(first, 8), low);
  return i16x8.shr_u(first, 12);
}

/** One tile, 4 tokens, all blocks; `form` is a constant in each caller. */
// @ts-ignore: decorator
@inline
function gemmTile(out: usize, outStride: u32, x0: usize, xStride: u32, w: usize, nBlocks: u32, form: Form): void {
  const low = nibbleMask();
  const mask = halfMask();
  const bias = halfBias();
  const hasMin = form == Form.Q4_MIN;
  const scales: usize = form == Form.Q8 ? 128 : 64;
  const group: usize = form == Form.Q8 ? 136 : hasMin ? 80 : 72;
  const vector: usize = form == Form.Q8 ? 32 : 16;
  const zero = f32x4.splat(0);
  let accA0 = zero;
  let accB0 = zero;
  let accA1 = zero;
  let accB1 = zero;
  let accA2 = zero;
  let accB2 = zero;
  let accA3 = zero;
  let accB3 = zero;
  for (let end = x0 + nBlocks * Size.ACTIVATION_BLOCK; x0 < end; x0 += Size.ACTIVATION_BLOCK, w += group << 1) {
    const x1 = x0 + xStride;
    const x2 = x1 + xStride;
    const x3 = x2 + xStride;
    let a0 = form == Form.Q4 ? v128.load32_splat(x0, 68) : i32x4.splat(0);
    let b0 = a0;
    let a1 = form == Form.Q4 ? v128.load32_splat(x1, 68) : i32x4.splat(0);
    let b1 = a1;
    let a2 = form == Form.Q4 ? v128.load32_splat(x2, 68) : i32x4.splat(0);
    let b2 = a2;
    let a3 = form == Form.Q4 ? v128.load32_splat(x3, 68) : i32x4.splat(0);
    let b3 = a3;
    let wi = w;
    for (let at: usize = 0; at < 64; at += 16, wi += vector) {
      const v0 = v128.load(x0 + at);
      const v1 = v128.load(x1 + at);
      const v2 = v128.load(x2 + at);
      const v3 = v128.load(x3 + at);
      const p = v128.load(wi);
      const q = v128.load(wi + group);
      const r = form == Form.Q8 ? v128.load(wi, 16) : p;
      const s = form == Form.Q8 ? v128.load(wi + group, 16) : q;
      let wa = weightPair(p, r, low, 0, form);
      let wb = weightPair(q, s, low, 0, form);
      let pair = pair0(v0);
      a0 = addPairs(a0, wa, pair);
      b0 = addPairs(b0, wb, pair);
      pair = pair0(v1);
      a1 = addPairs(a1, wa, pair);
      b1 = addPairs(b1, wb, pair);
      pair = pair0(v2);
      a2 = addPairs(a2, wa, pair);
      b2 = addPairs(b2, wb, pair);
      pair = pair0(v3);
      a3 = addPairs(a3, wa, pair);
      b3 = addPairs(b3, wb, pair);
      wa = weightPair(p, r, low, 1, form);
      wb = weightPair(q, s, low, 1, form);
      pair = pair1(v0);
      a0 = addPairs(a0, wa, pair);
      b0 = addPairs(b0, wb, pair);
      pair = pair1(v1);
      a1 = addPairs(a1, wa, pair);
      b1 = addPairs(b1, wb, pair);
      pair = pair1(v2);
      a2 = addPairs(a2, wa, pair);
      b2 = addPairs(b2, wb, pair);
      pair = pair1(v3);
      a3 = addPairs(a3, wa, pair);
      b3 = addPairs(b3, wb, pair);
      wa = weightPair(p, r, low, 2, form);
      wb = weightPair(q, s, low, 2, form);
      pair = pair2(v0);
      a0 = addPairs(a0, wa, pair);
      b0 = addPairs(b0, wb, pair);
      pair = pair2(v1);
      a1 = addPairs(a1, wa, pair);
      b1 = addPairs(b1, wb, pair);
      pair = pair2(v2);
      a2 = addPairs(a2, wa, pair);
      b2 = addPairs(b2, wb, pair);
      pair = pair2(v3);
      a3 = addPairs(a3, wa, pair);
      b3 = addPairs(b3, wb, pair);
      wa = weightPair(p, r, low, 3, form);
      wb = weightPair(q, s, low, 3, form);
      pair = pair3(v0);
      a0 = addPairs(a0, wa, pair);
      b0 = addPairs(b0, wb, pair);
      pair = pair3(v1);
      a1 = addPairs(a1, wa, pair);
      b1 = addPairs(b1, wb, pair);
      pair = pair3(v2);
      a2 = addPairs(a2, wa, pair);
      b2 = addPairs(b2, wb, pair);
      pair = pair3(v3);
      a3 = addPairs(a3, wa, pair);
      b3 = addPairs(b3, wb, pair);
    }
    const da = loadHalf4(w, scales, mask, bias);
    const db = loadHalf4(w + group, scales, mask, bias);
    const ma = hasMin ? loadHalf4(w, 72, mask, bias) : da;
    const mb = hasMin ? loadHalf4(w + group, 72, mask, bias) : db;
    accA0 = scaled(accA0, a0, da, ma, x0, hasMin);
    accB0 = scaled(accB0, b0, db, mb, x0, hasMin);
    accA1 = scaled(accA1, a1, da, ma, x1, hasMin);
    accB1 = scaled(accB1, b1, db, mb, x1, hasMin);
    accA2 = scaled(accA2, a2, da, ma, x2, hasMin);
    accB2 = scaled(accB2, b2, db, mb, x2, hasMin);
    accA3 = scaled(accA3, a3, da, ma, x3, hasMin);
    accB3 = scaled(accB3, b3, db, mb, x3, hasMin);
  }
  v128.store(out, accA0);
  v128.store(out, accB0, 16);
  out += outStride;
  v128.store(out, accA1);
  v128.store(out, accB1, 16);
  out += outStride;
  v128.store(out, accA2);
  v128.store(out, accB2, 16);
  out += outStride;
  v128.store(out, accA3);
  v128.store(out, accB3, 16);
}

export function gemmQ4(out: usize, outStride: u32, x: usize, xStride: u32, weights: usize, nBlocks: u32): void {
  gemmTile(out, outStride, x, xStride, weights, nBlocks, Form.Q4);
}

export function gemmQ4Min(out: usize, outStride: u32, x: usize, xStride: u32, weights: usize, nBlocks: u32): void {
  gemmTile(out, outStride, x, xStride, weights, nBlocks, Form.Q4_MIN);
}

export function gemmQ8(out: usize, outStride: u32, x: usize, xStride: u32, weights: usize, nBlocks: u32): void {
  gemmTile(out, outStride, x, xStride, weights, nBlocks, Form.Q8);
}

function gemmRef(out: usize, outStride: u32, x: usize, xStride: u32, weights: usize, nBlocks: u32, form: Form): void {
  for (let t: u32 = 0; t < GEMM_TOKENS; ++t) {
    for (let row: u32 = 0; row < 8; ++row) {
      store<f32>(out + t * outStride + (row << 2), rowDotRef(form, x + t * xStride, weights, row, nBlocks));
    }
  }
}

export function gemmQ4Ref(out: usize, outStride: u32, x: usize, xStride: u32, weights: usize, nBlocks: u32): void {
  gemmRef(out, outStride, x, xStride, weights, nBlocks, Form.Q4);
}

export function gemmQ4MinRef(out: usize, outStride: u32, x: usize, xStride: u32, weights: usize, nBlocks: u32): void {
  gemmRef(out, outStride, x, xStride, weights, nBlocks, Form.Q4_MIN);
}

export function gemmQ8Ref(out: usize, outStride: u32, x: usize, xStride: u32, weights: usize, nBlocks: u32): void {
  gemmRef(out, outStride, x, xStride, weights, nBlocks, Form.Q8);
}
