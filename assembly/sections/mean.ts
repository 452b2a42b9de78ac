/**
 * The mean of each key channel over the page, taken off before keys are quantized, so that a channel far from zero does not
 * widen every token's range. https://arxiv.org/abs/2411.10958 (SageAttention2: smoothing of K)
 *
 *   x_jd = mean_d + what the codes stand for        | mean, f8 with sign [dim] |
 *   score_j += (q . mean) * scale                   one number a page
 *
 * A mean is kept in 8 bits, since codes are made of what the rounded one leaves. The paper takes the mean of all tokens, which
 * adds the same to every score and need not be kept; pages have means of their own. It smooths queries as well, to quantize
 * them to 4 bits: of no use with queries in 16.
 */
import { bytes4ToFloat, byteToFloat, roundToByte } from "../kernels/f8";
import { sumLanes } from "../kernels/simd";
import { Size } from "../memory/status";

// @ts-ignore: decorator
@inline
export function meanBytes(dim: u32): u32 {
  return dim;
}

/** Means of keys x, f32 [32][dim], which are taken off them; sums slots ascending. */
export function takeMean(section: usize, x: usize, dim: u32): void {
  for (let d: u32 = 0; d < dim; ++d, x += 4) {
    let sum: f32 = 0;
    for (let slot: u32 = 0; slot < <u32>Size.PAGE_SLOTS; ++slot) sum += load<f32>(x + ((slot * dim) << 2));
    const bits = roundToByte(sum / <f32>Size.PAGE_SLOTS);
    const mean = byteToFloat(bits);
    store<u8>(section + d, <u8>bits);
    for (let slot: u32 = 0; slot < <u32>Size.PAGE_SLOTS; ++slot) {
      const at = x + ((slot * dim) << 2);
      store<f32>(at, load<f32>(at) - mean);
    }
  }
}

/** Adds the mean's score to 32 scores; q f32 [dim], dim a multiple of 4. */
export function addMean(scores: usize, section: usize, q: usize, dim: u32, factor: f32): void {
  let sum = f32x4.splat(0);
  for (let d: u32 = 0; d < dim; d += 4) sum = f32x4.add(sum, f32x4.mul(v128.load(q + (d << 2)), bytes4ToFloat(section + d)));
  const term = f32x4.splat(sumLanes(sum) * factor);
  for (let i: usize = 0; i < 128; i += 16) v128.store(scores + i, f32x4.add(v128.load(scores + i), term));
}

export function addMeanRef(scores: usize, section: usize, q: usize, dim: u32, factor: f32): void {
  let l0: f32 = 0;
  let l1: f32 = 0;
  let l2: f32 = 0;
  let l3: f32 = 0;
  for (let d: u32 = 0; d < dim; ++d) {
    const product: f32 = load<f32>(q + (d << 2)) * byteToFloat(load<u8>(section + d));
    if ((d & 3) == 0) l0 = l0 + product;
    else if ((d & 3) == 1) l1 = l1 + product;
    else if ((d & 3) == 2) l2 = l2 + product;
    else l3 = l3 + product;
  }
  const sum: f32 = l0 + l1 + (l2 + l3);
  const term: f32 = sum * factor;
  for (let slot: u32 = 0; slot < <u32>Size.PAGE_SLOTS; ++slot) store<f32>(scores + (slot << 2), load<f32>(scores + (slot << 2)) + term);
}
