/**
 * GeGLU with the tanh form of GELU: gate[i] = gelu(gate[i]) * up[i]; n a multiple of 4. https://arxiv.org/abs/2002.05202
 *
 *   gelu(x) = x / 2 * (1 + tanh(u)), u = sqrt(2 / pi) (x + 0.044715 x^3)  =  x / (1 + exp(-2 u))
 *   2 u = x * (C3 * (x * x) + C1)
 */
import { exp1, exp4 } from "./exp";

const C1: f32 = 1.5957691216057308; // 2 sqrt(2 / pi)
const C3: f32 = 0.07135481627260025; // 0.044715 * C1

export function geglu(gate: usize, up: usize, n: u32): void {
  const one = f32x4.splat(1);
  const c1 = f32x4.splat(C1);
  const c3 = f32x4.splat(C3);
  for (let end = gate + (n << 2); gate < end; gate += 16, up += 16) {
    const x = v128.load(gate);
    const u = f32x4.mul(x, f32x4.add(f32x4.mul(c3, f32x4.mul(x, x)), c1));
    v128.store(gate, f32x4.mul(f32x4.div(x, f32x4.add(one, exp4(f32x4.neg(u)))), v128.load(up)));
  }
}

export function gegluRef(gate: usize, up: usize, n: u32): void {
  for (let i: u32 = 0; i < n; ++i) {
    const x = load<f32>(gate + (i << 2));
    const square: f32 = x * x;
    const inner: f32 = C3 * square + C1;
    const u: f32 = x * inner;
    store<f32>(gate + (i << 2), (x / (<f32>1 + exp1(-u))) * load<f32>(up + (i << 2)));
  }
}
