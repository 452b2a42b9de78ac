/**
 * Soft cap: x[i] = cap * tanh(x[i] / cap), values kept between -cap and cap (Gemma 2, https://arxiv.org/abs/2408.00118).
 *
 *   e = exp(|x| * (-2 / cap));  x' = sign(x) * cap * ((1 - e) / (1 + e));  NaN stays NaN
 *
 * Absolute error at most 3 ulp of cap (test/kernel/softcap.test.ts): 1 - e has few bits left near 0, where the value is
 * small against cap. n is rounded up to a multiple of 4.
 */
import { exp1, exp4 } from "./exp";

const SIGN: u32 = 0x80000000;

export function softcapRow(x: usize, n: u32, cap: f32): void {
  const vcap = f32x4.splat(cap);
  const rate = f32x4.splat(<f32>-2 / cap);
  const one = f32x4.splat(1);
  const sign = i32x4.splat(<i32>SIGN);
  for (let end = x + (((n + 3) & ~3) << 2); x < end; x += 16) {
    const v = v128.load(x);
    const e = exp4(f32x4.mul(f32x4.abs(v), rate));
    const size = f32x4.mul(vcap, f32x4.div(f32x4.sub(one, e), f32x4.add(one, e)));
    v128.store(x, v128.bitselect(v128.or(size, v128.and(v, sign)), v, f32x4.eq(v, v)));
  }
}

export function softcapRowRef(x: usize, n: u32, cap: f32): void {
  const rate: f32 = <f32>-2 / cap;
  for (let i: u32 = 0; i < ((n + 3) & ~3); ++i) {
    const v = load<f32>(x + (i << 2));
    if (v != v) continue;
    const e = exp1(abs<f32>(v) * rate);
    const size: f32 = cap * ((<f32>1 - e) / (<f32>1 + e));
    store<u32>(x + (i << 2), reinterpret<u32>(size) | (reinterpret<u32>(v) & SIGN));
  }
}
