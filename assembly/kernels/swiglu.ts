/** SwiGLU: gate[i] = silu(gate[i]) * up[i] with silu(x) = x / (1 + exp(-x)); n a multiple of 4. https://arxiv.org/abs/2002.05202 */
import { exp1, exp4 } from "./exp";

export function swiglu(gate: usize, up: usize, n: u32): void {
  const one = f32x4.splat(1);
  for (let end = gate + (n << 2); gate < end; gate += 16, up += 16) {
    const x = v128.load(gate);
    v128.store(gate, f32x4.mul(f32x4.div(x, f32x4.add(one, exp4(f32x4.neg(x)))), v128.load(up)));
  }
}

export function swigluRef(gate: usize, up: usize, n: u32): void {
  for (let i: u32 = 0; i < n; ++i) {
    const x = load<f32>(gate + (i << 2));
    store<f32>(gate + (i << 2), (x / (<f32>1 + exp1(-x))) * load<f32>(up + (i << 2)));
  }
}
