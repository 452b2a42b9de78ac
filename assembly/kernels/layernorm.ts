/**
 * Layer norm without bias: out[i] = ((x[i] - mean) * s) * weight[i], mean = sum(x) / n, s = 1 / sqrt(sum((x - mean)^2) / n
 * + eps). https://arxiv.org/abs/1607.06450  n a multiple of 4; both sums run in four lanes as in rmsnorm.ts.
 */
import { sumLanes } from "./simd";

export function layerNorm(out: usize, x: usize, weight: usize, n: u32, eps: f32): void {
  const bytes = n << 2;
  let sums = f32x4.splat(0);
  for (let i: usize = 0; i < bytes; i += 16) sums = f32x4.add(sums, v128.load(x + i));
  const mean = f32x4.splat(sumLanes(sums) / <f32>n);
  let squares = f32x4.splat(0);
  for (let i: usize = 0; i < bytes; i += 16) {
    const v = f32x4.sub(v128.load(x + i), mean);
    squares = f32x4.add(squares, f32x4.mul(v, v));
  }
  const s = f32x4.splat(<f32>1 / sqrt<f32>(sumLanes(squares) / <f32>n + eps));
  for (let i: usize = 0; i < bytes; i += 16) {
    v128.store(out + i, f32x4.mul(f32x4.mul(f32x4.sub(v128.load(x + i), mean), s), v128.load(weight + i)));
  }
}

export function layerNormRef(out: usize, x: usize, weight: usize, n: u32, eps: f32): void {
  const mean: f32 = sumInLanes(x, n, 0, false) / <f32>n;
  const s: f32 = <f32>1 / sqrt<f32>(sumInLanes(x, n, mean, true) / <f32>n + eps);
  for (let i: u32 = 0; i < n; ++i) {
    store<f32>(out + (i << 2), (load<f32>(x + (i << 2)) - mean) * s * load<f32>(weight + (i << 2)));
  }
}

/** Sum of x - mean, or of its squares, in four lanes. */
function sumInLanes(x: usize, n: u32, mean: f32, squared: bool): f32 {
  let l0: f32 = 0;
  let l1: f32 = 0;
  let l2: f32 = 0;
  let l3: f32 = 0;
  for (let i: u32 = 0; i < n; ++i) {
    const v: f32 = load<f32>(x + (i << 2)) - mean;
    const term: f32 = squared ? v * v : v;
    const lane = i & 3;
    if (lane == 0) l0 += term;
    else if (lane == 1) l1 += term;
    else if (lane == 2) l2 += term;
    else l3 += term;
  }
  return l0 + l1 + (l2 + l3);
}
