/**
 * The n largest key channels of a page apart, at 8 bits: the others' codes need not reach that far. Few channels of keys are
 * massive, and what a model takes from its context rests on them. https://arxiv.org/abs/2502.01563 (Massive Values),
 * https://arxiv.org/abs/2403.04643 (QAQ: outliers handled apart)
 *
 *   channels: the n of largest absmax over the page, of equal ones the first
 *   the codes are made with zeros in their place; the section keeps what these lack of x:
 *   scale = f16(absmax / 127), code = nearest-even(rest / scale) within +-127;     score_j += (q_d scale) * factor * code_j
 *
 *   | i8 codes [n][32 slots] | f16 scale [n] | u16 channel [n] |
 *
 * Channels are found in each page, not calibrated: RoPE keeps them in place, and other models need no other numbers.
 */
import { halfToFloat, roundToHalf } from "../kernels/f16";
import { Size } from "../memory/status";

// @ts-ignore: decorator
@inline
export function outlierBytes(n: u32): u32 {
  return 36 * n;
}

// @ts-ignore: decorator
@inline
function scaleOf(section: usize, n: u32, i: u32): usize {
  return section + 32 * n + 2 * i;
}

// @ts-ignore: decorator
@inline
function channelOf(section: usize, n: u32, i: u32): u32 {
  return load<u16>(section + 34 * n + 2 * i);
}

/** Largest size of a channel of x, f32 [32][dim]. */
function absmaxOf(x: usize, d: u32, dim: u32): f32 {
  let most: f32 = 0;
  for (let slot: u32 = 0; slot < <u32>Size.PAGE_SLOTS; ++slot) most = max<f32>(most, abs<f32>(load<f32>(x + ((slot * dim + d) << 2))));
  return most;
}

/** Chooses the channels of keys x and makes them zero there. */
export function takeOutliers(section: usize, n: u32, x: usize, dim: u32): void {
  for (let i: u32 = 0; i < n; ++i) {
    let best: u32 = 0;
    let most: f32 = -1;
    for (let d: u32 = 0; d < dim; ++d) {
      const size = absmaxOf(x, d, dim);
      if (!(size > most)) continue;
      let isTaken = false;
      for (let k: u32 = 0; k < i; ++k) if (channelOf(section, n, k) == d) isTaken = true;
      if (isTaken) continue;
      best = d;
      most = size;
    }
    store<u16>(section + 34 * n + 2 * i, <u16>best);
    for (let slot: u32 = 0; slot < <u32>Size.PAGE_SLOTS; ++slot) store<f32>(x + ((slot * dim + best) << 2), 0);
  }
}

/** Keeps the chosen channels of what is left, f32 [32][dim], and takes them off it. */
export function putOutliers(section: usize, n: u32, rest: usize, dim: u32): void {
  for (let i: u32 = 0; i < n; ++i) {
    const d = channelOf(section, n, i);
    const bits = roundToHalf(absmaxOf(rest, d, dim) / 127);
    const scale = halfToFloat(bits);
    const inverse: f32 = scale > 0 ? <f32>1 / scale : 0;
    store<u16>(scaleOf(section, n, i), <u16>bits);
    for (let slot: u32 = 0; slot < <u32>Size.PAGE_SLOTS; ++slot) {
      const at = rest + ((slot * dim + d) << 2);
      const code = min<f32>(max<f32>(nearest<f32>(load<f32>(at) * inverse), -127), 127);
      store<i8>(section + 32 * i + slot, <i8>code);
      store<f32>(at, load<f32>(at) - code * scale);
    }
  }
}

/** Adds the channels' terms to 32 scores; q f32 [dim]. */
export function addOutliers(scores: usize, section: usize, n: u32, q: usize, factor: f32): void {
  for (let i: u32 = 0; i < n; ++i) {
    const scaled: f32 = load<f32>(q + (channelOf(section, n, i) << 2)) * halfToFloat(load<u16>(scaleOf(section, n, i)));
    const term = f32x4.splat(scaled * factor);
    for (let slot: u32 = 0; slot < <u32>Size.PAGE_SLOTS; slot += 8) {
      const codes = v128.load8x8_s(section + 32 * i + slot);
      const at = scores + (slot << 2);
      const low = f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(codes));
      const high = f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(codes));
      v128.store(at, f32x4.add(v128.load(at), f32x4.mul(low, term)));
      v128.store(at, f32x4.add(v128.load(at, 16), f32x4.mul(high, term)), 16);
    }
  }
}

export function addOutliersRef(scores: usize, section: usize, n: u32, q: usize, factor: f32): void {
  for (let i: u32 = 0; i < n; ++i) {
    const scaled: f32 = load<f32>(q + (channelOf(section, n, i) << 2)) * halfToFloat(load<u16>(scaleOf(section, n, i)));
    const term: f32 = scaled * factor;
    for (let slot: u32 = 0; slot < <u32>Size.PAGE_SLOTS; ++slot) {
      const product: f32 = <f32>load<i8>(section + 32 * i + slot) * term;
      store<f32>(scores + (slot << 2), load<f32>(scores + (slot << 2)) + product);
    }
  }
}
