/** The model's kind of norm, and a row without one. */
import { layerNorm } from "../kernels/layernorm";
import { rmsNorm } from "../kernels/rmsnorm";
import { Engine } from "../memory/records";
import { Option } from "../memory/status";

/** out [n] = norm of x [n], which may be the same; a weight of 0 copies. */
export function norm(e: Engine, out: usize, x: usize, weight: usize, n: u32): void {
  if (weight == 0) memory.copy(out, x, n << 2);
  else if (e.options & Option.LAYER_NORM) layerNorm(out, x, weight, n, e.normEps);
  else rmsNorm(out, x, weight, n, e.normEps);
}
