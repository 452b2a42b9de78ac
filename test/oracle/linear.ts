/**
 * One output of a linear layer, y = w . x, exact and with quantized activations, in f64; and the sum of absolute values of
 * its terms, which error bounds are measured by.
 * @module
 */
import type { ActivationBlock, WeightBlock } from "./blocks.ts";

export interface Sum {
  readonly value: number;
  /** Sum of the absolute values of what was added. */
  readonly size: number;
}

/** sum w[c] x[c]. */
export function linearExact(w: ArrayLike<number>, x: ArrayLike<number>): Sum {
  let value = 0;
  let size = 0;
  for (let c = 0; c < w.length; ++c) {
    value += w[c]! * x[c]!;
    size += Math.abs(w[c]! * x[c]!);
  }
  return { value, size };
}

/** Block by block: scale step (q_w . q_x) + minimum step (sum q_x). */
export function linearQuantized(weights: readonly WeightBlock[], x: readonly ActivationBlock[]): Sum {
  let value = 0;
  let size = 0;
  for (const [i, block] of weights.entries()) {
    const { step, q } = x[i]!;
    const dot = q.reduce((sum, qx, c) => sum + qx * block.q[c]!, 0);
    const sum = q.reduce((total, qx) => total + qx, 0);
    const terms = [block.scale * step * dot, block.minimum * step * sum];
    for (const term of terms) {
      value += term;
      size += Math.abs(term);
    }
  }
  return { value, size };
}
