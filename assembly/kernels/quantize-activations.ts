/**
 * Activations: a row of f32 -> int8 in blocks of 32 (numeric contract, linear layers).
 *
 *   absmax = max |x| ; below 2^-100 the block is zero
 *   q = nearest-even(x * (127 / absmax)), dx = absmax / 127, sx = f32(sum of q) * dx
 *
 * A NaN or infinity makes dx, and so everything computed from the block, NaN: a broken model is heard, not smoothed over.
 *
 * A block of the packed row, 96 bytes; values are i16 so that baseline SIMD can multiply pairs (i32x4.dot_i16x8_s), in
 * the order in which a weight vector's nibbles come (kernels/pack.ts):
 *
 *   vector i (16 bytes, i = 0..3): (4i, 4i+2) (16+4i, 16+4i+2) (4i+1, 4i+3) (16+4i+1, 16+4i+3)
 *   | 64 bytes values | f32 dx | i32 -8 sum | f32 sx | i32 -8 low, -8 high | f32 slow, shigh | 4 bytes unused |
 *
 * sum = sum of q, low and high those of columns 0..15 and 16..31; sx = f32(sum) dx, slow and shigh likewise.
 */
import { Size } from "../memory/status";

const TINY: f32 = 7.888609052210118e-31; // 2^-100

// @ts-ignore: decorator
@inline
function quantize4(x: v128, inv: v128): v128 {
  return i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(x, inv)));
}

export function quantizeActivations(out: usize, x: usize, nBlocks: u32): void {
  for (let block: u32 = 0; block < nBlocks; ++block, x += 128, out += Size.ACTIVATION_BLOCK) {
    let m = f32x4.abs(v128.load(x));
    for (let i: usize = 16; i < 128; i += 16) m = f32x4.max(m, f32x4.abs(v128.load(x + i)));
    const m0 = max<f32>(f32x4.extract_lane(m, 0), f32x4.extract_lane(m, 1));
    const m1 = max<f32>(f32x4.extract_lane(m, 2), f32x4.extract_lane(m, 3));
    const absmax = max<f32>(m0, m1);
    if (absmax < TINY) {
      memory.fill(out, 0, Size.ACTIVATION_BLOCK);
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
      v128.store(out + i, v128.shuffle<i16>(both, both, 0, 2, 4, 6, 1, 3, 5, 7));
    }
    writeTail(out, absmax / <f32>127, sumOf(lows), sumOf(highs));
  }
}

// @ts-ignore: decorator
@inline
function sumOf(v: v128): i32 {
  return (
    i32x4.extract_lane(v, 0) + i32x4.extract_lane(v, 1) + i32x4.extract_lane(v, 2) + i32x4.extract_lane(v, 3)
  );
}

/** Scale, zero terms and scaled sums behind the values. */
function writeTail(out: usize, dx: f32, low: i32, high: i32): void {
  store<f32>(out, dx, 64);
  store<i32>(out, -8 * (low + high), 68);
  store<f32>(out, <f32>(low + high) * dx, 72);
  store<i32>(out, -8 * low, 76);
  store<i32>(out, -8 * high, 80);
  store<f32>(out, <f32>low * dx, 84);
  store<f32>(out, <f32>high * dx, 88);
  store<i32>(out, 0, 92);
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
  for (let block: u32 = 0; block < nBlocks; ++block, x += 128, out += Size.ACTIVATION_BLOCK) {
    let absmax: f32 = 0;
    for (let c: u32 = 0; c < 32; ++c) {
      const a = abs<f32>(load<f32>(x + (c << 2)));
      if (!(a <= absmax)) absmax = a;
      if (absmax != absmax) break;
    }
    memory.fill(out, 0, Size.ACTIVATION_BLOCK);
    if (absmax < TINY) continue;
    const inv: f32 = <f32>127 / absmax;
    let low: i32 = 0;
    let high: i32 = 0;
    for (let c: u32 = 0; c < 32; ++c) {
      const q = <i32>nearest<f32>(load<f32>(x + (c << 2)) * inv);
      store<i16>(out + activationOffset(c), <i16>q);
      if (c < 16) low += q;
      else high += q;
    }
    const dx: f32 = absmax / <f32>127;
    writeTail(out, dx, low, high);
  }
}
