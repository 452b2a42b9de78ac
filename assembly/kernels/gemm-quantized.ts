/**
 * Prefill: 4 tokens times a tile of 8 rows of packed weights of any quantized form. The same operations per output as
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
 * Builds with relaxed SIMD use gemm-nibbles.ts for nibbles.
 *
 * Shapes: out [4 tokens][outStride bytes], 8 f32 each; x four quantized rows xStride bytes apart; weights one tile.
 */
import { Linear } from "../memory/records";
import { Form, Size } from "../memory/status";
import { rowDotRef } from "./dot-ref";
import { gemmNibbles, gemmNibbles16 } from "./gemm-nibbles";
import { groupBytes } from "./pack";
import { finishBlock, secondVector, startHigh, startLow, vectorBytes, weightPair } from "./quantized-block";
import { addPairs, CONSTANTS, nibbleMask, pair0, pair1, pair2, pair3 } from "./simd";

/** Tokens of a call. */
export const GEMM_TOKENS: u32 = 4;

/** One tile, 4 tokens, all blocks, groups of 32 columns; `form` is a constant in each caller. */
// @ts-ignore: decorator
@inline
function gemm(out: usize, outStride: u32, x0: usize, xStride: u32, w: usize, nBlocks: u32, form: Form): void {
  const low = nibbleMask();
  const group: usize = groupBytes(form);
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
    let a0 = startLow(x0, form);
    let b0 = a0;
    let a1 = startLow(x1, form);
    let b1 = a1;
    let a2 = startLow(x2, form);
    let b2 = a2;
    let a3 = startLow(x3, form);
    let b3 = a3;
    let wi = w;
    for (let at: usize = 0; at < 64; at += 16, wi += vectorBytes(form)) {
      const v0 = v128.load(x0 + at);
      const v1 = v128.load(x1 + at);
      const v2 = v128.load(x2 + at);
      const v3 = v128.load(x3 + at);
      const p = v128.load(wi);
      const q = v128.load(wi + group);
      const r = secondVector(wi, p, form);
      const s = secondVector(wi + group, q, form);
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
    accA0 = finishBlock(accA0, a0, a0, w, x0, CONSTANTS, form);
    accB0 = finishBlock(accB0, b0, b0, w + group, x0, CONSTANTS, form);
    accA1 = finishBlock(accA1, a1, a1, w, x1, CONSTANTS, form);
    accB1 = finishBlock(accB1, b1, b1, w + group, x1, CONSTANTS, form);
    accA2 = finishBlock(accA2, a2, a2, w, x2, CONSTANTS, form);
    accB2 = finishBlock(accB2, b2, b2, w + group, x2, CONSTANTS, form);
    accA3 = finishBlock(accA3, a3, a3, w, x3, CONSTANTS, form);
    accB3 = finishBlock(accB3, b3, b3, w + group, x3, CONSTANTS, form);
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

/** The same for groups of 16 columns: two sums for each output, so only 2 tokens at a time. */
// @ts-ignore: decorator
@inline
function gemm16(out: usize, outStride: u32, x0: usize, xStride: u32, w: usize, nBlocks: u32, form: Form): void {
  const low = nibbleMask();
  const group: usize = groupBytes(form);
  const zero = f32x4.splat(0);
  let accA0 = zero;
  let accB0 = zero;
  let accA1 = zero;
  let accB1 = zero;
  for (let end = x0 + nBlocks * Size.ACTIVATION_BLOCK; x0 < end; x0 += Size.ACTIVATION_BLOCK, w += group << 1) {
    const x1 = x0 + xStride;
    let a0 = startLow(x0, form);
    let b0 = a0;
    let c0 = startHigh(x0, form);
    let d0 = c0;
    let a1 = startLow(x1, form);
    let b1 = a1;
    let c1 = startHigh(x1, form);
    let d1 = c1;
    let wi = w;
    for (let at: usize = 0; at < 64; at += 16, wi += vectorBytes(form)) {
      const v0 = v128.load(x0 + at);
      const v1 = v128.load(x1 + at);
      const p = v128.load(wi);
      const q = v128.load(wi + group);
      const r = secondVector(wi, p, form);
      const s = secondVector(wi + group, q, form);
      let wa = weightPair(p, r, low, 0, form);
      let wb = weightPair(q, s, low, 0, form);
      let pair = pair0(v0);
      a0 = addPairs(a0, wa, pair);
      b0 = addPairs(b0, wb, pair);
      pair = pair0(v1);
      a1 = addPairs(a1, wa, pair);
      b1 = addPairs(b1, wb, pair);
      wa = weightPair(p, r, low, 1, form);
      wb = weightPair(q, s, low, 1, form);
      pair = pair1(v0);
      c0 = addPairs(c0, wa, pair);
      d0 = addPairs(d0, wb, pair);
      pair = pair1(v1);
      c1 = addPairs(c1, wa, pair);
      d1 = addPairs(d1, wb, pair);
      wa = weightPair(p, r, low, 2, form);
      wb = weightPair(q, s, low, 2, form);
      pair = pair2(v0);
      a0 = addPairs(a0, wa, pair);
      b0 = addPairs(b0, wb, pair);
      pair = pair2(v1);
      a1 = addPairs(a1, wa, pair);
      b1 = addPairs(b1, wb, pair);
      wa = weightPair(p, r, low, 3, form);
      wb = weightPair(q, s, low, 3, form);
      pair = pair3(v0);
      c0 = addPairs(c0, wa, pair);
      d0 = addPairs(d0, wb, pair);
      pair = pair3(v1);
      c1 = addPairs(c1, wa, pair);
      d1 = addPairs(d1, wb, pair);
    }
    accA0 = finishBlock(accA0, a0, c0, w, x0, CONSTANTS, form);
    accB0 = finishBlock(accB0, b0, d0, w + group, x0, CONSTANTS, form);
    accA1 = finishBlock(accA1, a1, c1, w, x1, CONSTANTS, form);
    accB1 = finishBlock(accB1, b1, d1, w + group, x1, CONSTANTS, form);
  }
  v128.store(out, accA0);
  v128.store(out, accB0, 16);
  out += outStride;
  v128.store(out, accA1);
  v128.store(out, accB1, 16);
}
function gemmQ4(out: usize, outStride: u32, x: usize, xStride: u32, weights: usize, nBlocks: u32): void {
  if (ASC_FEATURE_RELAXED_SIMD) gemmNibbles(out, outStride, x, xStride, weights, nBlocks, Form.Q4);
  else gemm(out, outStride, x, xStride, weights, nBlocks, Form.Q4);
}

function gemmQ8(out: usize, outStride: u32, x: usize, xStride: u32, weights: usize, nBlocks: u32): void {
  gemm(out, outStride, x, xStride, weights, nBlocks, Form.Q8);
}

function gemmQ4Min(out: usize, outStride: u32, x: usize, xStride: u32, weights: usize, nBlocks: u32): void {
  if (ASC_FEATURE_RELAXED_SIMD) gemmNibbles(out, outStride, x, xStride, weights, nBlocks, Form.Q4_MIN);
  else gemm(out, outStride, x, xStride, weights, nBlocks, Form.Q4_MIN);
}

function gemmQ8Min(out: usize, outStride: u32, x: usize, xStride: u32, weights: usize, nBlocks: u32): void {
  gemm(out, outStride, x, xStride, weights, nBlocks, Form.Q8_MIN);
}

function gemmQ8Wide(out: usize, outStride: u32, x: usize, xStride: u32, weights: usize, nBlocks: u32): void {
  gemm(out, outStride, x, xStride, weights, nBlocks, Form.Q8_WIDE);
}

function gemmQ4MinWide(out: usize, outStride: u32, x: usize, xStride: u32, weights: usize, nBlocks: u32): void {
  if (ASC_FEATURE_RELAXED_SIMD) gemmNibbles(out, outStride, x, xStride, weights, nBlocks, Form.Q4_MIN_WIDE);
  else gemm(out, outStride, x, xStride, weights, nBlocks, Form.Q4_MIN_WIDE);
}

function gemmQ8MinWide(out: usize, outStride: u32, x: usize, xStride: u32, weights: usize, nBlocks: u32): void {
  gemm(out, outStride, x, xStride, weights, nBlocks, Form.Q8_MIN_WIDE);
}

function gemmQ4Wide16(out: usize, outStride: u32, x: usize, xStride: u32, weights: usize, nBlocks: u32): void {
  for (let t: u32 = 0; t < GEMM_TOKENS; t += 2, out += outStride << 1, x += xStride << 1) {
    if (ASC_FEATURE_RELAXED_SIMD) gemmNibbles16(out, outStride, x, xStride, weights, nBlocks, Form.Q4_WIDE_16);
    else gemm16(out, outStride, x, xStride, weights, nBlocks, Form.Q4_WIDE_16);
  }
}

function gemmQ8Wide16(out: usize, outStride: u32, x: usize, xStride: u32, weights: usize, nBlocks: u32): void {
  for (let t: u32 = 0; t < GEMM_TOKENS; t += 2, out += outStride << 1, x += xStride << 1) {
    gemm16(out, outStride, x, xStride, weights, nBlocks, Form.Q8_WIDE_16);
  }
}

function gemmQ4MinWide16(out: usize, outStride: u32, x: usize, xStride: u32, weights: usize, nBlocks: u32): void {
  for (let t: u32 = 0; t < GEMM_TOKENS; t += 2, out += outStride << 1, x += xStride << 1) {
    if (ASC_FEATURE_RELAXED_SIMD) gemmNibbles16(out, outStride, x, xStride, weights, nBlocks, Form.Q4_MIN_WIDE_16);
    else gemm16(out, outStride, x, xStride, weights, nBlocks, Form.Q4_MIN_WIDE_16);
  }
}

/** One tile, 4 tokens, in any quantized form. */
export function gemmQuantized(out: usize, outStride: u32, x: usize, xStride: u32, linear: Linear, data: usize): void {
  const nBlocks = linear.nCols / Size.BLOCK;
  switch (linear.form) {
    case Form.Q4:
      gemmQ4(out, outStride, x, xStride, data, nBlocks);
      break;
    case Form.Q8:
      gemmQ8(out, outStride, x, xStride, data, nBlocks);
      break;
    case Form.Q4_MIN:
      gemmQ4Min(out, outStride, x, xStride, data, nBlocks);
      break;
    case Form.Q8_MIN:
      gemmQ8Min(out, outStride, x, xStride, data, nBlocks);
      break;
    case Form.Q8_WIDE:
      gemmQ8Wide(out, outStride, x, xStride, data, nBlocks);
      break;
    case Form.Q4_MIN_WIDE:
      gemmQ4MinWide(out, outStride, x, xStride, data, nBlocks);
      break;
    case Form.Q8_MIN_WIDE:
      gemmQ8MinWide(out, outStride, x, xStride, data, nBlocks);
      break;
    case Form.Q4_WIDE_16:
      gemmQ4Wide16(out, outStride, x, xStride, data, nBlocks);
      break;
    case Form.Q8_WIDE_16:
      gemmQ8Wide16(out, outStride, x, xStride, data, nBlocks);
      break;
    case Form.Q4_MIN_WIDE_16:
      gemmQ4MinWide16(out, outStride, x, xStride, data, nBlocks);
      break;
    default:
      assert(false);
  }
}

export function gemmQuantizedRef(out: usize, outStride: u32, x: usize, xStride: u32, linear: Linear, data: usize): void {
  for (let t: u32 = 0; t < GEMM_TOKENS; ++t) {
    for (let row: u32 = 0; row < 8; ++row) {
      const y = rowDotRef(linear.form, x + t * xStride, data, row, linear.nCols / Size.BLOCK);
      store<f32>(out + t * outStride + (row << 2), y);
    }
  }
}
