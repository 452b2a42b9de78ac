/**
 * What `host/sampler.ts` says it does, in the plainest form: whole-vocabulary lists, a full sort, f64 and `Math.exp`.
 * Only the stores that the sampler documents as f32 round here too.
 * @module
 */

import type { SamplerKernels } from "../../host/sampler.ts";
import type { ResolvedSampling } from "../../host/sampling-options.ts";

/** The tokens that can be drawn, in the order the draw walks them, with their probabilities at the temperature. */
export interface Candidates {
  readonly ids: number[];
  readonly probabilities: number[];
  /** How near a top-p or min-p decision was to going the other way, in probability relative to the total or the top. */
  readonly margin: number;
}

/** Steps 1 to 6. Temperature 0 gives the one best token. Empty when every token is banned. */
export function candidatesRef(
  logits: ArrayLike<number>,
  options: ResolvedSampling,
  history: readonly number[] = [],
  mask?: Uint32Array,
): Candidates {
  const adjusted = adjustRef(logits, options, history, mask);
  const possible = adjusted.map((logit, id) => ({ id, logit })).filter(({ logit }) => logit > -Infinity);
  const sorted = [...possible].sort((a, b) => b.logit - a.logit || a.id - b.id);
  if (sorted.length === 0) return { ids: [], probabilities: [], margin: Infinity };
  if (options.temperature === 0) return { ids: [sorted[0]!.id], probabilities: [1], margin: Infinity };

  let margin = Infinity;
  let kept = options.topK > 0 ? sorted.slice(0, options.topK) : sorted;
  const max = sorted[0]!.logit;
  if (options.topP < 1) {
    const weights = kept.map(({ logit }) => Math.exp(logit - max));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    let reached = 0;
    let n = 0;
    do {
      reached += weights[n++]! / total;
      margin = Math.min(margin, Math.abs(reached - options.topP));
    } while (reached < options.topP && n < kept.length);
    kept = kept.slice(0, n);
  }
  if (options.minP > 0) {
    // The most likely token is always in: only the others have a decision that could be near.
    for (const { logit } of kept) {
      if (logit < max) margin = Math.min(margin, Math.abs(Math.exp(logit - max) - options.minP));
    }
    kept = kept.filter(({ logit }) => logit === max || Math.exp(logit - max) >= options.minP);
  }
  if (options.topK === 0 && options.topP === 1) kept = [...kept].sort((a, b) => a.id - b.id);
  const weights = kept.map(({ logit }) => Math.exp((logit - max) / options.temperature));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return { ids: kept.map(({ id }) => id), probabilities: weights.map((weight) => weight / total), margin };
}

/** Steps 1 and 2. */
function adjustRef(
  logits: ArrayLike<number>,
  options: ResolvedSampling,
  history: readonly number[],
  mask: Uint32Array | undefined,
): number[] {
  const bias = new Map(options.logitBias);
  const lastN = options.penaltyLastN;
  const recent = lastN < 0 ? history : lastN === 0 ? [] : history.slice(-lastN);
  return Array.from(logits, (logit, id) => {
    if (mask !== undefined && Math.floor(mask[Math.floor(id / 32)]! / 2 ** (id % 32)) % 2 === 0) return -Infinity;
    let value = Math.fround(logit + (bias.get(id) ?? 0));
    const count = recent.filter((token) => token === id).length;
    if (count > 0) {
      value = value > 0 ? value / options.repetitionPenalty : value * options.repetitionPenalty;
      value = Math.fround(value - (count * options.frequencyPenalty + options.presencePenalty));
    }
    return value;
  });
}

/** ln(softmax) of the logits as they came. */
export function logSoftmaxRef(logits: ArrayLike<number>): number[] {
  const values = Array.from(logits);
  const max = Math.max(...values);
  const logSum = Math.log(values.reduce((sum, value) => sum + Math.exp(value - max), 0));
  return values.map((value) => value - max - logSum);
}

/** The engine's part in plain JavaScript; f32 in the same places. Poisoned past n, so that nothing there may count. */
export function mockKernels(vocabSize: number): SamplerKernels {
  const memory = new Float32Array(vocabSize + 5).fill(Number.NaN);
  return {
    scratch: () => memory.subarray(),
    expInPlace(n, max, invTemperature) {
      let sum = 0;
      for (let i = 0; i < n; ++i) {
        memory[i] = Math.exp(Math.fround(Math.fround(memory[i]! - max) * invTemperature));
        sum += memory[i]!;
      }
      return sum;
    },
    log: Math.log,
  };
}
