/**
 * Softmax and softmax attention in f64, all slots at once: no spans, no running maximum.
 * @module
 */
import { softcapRef64 } from "./elementwise.ts";

/** exp(x_i) / sum exp(x_j); infinitely negative entries give 0. */
export function softmax64(x: ArrayLike<number>): number[] {
  const values = Array.from(x);
  const top = values.reduce((best, v) => Math.max(best, v), -Infinity);
  const weights = values.map((v) => Math.exp(v - top));
  const total = weights.reduce((sum, w) => sum + w, 0);
  return weights.map((w) => w / total);
}

/** ln sum exp(x_i). */
export function logSumExp64(x: ArrayLike<number>): number {
  const values = Array.from(x);
  const top = values.reduce((best, v) => Math.max(best, v), -Infinity);
  return top + Math.log(values.reduce((sum, v) => sum + Math.exp(v - top), 0));
}

/** What a query sees and how its scores are made. */
export interface AttendOptions {
  /** First visible slot; default 0. */
  readonly first?: number;
  /** Factor of q.k; default 1 / sqrt(keyDim). */
  readonly scale?: number;
  /** cap tanh(s / cap) on scaled scores; default none. */
  readonly softcap?: number;
}

export interface Attended {
  /** sum_j w_j v_j, per dim. */
  readonly out: number[];
  /** sum_j w_j |v_j|, per dim: the scale of the error of `out`. */
  readonly size: number[];
  /** Of the slots from the first visible one on. */
  readonly weights: readonly number[];
  /** Largest sum_d |q_d k_d| scale over the slots: the scale of the error of a score. */
  readonly scoreSize: number;
}

/** softmax(cap(q k^T scale)) v over the slots [first, n); keys [n][keyDim], values [n][valueDim]. */
export function attend64(
  q: Float32Array,
  keys: Float32Array | Float64Array,
  values: Float32Array | Float64Array,
  n: number,
  options: AttendOptions = {},
): Attended {
  const keyDim = q.length;
  const valueDim = values.length / (keys.length / keyDim);
  const { first = 0, scale = 1 / Math.sqrt(keyDim), softcap = 0 } = options;
  const scores = new Float64Array(n - first);
  let scoreSize = 0;
  for (let j = first; j < n; ++j) {
    let dot = 0;
    let size = 0;
    for (let d = 0; d < keyDim; ++d) {
      const product = q[d]! * keys[j * keyDim + d]!;
      dot += product;
      size += Math.abs(product);
    }
    const score = dot * scale;
    scores[j - first] = softcap === 0 ? score : softcapRef64(score, softcap);
    scoreSize = Math.max(scoreSize, size * Math.abs(scale));
  }
  const weights = softmax64(scores);
  const out = new Array<number>(valueDim).fill(0);
  const size = new Array<number>(valueDim).fill(0);
  for (let j = first; j < n; ++j) {
    for (let d = 0; d < valueDim; ++d) {
      const term = weights[j - first]! * values[j * valueDim + d]!;
      out[d]! += term;
      size[d]! += Math.abs(term);
    }
  }
  return { out, size, weights, scoreSize };
}
