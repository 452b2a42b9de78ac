/**
 * Root-mean-square norm: out[i] = (x[i] * s) * weight[i], s = 1 / sqrt(sum(x^2) / n + eps). https://arxiv.org/abs/1910.07467
 * n a multiple of 4; the sum runs in four lanes (element i in lane i mod 4), then (l0 + l1) + (l2 + l3).
 */
import { sumLanes } from "./simd";

export function rmsNorm(out: usize, x: usize, weight: usize, n: u32, eps: f32): void {
  const bytes = n << 2;
  let squares = f32x4.splat(0);
  for (let i: usize = 0; i < bytes; i += 16) {
    const v = v128.load(x + i);
    squares = f32x4.add(squares, f32x4.mul(v, v));
  }
  const s = f32x4.splat(<f32>1 / sqrt<f32>(sumLanes(squares) / <f32>n + eps));
  for (let i: usize = 0; i < bytes; i += 16) {
    v128.store(out + i, f32x4.mul(f32x4.mul(v128.load(x + i), s), v128.load(weight + i)));
  }
}

export function rmsNormRef(out: usize, x: usize, weight: usize, n: u32, eps: f32): void {
  let l0: f32 = 0;
  let l1: f32 = 0;
  let l2: f32 = 0;
  let l3: f32 = 0;
  for (let i: u32 = 0; i < n; i += 4) {
    const ptr = x + (i << 2);
    l0 += load<f32>(ptr) * load<f32>(ptr);
    l1 += load<f32>(ptr, 4) * load<f32>(ptr, 4);
    l2 += load<f32>(ptr, 8) * load<f32>(ptr, 8);
    l3 += load<f32>(ptr, 12) * load<f32>(ptr, 12);
  }
  const s: f32 = <f32>1 / sqrt<f32>((l0 + l1 + (l2 + l3)) / <f32>n + eps);
  for (let i: u32 = 0; i < n; ++i) {
    store<f32>(out + (i << 2), load<f32>(x + (i << 2)) * s * load<f32>(weight + (i << 2)));
  }
}
