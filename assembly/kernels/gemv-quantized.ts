/**
 * Decode: one quantized activation row times packed weights of any quantized form, y[row] for tiles of 8 rows.
 *
 * Per block of 32 columns and row (numeric contract): dot = exact i32 sum of q_w q_x, the zero point inside
 * (Q4: dot(nibbles) - 8 sum q_x); acc += f32(dot) * (dw * dx); with a minimum then acc += mw * sx. Forms with groups of 16
 * do so for columns 0..15, then for 16..31. Blocks ascend; a row is one f32 lane.
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
 * Builds with relaxed SIMD use gemv-nibbles.ts for nibbles.
 *
 * Shapes: out 8 * nTiles f32; x nBlocks activation blocks; weights nTiles tiles (pack.ts).
 */
import { Form, FormFlag, Size } from "../memory/status";
import { rowDotRef } from "./dot-ref";
import { gemvNibbles } from "./gemv-nibbles";
import { groupBytes } from "./pack";
import { finishBlock, secondVector, startHigh, startLow, vectorBytes, weightPair } from "./quantized-block";
import { addPairs, CONSTANTS, nibbleMask, pair0, pair1, pair2, pair3 } from "./simd";

/** Tile by tile; `form` is a constant in each caller. */
// @ts-ignore: decorator
@inline
function gemv(out: usize, x0: usize, w: usize, nTiles: u32, nBlocks: u32, form: Form): void {
  const low = nibbleMask();
  const group: usize = groupBytes(form);
  for (let tile: u32 = 0; tile < nTiles; ++tile, out += 32) {
    let accA = f32x4.splat(0);
    let accB = f32x4.splat(0);
    for (let x = x0, end = x0 + nBlocks * Size.ACTIVATION_BLOCK; x < end; x += Size.ACTIVATION_BLOCK, w += group << 1) {
      let a = startLow(x, form);
      let b = a;
      let c = startHigh(x, form);
      let d = c;
      let wi = w;
      for (let xi = x, stop = x + 64; xi < stop; xi += 16, wi += vectorBytes(form)) {
        const v = v128.load(xi);
        const p = v128.load(wi);
        const q = v128.load(wi + group);
        const r = secondVector(wi, p, form);
        const s = secondVector(wi + group, q, form);
        const v0 = pair0(v);
        const v1 = pair1(v);
        const v2 = pair2(v);
        const v3 = pair3(v);
        if (form & FormFlag.GROUP_16) {
          a = addPairs(addPairs(a, weightPair(p, r, low, 0, form), v0), weightPair(p, r, low, 2, form), v2);
          b = addPairs(addPairs(b, weightPair(q, s, low, 0, form), v0), weightPair(q, s, low, 2, form), v2);
          c = addPairs(addPairs(c, weightPair(p, r, low, 1, form), v1), weightPair(p, r, low, 3, form), v3);
          d = addPairs(addPairs(d, weightPair(q, s, low, 1, form), v1), weightPair(q, s, low, 3, form), v3);
        } else {
          a = addPairs(addPairs(a, weightPair(p, r, low, 0, form), v0), weightPair(p, r, low, 1, form), v1);
          a = addPairs(addPairs(a, weightPair(p, r, low, 2, form), v2), weightPair(p, r, low, 3, form), v3);
          b = addPairs(addPairs(b, weightPair(q, s, low, 0, form), v0), weightPair(q, s, low, 1, form), v1);
          b = addPairs(addPairs(b, weightPair(q, s, low, 2, form), v2), weightPair(q, s, low, 3, form), v3);
        }
      }
      accA = finishBlock(accA, a, c, w, x, CONSTANTS, form);
      accB = finishBlock(accB, b, d, w + group, x, CONSTANTS, form);
    }
    v128.store(out, accA);
    v128.store(out, accB, 16);
  }
}

function gemvQ4(out: usize, x: usize, weights: usize, nTiles: u32, nBlocks: u32): void {
  if (ASC_FEATURE_RELAXED_SIMD) gemvNibbles(out, x, weights, nTiles, nBlocks, Form.Q4);
  else gemv(out, x, weights, nTiles, nBlocks, Form.Q4);
}

function gemvQ8(out: usize, x: usize, weights: usize, nTiles: u32, nBlocks: u32): void {
  gemv(out, x, weights, nTiles, nBlocks, Form.Q8);
}

