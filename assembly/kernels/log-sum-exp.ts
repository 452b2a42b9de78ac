/**
 * log-softmax pieces over a row of logits, for log-probabilities and sampling weights.
 * Terms are f32 exps, summed in f64 in ascending order, so that the scalar twin has the same bits.
 */

import { log64 } from "./double";
import { exp1, exp4 } from "./exp";

/** Largest of n f32 (n >= 1). */
export function maxRow(x: usize, n: u32): f32 {
  let best = load<f32>(x);
  for (let i: u32 = 1; i < n; ++i) {
    const value = load<f32>(x + (i << 2));
    if (value > best) best = value;
  }
  return best;
}

/** In place: x[i] = exp((x[i] - max) * invTemperature); returns the sum, f64, ascending. */
export function expWeights(x: usize, n: u32, max: f32, invTemperature: f32): f64 {
  let sum: f64 = 0;
  let i: u32 = 0;
  const vmax = f32x4.splat(max);
  const vinv = f32x4.splat(invTemperature);
  for (; i + 4 <= n; i += 4) {
    const ptr = x + (i << 2);
    const w = exp4(f32x4.mul(f32x4.sub(v128.load(ptr), vmax), vinv));
    v128.store(ptr, w);
    sum += <f64>f32x4.extract_lane(w, 0);
    sum += <f64>f32x4.extract_lane(w, 1);
    sum += <f64>f32x4.extract_lane(w, 2);
    sum += <f64>f32x4.extract_lane(w, 3);
  }
  return expWeightsTail(x, i, n, max, invTemperature, sum);
}

function expWeightsTail(x: usize, i: u32, n: u32, max: f32, invTemperature: f32, sum: f64): f64 {
  for (; i < n; ++i) {
    const ptr = x + (i << 2);
    const w = exp1((load<f32>(ptr) - max) * invTemperature);
    store<f32>(ptr, w);
    sum += <f64>w;
  }
  return sum;
}

export function expWeightsRef(x: usize, n: u32, max: f32, invTemperature: f32): f64 {
  return expWeightsTail(x, 0, n, max, invTemperature, 0);
}

/** ln sum exp(x[i]) of n f32, without changing them. */
export function logSumExp(x: usize, n: u32): f64 {
  const max = maxRow(x, n);
  const vmax = f32x4.splat(max);
  let sum: f64 = 0;
  let i: u32 = 0;
  for (; i + 4 <= n; i += 4) {
    const w = exp4(f32x4.sub(v128.load(x + (i << 2)), vmax));
    sum += <f64>f32x4.extract_lane(w, 0);
    sum += <f64>f32x4.extract_lane(w, 1);
    sum += <f64>f32x4.extract_lane(w, 2);
    sum += <f64>f32x4.extract_lane(w, 3);
  }
  for (; i < n; ++i) sum += <f64>exp1(load<f32>(x + (i << 2)) - max);
  return <f64>max + log64(sum);
}

export function logSumExpRef(x: usize, n: u32): f64 {
  const max = maxRow(x, n);
  let sum: f64 = 0;
  for (let i: u32 = 0; i < n; ++i) sum += <f64>exp1(load<f32>(x + (i << 2)) - max);
  return <f64>max + log64(sum);
}
