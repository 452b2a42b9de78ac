/**
 * Activations: a row of f32 -> int8 in blocks of 32 (numeric contract, linear layers).
 *
 *   absmax = max |x| ; below 2^-100 the block is zero
 *   q = nearest-even(x * (127 / absmax)), dx = absmax / 127, sx = f32(sum of q) * dx
 *
 * A NaN or infinity makes dx, and so everything computed from the block, NaN: a broken model is heard, not smoothed over.
 *
 * A block of the packed row has one of two layouts, chosen by the form of the weights (`usesBytes`):
 *
 *   pairs, 96 bytes: i16, so that baseline SIMD can multiply pairs (i32x4.dot_i16x8_s), in the order in which a weight
 *     vector's values come (kernels/pack.ts): vector i (16 bytes, i = 0..3): (4i, 4i+2) (16+4i, 16+4i+2) (4i+1, 4i+3)
 *     (16+4i+1, 16+4i+3)
 *   bytes, 64 bytes: int8, columns 0..31, for nibbles in builds with the relaxed dot of int8 and 7-bit values
 *   either then | f32 dx | zero terms of all, of the low, of the high columns | f32 sx | f32 slow, shigh | 4 bytes unused |
 *     (f32 sx lies behind the first zero term)
 *
 * sum = sum of q, low and high those of columns 0..15 and 16..31; sx = f32(sum) dx, slow and shigh likewise. Zero terms are
 * -8 sum: an i32 in pairs; in bytes two i16, of the columns with c mod 4 < 2 and of the others, which is where the sums of
 * the two i16 lanes of a row begin: every partial sum is then at most 8 * 127 * 16 in size.
 */
import { Form, FormFlag, Size } from "../memory/status";

/** Bytes of a block of int8. */
const BYTE_BLOCK: usize = 64;
/** Bytes behind the values. */
const TAIL: usize = 32;

/** Whether weights of this form are multiplied by activations in bytes. */
// @ts-ignore: decorator
@inline
export function usesBytes(form: Form): bool {
  return ASC_FEATURE_RELAXED_SIMD != 0 && !(form & FormFlag.BYTES);
}

/** Bytes of an activation block for weights of this form. */
// @ts-ignore: decorator
@inline
export function activationBytes(form: Form): usize {
  return usesBytes(form) ? BYTE_BLOCK : Size.ACTIVATION_BLOCK;
}

/** Column c of a block. */
// @ts-ignore: decorator
@inline
export function activationValue(block: usize, c: u32, form: Form): i32 {
  return usesBytes(form) ? <i32>load<i8>(block + c) : <i32>load<i16>(block + activationOffset(c));
}

const TINY: f32 = 7.888609052210118e-31; // 2^-100

// @ts-ignore: decorator
@inline
function quantize4(x: v128, inv: v128): v128 {
  return i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(x, inv)));
}

/** Both layouts; `bytes` is a constant in each caller. */
// @ts-ignore: decorator
@inline
function quantize(out: usize, x: usize, nBlocks: u32, bytes: bool): void {
  const size = bytes ? BYTE_BLOCK : Size.ACTIVATION_BLOCK;
  for (let block: u32 = 0; block < nBlocks; ++block, x += 128, out += size) {
    let m = f32x4.abs(v128.load(x));
    for (let i: usize = 16; i < 128; i += 16) m = f32x4.max(m, f32x4.abs(v128.load(x + i)));
    const m0 = max<f32>(f32x4.extract_lane(m, 0), f32x4.extract_lane(m, 1));
    const m1 = max<f32>(f32x4.extract_lane(m, 2), f32x4.extract_lane(m, 3));
    const absmax = max<f32>(m0, m1);
    if (absmax < TINY) {
      memory.fill(out, 0, size);
      continue;
    }
    const inv = f32x4.splat(<f32>127 / absmax);
    let lows = i32x4.splat(0);
    let highs = i32x4.splat(0);
    for (let i: usize = 0; i < 64; i += 16) {
      const low = quantize4(v128.load(x + i), inv); //        columns 4i .. 4i+3
      const high = quantize4(v128.load(x + i, 64), inv); //   columns 16+4i .. 16+4i+3
      lows = i32x4.add(lows, low);
      highs = i32x4.add(highs, high);
      const both = i16x8.narrow_i32x4_s(low, high);
      if (bytes) {
        const four = i8x16.narrow_i16x8_s(both, both);
        v128.store32_lane(out + (i >> 2), four, 0);
        v128.store32_lane(out + (i >> 2), four, 1, 16);
      } else v128.store(out + i, v128.shuffle<i16>(both, both, 0, 2, 4, 6, 1, 3, 5, 7));
    }
    writeTail(out + size - TAIL, absmax / <f32>127, sumOf(lows), sumOf(highs));
    if (bytes) writeZeroPairs(out, firstTwo(lows), lastTwo(lows), firstTwo(highs), lastTwo(highs));
  }
}

