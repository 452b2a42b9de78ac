/**
 * Decode: one quantized activation row times packed q4 or q8 weights, y[row] for tiles of 8 rows.
 *
 * Per block of 32 columns and row (numeric contract): dot = exact i32 sum of q_w q_x, the zero point inside
 * (Q4: dot(nibbles) - 8 sum q_x); acc += f32(dot) * (dw * dx); with a minimum then acc += mw * sx. Blocks ascend; a row is
 * one f32 lane.
 *
 * Optimisation ladder (Q4, GMAC/s, medians of interleaved runs on a shared Zen 3 core, Node 20; 1536 x 576 in the second
 * level cache / 65536 x 576 from memory):
 *   11.8 / 13.3   one tile, the four vectors of a block unrolled, 16 splat loads of activations
 *   12.5 / 14.0   the same with one vector load and four shuffles for each four splats
 *   12.6 / 15.0   splat loads, a loop over the vectors instead of unrolling (nothing spills)
 *   13.0 / 16.2   HERE: shuffles and the loop
 *   13.5 / 10.4   two tiles at once, so that 4 weight vectors share the 4 shuffles: best from the cache, but two streams
 *                 of weights defeat the prefetcher
 *
 * Shapes: out 8 * nTiles f32; x nBlocks activation blocks; weights nTiles tiles (pack.ts).
 */
import { rowDotRef } from "./dot-ref";
import { addPairs, halfBias, halfMask, loadHalf4, nibbleMask, pair0, pair1, pair2, pair3 } from "./simd";
import { Form, Size } from "../memory/status";

/** acc + the four pairs of a vector of nibbles. */
// @ts-ignore: decorator
@inline
function nibbles(acc: v128, w: v128, x0: v128, x1: v128, x2: v128, x3: v128, low: v128): v128 {
  acc = addPairs(acc, v128.and(w, low), x0);
  acc = addPairs(acc, v128.and(i16x8.shr_u(w, 4), low), x1);
  acc = addPairs(acc, v128.and(i16x8.shr_u(w, 8), low), x2);
  return addPairs(acc, i16x8.shr_u(w, 12), x3);
}

/** acc + f32(dot) * (dw * dx) [+ mw * sx]; `scales` is the address of the group's scales, its minima 8 bytes on. */
// @ts-ignore: decorator
@inline
function scaled(acc: v128, dot: v128, scales: usize, x: usize, mask: v128, bias: v128, hasMin: bool): v128 {
  const dw = loadHalf4(scales, 0, mask, bias);
  acc = f32x4.add(acc, f32x4.mul(f32x4.convert_i32x4_s(dot), f32x4.mul(dw, v128.load32_splat(x, 64))));
  if (hasMin) acc = f32x4.add(acc, f32x4.mul(loadHalf4(scales, 8, mask, bias), v128.load32_splat(x, 72)));
  return acc;
}

/** Tile by tile; `form` is a constant in each caller. */
// @ts-ignore: decorator
@inline
function gemvNibbles(out: usize, x0: usize, w: usize, nTiles: u32, nBlocks: u32, form: Form): void {
  const low = nibbleMask();
  const mask = halfMask();
  const bias = halfBias();
  const hasMin = form == Form.Q4_MIN;
  const group: usize = hasMin ? 80 : 72;
  for (let tile: u32 = 0; tile < nTiles; ++tile, out += 32) {
    let f0 = f32x4.splat(0);
    let f1 = f32x4.splat(0);
    for (let x = x0, end = x0 + nBlocks * Size.ACTIVATION_BLOCK; x < end; x += Size.ACTIVATION_BLOCK, w += group << 1) {
      let a = hasMin ? i32x4.splat(0) : v128.load32_splat(x, 68);
      let b = a;
      let wi = w;
      for (let xi = x, stop = x + 64; xi < stop; xi += 16, wi += 16) {
        const v = v128.load(xi);
        const v0 = pair0(v);
        const v1 = pair1(v);
        const v2 = pair2(v);
        const v3 = pair3(v);
        a = nibbles(a, v128.load(wi), v0, v1, v2, v3, low);
        b = nibbles(b, hasMin ? v128.load(wi, 80) : v128.load(wi, 72), v0, v1, v2, v3, low);
      }
      f0 = scaled(f0, a, w + 64, x, mask, bias, hasMin);
      f1 = scaled(f1, b, w + group + 64, x, mask, bias, hasMin);
    }
    v128.store(out, f0);
    v128.store(out, f1, 16);
  }
}