function gemvQ4Min(out: usize, x: usize, weights: usize, nTiles: u32, nBlocks: u32): void {
  if (ASC_FEATURE_RELAXED_SIMD) gemvNibbles(out, x, weights, nTiles, nBlocks, Form.Q4_MIN);
  else gemv(out, x, weights, nTiles, nBlocks, Form.Q4_MIN);
}

function gemvQ8Min(out: usize, x: usize, weights: usize, nTiles: u32, nBlocks: u32): void {
  gemv(out, x, weights, nTiles, nBlocks, Form.Q8_MIN);
}

function gemvQ8Wide(out: usize, x: usize, weights: usize, nTiles: u32, nBlocks: u32): void {
  gemv(out, x, weights, nTiles, nBlocks, Form.Q8_WIDE);
}

function gemvQ4MinWide(out: usize, x: usize, weights: usize, nTiles: u32, nBlocks: u32): void {
  if (ASC_FEATURE_RELAXED_SIMD) gemvNibbles(out, x, weights, nTiles, nBlocks, Form.Q4_MIN_WIDE);
  else gemv(out, x, weights, nTiles, nBlocks, Form.Q4_MIN_WIDE);
}

function gemvQ8MinWide(out: usize, x: usize, weights: usize, nTiles: u32, nBlocks: u32): void {
  gemv(out, x, weights, nTiles, nBlocks, Form.Q8_MIN_WIDE);
}

function gemvQ4Wide16(out: usize, x: usize, weights: usize, nTiles: u32, nBlocks: u32): void {
  if (ASC_FEATURE_RELAXED_SIMD) gemvNibbles(out, x, weights, nTiles, nBlocks, Form.Q4_WIDE_16);
  else gemv(out, x, weights, nTiles, nBlocks, Form.Q4_WIDE_16);
}

function gemvQ8Wide16(out: usize, x: usize, weights: usize, nTiles: u32, nBlocks: u32): void {
  gemv(out, x, weights, nTiles, nBlocks, Form.Q8_WIDE_16);
}

function gemvQ4MinWide16(out: usize, x: usize, weights: usize, nTiles: u32, nBlocks: u32): void {
  if (ASC_FEATURE_RELAXED_SIMD) gemvNibbles(out, x, weights, nTiles, nBlocks, Form.Q4_MIN_WIDE_16);
  else gemv(out, x, weights, nTiles, nBlocks, Form.Q4_MIN_WIDE_16);
}

/** y of nTiles tiles in any quantized form. */
export function gemvQuantized(out: usize, x: usize, weights: usize, nTiles: u32, nBlocks: u32, form: Form): void {
  switch (form) {
    case Form.Q4:
      gemvQ4(out, x, weights, nTiles, nBlocks);
      break;
    case Form.Q8:
      gemvQ8(out, x, weights, nTiles, nBlocks);
      break;
    case Form.Q4_MIN:
      gemvQ4Min(out, x, weights, nTiles, nBlocks);
      break;
    case Form.Q8_MIN:
      gemvQ8Min(out, x, weights, nTiles, nBlocks);
      break;
    case Form.Q8_WIDE:
      gemvQ8Wide(out, x, weights, nTiles, nBlocks);
      break;
    case Form.Q4_MIN_WIDE:
      gemvQ4MinWide(out, x, weights, nTiles, nBlocks);
      break;
    case Form.Q8_MIN_WIDE:
      gemvQ8MinWide(out, x, weights, nTiles, nBlocks);
      break;
    case Form.Q4_WIDE_16:
      gemvQ4Wide16(out, x, weights, nTiles, nBlocks);
      break;
    case Form.Q8_WIDE_16:
      gemvQ8Wide16(out, x, weights, nTiles, nBlocks);
      break;
    case Form.Q4_MIN_WIDE_16:
      gemvQ4MinWide16(out, x, weights, nTiles, nBlocks);
      break;
    default:
      assert(false);
  }
}

export function gemvQuantizedRef(out: usize, x: usize, weights: usize, nTiles: u32, nBlocks: u32, form: Form): void {
  for (let row: u32 = 0; row < nTiles << 3; ++row) {
    store<f32>(out + (row << 2), rowDotRef(form, x, weights, row, nBlocks));
  }
}
