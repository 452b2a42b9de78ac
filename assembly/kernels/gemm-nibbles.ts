/**
 * Prefill in builds with relaxed SIMD: weights in nibbles times 4 activation rows in bytes; the results of
 * gemm-quantized.ts, bit for bit. Sums run in i16 (gemv-nibbles.ts).
 *
 * Optimisation ladder (Q4, 1536 x 576, 64 tokens, GMAC/s on a shared Zen 3 core, Node 22 / Node 26; ratios matter; the
 * pairs of i16 of the baseline in the same runs: 16 / 16):
 *   20.8 / 26.0   8 rows x 4 tokens, scales converted for each token, sums widened with extadd_pairwise
 *   22.5 / 27.3   HERE: scales once for 4 tokens, the zero point as the sums' first value, widened by a dot with ones
 *   22.6 / 27.3   activations of 4 tokens side by side in memory, so that every load has a constant offset
 *   21.0 / 20.1   low and high nibbles in turn by a variable shift: nothing spills, more loop
 *   21.2 / 28.7   low nibbles in one loop, high ones in another, constant offsets
 *   22.6 / 25.2   3 tokens, constant offsets: nothing spills
 *
 * Shapes: out [4 tokens][outStride bytes], 8 f32 each; x four quantized rows xStride bytes apart; weights one tile.
 */
import { Form, FormFlag } from "../memory/status";
import { bodyBytes, groupBytes, minimaOffset } from "./pack";
import { finishBlock, loadQuad, startHigh, startLow } from "./quantized-block";
import { addNibbles, byteNibbleMask, CONSTANTS, pairOnes } from "./simd";

/** Bytes of an activation block, and what its tail's offsets are counted from. */
const BLOCK: usize = 64;
const TAIL_BASE: usize = 32;

/** acc and the sums of columns 0..15 and 16..31 of a block. */
// @ts-ignore: decorator
@inline
function finish16(acc: v128, lows: v128, highs: v128, w: usize, x: usize, form: Form): v128 {
  const ones = pairOnes();
  const low = i32x4.dot_i16x8_s(lows, ones);
  const high = i32x4.dot_i16x8_s(highs, ones);
  return finishBlock(acc, low, high, w, x - TAIL_BASE, CONSTANTS, form);
}

/** One tile, 4 tokens, all blocks, groups of 32 columns; `form` is a constant in each caller. */
/** Where the sums of a block begin: the zero point. */
// @ts-ignore: decorator
@inline
function zeroTerms(x: usize, form: Form): v128 {
  return form & FormFlag.MIN ? i16x8.splat(0) : v128.load32_splat(x, 36);
}

// @ts-ignore: decorator
@inline
function scalesOf(w: usize, form: Form): v128 {
  return loadQuad(w + bodyBytes(form), v128.load(CONSTANTS, 16), v128.load(CONSTANTS, 32), form);
}

// @ts-ignore: decorator
@inline
function minimaOf(w: usize, form: Form): v128 {
  return loadQuad(w + minimaOffset(form), v128.load(CONSTANTS, 16), v128.load(CONSTANTS, 32), form);
}