export function gemvQ4(out: usize, x: usize, weights: usize, nTiles: u32, nBlocks: u32): void {
  gemvNibbles(out, x, weights, nTiles, nBlocks, Form.Q4);
}

export function gemvQ4Min(out: usize, x: usize, weights: usize, nTiles: u32, nBlocks: u32): void {
  gemvNibbles(out, x, weights, nTiles, nBlocks, Form.Q4_MIN);
}

/** acc + the four pairs of a vector of bytes: 32 bytes at w + offset. */
// @ts-ignore: decorator
@inline
function bytes(acc: v128, first: v128, second: v128, x0: v128, x1: v128, x2: v128, x3: v128): v128 {
  acc = addPairs(acc, i16x8.extend_low_i8x16_s(first), x0);
  acc = addPairs(acc, i16x8.extend_high_i8x16_s(first), x1);
  acc = addPairs(acc, i16x8.extend_low_i8x16_s(second), x2);
  return addPairs(acc, i16x8.extend_high_i8x16_s(second), x3);
}

export function gemvQ8(out: usize, x0: usize, weights: usize, nTiles: u32, nBlocks: u32): void {
  const mask = halfMask();
  const bias = halfBias();
  let w = weights;
  for (let tile: u32 = 0; tile < nTiles; ++tile, out += 32) {
    let f0 = f32x4.splat(0);
    let f1 = f32x4.splat(0);
    for (let x = x0, end = x0 + nBlocks * Size.ACTIVATION_BLOCK; x < end; x += Size.ACTIVATION_BLOCK, w += 272) {
      let a = i32x4.splat(0);
      let b = i32x4.splat(0);
      let wi = w;
      for (let xi = x, stop = x + 64; xi < stop; xi += 16, wi += 32) {
        const v = v128.load(xi);
        const v0 = pair0(v);
        const v1 = pair1(v);
        const v2 = pair2(v);
        const v3 = pair3(v);
        a = bytes(a, v128.load(wi), v128.load(wi, 16), v0, v1, v2, v3);
        b = bytes(b, v128.load(wi, 136), v128.load(wi, 152), v0, v1, v2, v3);
      }
      f0 = scaled(f0, a, w + 128, x, mask, bias, false);
      f1 = scaled(f1, b, w + 264, x, mask, bias, false);
    }
    v128.store(out, f0);
    v128.store(out, f1, 16);
  }
}

function gemvRef(out: usize, x: usize, weights: usize, nTiles: u32, nBlocks: u32, form: Form): void {
  for (let row: u32 = 0; row < nTiles << 3; ++row) {
    store<f32>(out + (row << 2), rowDotRef(form, x, weights, row, nBlocks));
  }
}

export function gemvQ4Ref(out: usize, x: usize, weights: usize, nTiles: u32, nBlocks: u32): void {
  gemvRef(out, x, weights, nTiles, nBlocks, Form.Q4);
}

export function gemvQ4MinRef(out: usize, x: usize, weights: usize, nTiles: u32, nBlocks: u32): void {
  gemvRef(out, x, weights, nTiles, nBlocks, Form.Q4_MIN);
}

export function gemvQ8Ref(out: usize, x: usize, weights: usize, nTiles: u32, nBlocks: u32): void {
  gemvRef(out, x, weights, nTiles, nBlocks, Form.Q8);
}
