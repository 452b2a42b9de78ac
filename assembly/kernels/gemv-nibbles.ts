/**
 * Decode in builds with relaxed SIMD: weights in nibbles times one activation row in bytes; the results of
 * gemv-quantized.ts, bit for bit.
 *
 * Optimisation ladder (Q4, GMAC/s, Node 22, shared Zen 3 core, 1536 x 576 from the second level cache; baseline pairs of
 * i16 in the same runs: 13):
 *   18.0   a loop over the four vectors of a block, splat loads, sums widened with extadd_pairwise
 *   18.4   HERE: the zero point as the sums' first value, widened by a dot with ones
 *
 * i16 sums: the dots of a block of 32 columns stay below 2^15 (quantize-activations.ts), so one widening a block suffices.
 */
import { Form, FormFlag } from "../memory/status";
import { groupBytes } from "./pack";
import { finishBlock, startHigh, startLow } from "./quantized-block";
import { addNibbles, byteNibbleMask, CONSTANTS, pairOnes } from "./simd";

/** Bytes of an activation block, and what its tail's offsets are counted from. */
const BLOCK: usize = 64;
const TAIL_BASE: usize = 32;

/** Tile by tile; `form` is a constant in each caller. */
// @ts-ignore: decorator
@inline
export function gemvNibbles(out: usize, x0: usize, w: usize, nTiles: u32, nBlocks: u32, form: Form): void {
  const low = byteNibbleMask();
  const group: usize = groupBytes(form);
  for (let tile: u32 = 0; tile < nTiles; ++tile, out += 32) {
    let accA = f32x4.splat(0);
    let accB = f32x4.splat(0);
    for (let x = x0, end = x0 + nBlocks * BLOCK; x < end; x += BLOCK, w += group << 1) {
      const tail = x - TAIL_BASE;
      let a = startLow(tail, form);
      let b = a;
      let c = startHigh(tail, form);
      let d = c;
      for (let i: usize = 0; i < 16; i += 4) {
        const p = v128.load(w + (i << 2));
        const q = v128.load(w + group + (i << 2));
        const xl = v128.load32_splat(x + i);
        const xh = v128.load32_splat(x + i, 16);
        a = addNibbles(a, xl, v128.and(p, low));
        b = addNibbles(b, xl, v128.and(q, low));
        if (form & FormFlag.GROUP_16) {
          c = addNibbles(c, xh, v128.and(i16x8.shr_u(p, 4), low));
          d = addNibbles(d, xh, v128.and(i16x8.shr_u(q, 4), low));
        } else {
          a = addNibbles(a, xh, v128.and(i16x8.shr_u(p, 4), low));
          b = addNibbles(b, xh, v128.and(i16x8.shr_u(q, 4), low));
        }
      }
      const ones = pairOnes();
      a = i32x4.dot_i16x8_s(a, ones);
      b = i32x4.dot_i16x8_s(b, ones);
      if (form & FormFlag.GROUP_16) {
        c = i32x4.dot_i16x8_s(c, ones);
        d = i32x4.dot_i16x8_s(d, ones);
      }
      accA = finishBlock(accA, a, c, w, tail, CONSTANTS, form);
      accB = finishBlock(accB, b, d, w + group, tail, CONSTANTS, form);
    }
    v128.store(out, accA);
    v128.store(out, accB, 16);
  }
}