// @ts-ignore: decorator
@inline
export function gemmNibbles(out: usize, outStride: u32, x0: usize, xStride: u32, w: usize, nBlocks: u32, form: Form): void {
  const low = byteNibbleMask();
  const group: usize = groupBytes(form);
  const step = group << 1;
  const zero = f32x4.splat(0);
  let accA0 = zero;
  let accB0 = zero;
  let accA1 = zero;
  let accB1 = zero;
  let accA2 = zero;
  let accB2 = zero;
  let accA3 = zero;
  let accB3 = zero;
  for (let end = x0 + nBlocks * BLOCK; x0 < end; x0 += BLOCK, w += step) {
    const x1 = x0 + xStride;
    const x2 = x1 + xStride;
    const x3 = x2 + xStride;
    let a0 = zeroTerms(x0, form);
    let b0 = a0;
    let a1 = zeroTerms(x1, form);
    let b1 = a1;
    let a2 = zeroTerms(x2, form);
    let b2 = a2;
    let a3 = zeroTerms(x3, form);
    let b3 = a3;
    for (let i: usize = 0; i < 16; i += 4) {
      const p = v128.load(w + (i << 2));
      const q = v128.load(w + group + (i << 2));
      let wa = v128.and(p, low);
      let wb = v128.and(q, low);
      let v = v128.load32_splat(x0 + i);
      a0 = addNibbles(a0, v, wa);
      b0 = addNibbles(b0, v, wb);
      v = v128.load32_splat(x1 + i);
      a1 = addNibbles(a1, v, wa);
      b1 = addNibbles(b1, v, wb);
      v = v128.load32_splat(x2 + i);
      a2 = addNibbles(a2, v, wa);
      b2 = addNibbles(b2, v, wb);
      v = v128.load32_splat(x3 + i);
      a3 = addNibbles(a3, v, wa);
      b3 = addNibbles(b3, v, wb);
      wa = v128.and(i16x8.shr_u(p, 4), low);
      wb = v128.and(i16x8.shr_u(q, 4), low);
      v = v128.load32_splat(x0 + i, 16);
      a0 = addNibbles(a0, v, wa);
      b0 = addNibbles(b0, v, wb);
      v = v128.load32_splat(x1 + i, 16);
      a1 = addNibbles(a1, v, wa);
      b1 = addNibbles(b1, v, wb);
      v = v128.load32_splat(x2 + i, 16);
      a2 = addNibbles(a2, v, wa);
      b2 = addNibbles(b2, v, wb);
      v = v128.load32_splat(x3 + i, 16);
      a3 = addNibbles(a3, v, wa);
      b3 = addNibbles(b3, v, wb);
    }
    const ones = pairOnes();
    let dw = scalesOf(w, form);
    accA0 = f32x4.add(accA0, f32x4.mul(f32x4.convert_i32x4_s(i32x4.dot_i16x8_s(a0, ones)), f32x4.mul(dw, v128.load32_splat(x0, 32))));
    accA1 = f32x4.add(accA1, f32x4.mul(f32x4.convert_i32x4_s(i32x4.dot_i16x8_s(a1, ones)), f32x4.mul(dw, v128.load32_splat(x1, 32))));
    accA2 = f32x4.add(accA2, f32x4.mul(f32x4.convert_i32x4_s(i32x4.dot_i16x8_s(a2, ones)), f32x4.mul(dw, v128.load32_splat(x2, 32))));
    accA3 = f32x4.add(accA3, f32x4.mul(f32x4.convert_i32x4_s(i32x4.dot_i16x8_s(a3, ones)), f32x4.mul(dw, v128.load32_splat(x3, 32))));
    dw = scalesOf(w + group, form);
    accB0 = f32x4.add(accB0, f32x4.mul(f32x4.convert_i32x4_s(i32x4.dot_i16x8_s(b0, ones)), f32x4.mul(dw, v128.load32_splat(x0, 32))));
    accB1 = f32x4.add(accB1, f32x4.mul(f32x4.convert_i32x4_s(i32x4.dot_i16x8_s(b1, ones)), f32x4.mul(dw, v128.load32_splat(x1, 32))));
    accB2 = f32x4.add(accB2, f32x4.mul(f32x4.convert_i32x4_s(i32x4.dot_i16x8_s(b2, ones)), f32x4.mul(dw, v128.load32_splat(x2, 32))));
    accB3 = f32x4.add(accB3, f32x4.mul(f32x4.convert_i32x4_s(i32x4.dot_i16x8_s(b3, ones)), f32x4.mul(dw, v128.load32_splat(x3, 32))));
    if (form & FormFlag.MIN) {
      let mw = minimaOf(w, form);
      accA0 = f32x4.add(accA0, f32x4.mul(mw, v128.load32_splat(x0, 40)));
      accA1 = f32x4.add(accA1, f32x4.mul(mw, v128.load32_splat(x1, 40)));
      accA2 = f32x4.add(accA2, f32x4.mul(mw, v128.load32_splat(x2, 40)));
      accA3 = f32x4.add(accA3, f32x4.mul(mw, v128.load32_splat(x3, 40)));
      mw = minimaOf(w + group, form);
      accB0 = f32x4.add(accB0, f32x4.mul(mw, v128.load32_splat(x0, 40)));
      accB1 = f32x4.add(accB1, f32x4.mul(mw, v128.load32_splat(x1, 40)));
      accB2 = f32x4.add(accB2, f32x4.mul(mw, v128.load32_splat(x2, 40)));
      accB3 = f32x4.add(accB3, f32x4.mul(mw, v128.load32_splat(x3, 40)));
    }
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
export function gemmNibbles16(out: usize, outStride: u32, x0: usize, xStride: u32, w: usize, nBlocks: u32, form: Form): void {
  const low = byteNibbleMask();
  const group: usize = groupBytes(form);
  const zero = f32x4.splat(0);
  let accA0 = zero;
  let accB0 = zero;
  let accA1 = zero;
  let accB1 = zero;
  for (let end = x0 + nBlocks * BLOCK; x0 < end; x0 += BLOCK, w += group << 1) {
    const x1 = x0 + xStride;
    let a0 = startLow(x0 - TAIL_BASE, form);
    let b0 = a0;
    let c0 = startHigh(x0 - TAIL_BASE, form);
    let d0 = c0;
    let a1 = startLow(x1 - TAIL_BASE, form);
    let b1 = a1;
    let c1 = startHigh(x1 - TAIL_BASE, form);
    let d1 = c1;
    for (let i: usize = 0; i < 16; i += 4) {
      const p = v128.load(w + (i << 2));
      const q = v128.load(w + group + (i << 2));
      let wa = v128.and(p, low);
      let wb = v128.and(q, low);
      let v = v128.load32_splat(x0 + i);
      a0 = addNibbles(a0, v, wa);
      b0 = addNibbles(b0, v, wb);
      v = v128.load32_splat(x1 + i);
      a1 = addNibbles(a1, v, wa);
      b1 = addNibbles(b1, v, wb);
      wa = v128.and(i16x8.shr_u(p, 4), low);
      wb = v128.and(i16x8.shr_u(q, 4), low);
      v = v128.load32_splat(x0 + i, 16);
      c0 = addNibbles(c0, v, wa);
      d0 = addNibbles(d0, v, wb);
      v = v128.load32_splat(x1 + i, 16);
      c1 = addNibbles(c1, v, wa);
      d1 = addNibbles(d1, v, wb);
    }
    accA0 = finish16(accA0, a0, c0, w, x0, form);
    accB0 = finish16(accB0, b0, d0, w + group, x0, form);
    accA1 = finish16(accA1, a1, c1, w, x1, form);
    accB1 = finish16(accB1, b1, d1, w + group, x1, form);
  }
  v128.store(out, accA0);
  v128.store(out, accB0, 16);
  out += outStride;
  v128.store(out, accA1);
  v128.store(out, accB1, 16);
}
