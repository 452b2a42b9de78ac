/**
 * A factor for each value channel of a page, then scales for each token and group as ever: two dimensions of scales, so that
 * a large channel costs the small ones less. https://arxiv.org/abs/2402.12065 (WKVQuant: two-dimensional quantization)
 *
 *   x_jd = factor_d * what the codes stand for      factor = f8 up(absmax of the channel)      | u8 factor [dim] |
 *   out_d += factor_d * (weighted sum of what the codes stand for)
 *
 * Not as in the paper: the factors come from the page itself, not from training.
 */
import { roundUpToByte, unsignedBytes4, unsignedByteToFloat } from "../kernels/f8";
import { Size } from "../memory/status";

// @ts-ignore: decorator
@inline
export function factorBytes(dim: u32): u32 {
  return dim;
}

/** Factors of values x, f32 [32][dim], which are divided by them. */
export function takeFactors(section: usize, x: usize, dim: u32): void {
  for (let d: u32 = 0; d < dim; ++d, x += 4) {
    let absmax: f32 = 0;
    for (let slot: u32 = 0; slot < <u32>Size.PAGE_SLOTS; ++slot) absmax = max<f32>(absmax, abs<f32>(load<f32>(x + ((slot * dim) << 2))));
    const bits = roundUpToByte(absmax);
    const factor = unsignedByteToFloat(bits);
    const inverse: f32 = factor > 0 ? <f32>1 / factor : 0;
    store<u8>(section + d, <u8>bits);
    for (let slot: u32 = 0; slot < <u32>Size.PAGE_SLOTS; ++slot) {
      const at = x + ((slot * dim) << 2);
      store<f32>(at, load<f32>(at) * inverse);
    }
  }
}

// @ts-ignore: decorator
@inline
export function factorAt(section: usize, d: u32): f32 {
  return unsignedByteToFloat(load<u8>(section + d));
}

/** out [dim] += factor * sums [dim]; dim a multiple of 4. */
export function addFactored(out: usize, sums: usize, section: usize, dim: u32): void {
  for (let d: u32 = 0; d < dim; d += 4) {
    const at = out + (d << 2);
    v128.store(at, f32x4.add(v128.load(at), f32x4.mul(v128.load(sums + (d << 2)), unsignedBytes4(section + d))));
  }
}

export function addFactoredRef(out: usize, sums: usize, section: usize, dim: u32): void {
  for (let d: u32 = 0; d < dim; ++d) {
    const product: f32 = load<f32>(sums + (d << 2)) * factorAt(section, d);
    store<f32>(out + (d << 2), load<f32>(out + (d << 2)) + product);
  }
}