/** Blocks of pairs. */
export function quantizeActivations(out: usize, x: usize, nBlocks: u32): void {
  quantize(out, x, nBlocks, false);
}

/** Blocks of bytes. */
export function quantizeBytes(out: usize, x: usize, nBlocks: u32): void {
  quantize(out, x, nBlocks, true);
}

// @ts-ignore: decorator
@inline
function sumOf(v: v128): i32 {
  return (
    i32x4.extract_lane(v, 0) + i32x4.extract_lane(v, 1) + i32x4.extract_lane(v, 2) + i32x4.extract_lane(v, 3)
  );
}

// @ts-ignore: decorator
@inline
function firstTwo(v: v128): i32 {
  return i32x4.extract_lane(v, 0) + i32x4.extract_lane(v, 1);
}

// @ts-ignore: decorator
@inline
function lastTwo(v: v128): i32 {
  return i32x4.extract_lane(v, 2) + i32x4.extract_lane(v, 3);
}

/** The zero terms of a block of bytes, from its sums over columns with c mod 4 < 2 and the others. */
function writeZeroPairs(block: usize, low: i32, lowOther: i32, high: i32, highOther: i32): void {
  store<i16>(block, -8 * (low + high), 36);
  store<i16>(block, -8 * (lowOther + highOther), 38);
  store<i16>(block, -8 * low, 44);
  store<i16>(block, -8 * lowOther, 46);
  store<i16>(block, -8 * high, 48);
  store<i16>(block, -8 * highOther, 50);
}

/** Scale, zero terms as i32, and scaled sums. */
function writeTail(out: usize, dx: f32, low: i32, high: i32): void {
  store<f32>(out, dx);
  store<i32>(out, -8 * (low + high), 4);
  store<f32>(out, <f32>(low + high) * dx, 8);
  store<i32>(out, -8 * low, 12);
  store<i32>(out, -8 * high, 16);
  store<f32>(out, <f32>low * dx, 20);
  store<f32>(out, <f32>high * dx, 24);
  store<i32>(out, 0, 28);
}

/** Byte offset of column c (0..31) in a block: vector, pair, place in the pair. */
// @ts-ignore: decorator
@inline
export function activationOffset(c: u32): u32 {
  const quad = c & 15;
  const vector = quad >> 2;
  const j = quad & 3; // 0, 2 make the first pair, 1, 3 the second
  const pair = ((j & 1) << 1) | (c >> 4);
  return (vector << 4) + (pair << 2) + ((j >> 1) << 1);
}

export function quantizeActivationsRef(out: usize, x: usize, nBlocks: u32): void {
  quantizeRef(out, x, nBlocks, false);
}

export function quantizeBytesRef(out: usize, x: usize, nBlocks: u32): void {
  quantizeRef(out, x, nBlocks, true);
}

function quantizeRef(out: usize, x: usize, nBlocks: u32, bytes: bool): void {
  const size = bytes ? BYTE_BLOCK : Size.ACTIVATION_BLOCK;
  for (let block: u32 = 0; block < nBlocks; ++block, x += 128, out += size) {
    let absmax: f32 = 0;
    for (let c: u32 = 0; c < 32; ++c) {
      const a = abs<f32>(load<f32>(x + (c << 2)));
      if (!(a <= absmax)) absmax = a;
      if (absmax != absmax) break;
    }
    memory.fill(out, 0, size);
    if (absmax < TINY) continue;
    const inv: f32 = <f32>127 / absmax;
    let low: i32 = 0;
    let lowOther: i32 = 0;
    let high: i32 = 0;
    let highOther: i32 = 0;
    for (let c: u32 = 0; c < 32; ++c) {
      const q = <i32>nearest<f32>(load<f32>(x + (c << 2)) * inv);
      if (bytes) store<i8>(out + c, <i8>q);
      else store<i16>(out + activationOffset(c), <i16>q);
      if (c & 2) {
        if (c < 16) lowOther += q;
        else highOther += q;
      } else if (c < 16) low += q;
      else high += q;
    }
    const dx: f32 = absmax / <f32>127;
    writeTail(out + size - TAIL, dx, low + lowOther, high + highOther);
    if (bytes) writeZeroPairs(out, low, lowOther, high, highOther);
  }
}
