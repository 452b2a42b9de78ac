/**
 * From logits to one token id. The steps, in llama.cpp's default order; each sees what the one before it left:
 *
 *   1. bias, mask   l[i] += bias[i];  l[i] = -Infinity where the mask has no bit
 *   2. penalties    for each distinct token of the last N of the history, seen c times:
 *                   l = (l > 0 ? l / repetition : l * repetition) - (c * frequency + presence)
 *   3. greedy       temperature 0: the highest logit, and that is all; no random number is taken
 *   4. top-k        the k highest logits
 *   5. top-p        with w = exp(l - max) over what top-k left: the shortest run from the highest down whose sum
 *                   reaches p * (sum of w); never empty
 *   6. min-p        l - max >= ln(minP), that is p[i] >= minP * p[max]
 *   7. draw         w = exp((l - max) / temperature); the first i whose running sum exceeds u * (sum of w), u from the
 *                   generator (one number a token); from the highest logit down, or by id when neither top-k nor top-p
 *                   is on
 *
 * Equal logits rank by the lower id. A token at -Infinity is never chosen. Biased and penalised logits are stored as
 * f32, sums are f64. No `Math` function whose result a host may choose takes part: exp and log come from the engine.
 *
 * Log-probabilities are the log-softmax of the logits as they came, before step 1 and without temperature, as
 * llama.cpp's server reports them by default: they describe the model, not the options.
 *
 * Cost: a scan for the maximum, then a heap of k over the logits (top-k), or all weights and a scan per floor (top-p
 * alone); never a sort of the vocabulary unless the nucleus is as large. Penalties count the last N anew for each token:
 * nothing to undo when a session is rolled back.
 * @module
 */

import { ThimbleError } from "./errors.ts";
import { wrongOption } from "./options.ts";
import { createRandom, type Random } from "./random.ts";
import type { ResolvedSampling } from "./sampling-options.ts";
import { selectTop, sortBestFirst } from "./top-ids.ts";

/** The arithmetic that decides tokens, done by the engine so that its bits are the same everywhere. */
export interface SamplerKernels {
  /**
   * Scratch of at least vocabSize f32 in wasm memory; taken anew at each call since memory may grow. The call itself
   * must not grow it: the logits are a view of the same memory.
   */
  scratch(): Float32Array;
  /**
   * In place over the first n scratch values: x -> exp((x - max) * invTemperature); returns the sum in f64 added in
   * ascending order. -Infinity gives exactly 0, and max gives exactly 1. All values are at most max, which is finite.
   */
  expInPlace(n: number, max: number, invTemperature: number): number;
  /** Natural logarithm in f64, same bits everywhere. Asked for values > 0 only. */
  log(x: number): number;
}

export interface TokenLogprob {
  readonly id: number;
  /** Natural logarithm of the model's probability. */
  readonly logprob: number;
}

export interface Sampled {
  readonly id: number;
  /** With `logprobs` only: that of `id`. */
  readonly logprob?: number;
  /** With `logprobs` only: that many most likely tokens, best first; fewer when fewer are possible. */
  readonly top?: readonly TokenLogprob[];
}

export interface Sampler {
  /** The generator of the draws; its state is the sampler's only memory from token to token. */
  readonly random: Random;
  /**
   * Chooses the next token.
   * @param logits vocabSize values, a view of wasm memory; modified in place
   * @param history all tokens so far, prompt included; ids outside the vocabulary are skipped
   * @param mask bit (id & 31) of word (id >> 5) is 1 where the token is allowed; at least vocabSize bits
   * @throws ThimbleError invalid_option when bias and mask leave no token, or the mask is too short; internal when a
   * logit that they left is NaN or Infinity: a damaged file or a defect, never sampled around
   */
  sample(logits: Float32Array, history: ArrayLike<number>, mask?: Uint32Array): Sampled;
}

/**
 * A sampler with all its buffers: 4 bytes * vocabSize each for penalties, for top-p or min-p without top-k, and for
 * logprobs; 4 bytes * topK otherwise. `random` is for sharing a generator or continuing one.
 */
export function createSampler(
  options: ResolvedSampling,
  kernels: SamplerKernels,
  random: Random = createRandom(options.seed),
): Sampler {
  const { vocabSize, temperature, topK, topP, minP } = options;
  const penalises = options.repetitionPenalty !== 1 || options.presencePenalty !== 0 || options.frequencyPenalty !== 0;
  const counts = new Uint32Array(penalises ? vocabSize : 0);
  const ids = new Int32Array(topK > 0 ? topK : topP < 1 || minP > 0 ? vocabSize : 0);
  const rawLogits = new Float32Array(options.logprobs === undefined ? 0 : vocabSize);
  const topIds = new Int32Array(options.logprobs === undefined ? 0 : Math.min(options.logprobs, vocabSize));
  const inverse = temperature === 0 ? 0 : Math.fround(1 / temperature);
  const minGap = minP === 0 ? -Infinity : kernels.log(minP);

  return {
    random,
    sample(logits, history, mask) {
      if (logits.length !== vocabSize) {
        throw new ThimbleError("internal", `${logits.length} logits for a vocabulary of ${vocabSize}`);
      }
      const logSum = options.logprobs === undefined ? 0 : measureRaw(logits);
      adjust(logits, history, mask);
      const best = argmax(logits);
      if (best < 0) throw nothingAllowed(mask !== undefined || options.logitBias.length > 0);
      const id = temperature === 0 ? best : choose(logits, logits[best]!);
      if (options.logprobs === undefined) return { id };
      const top = Array.from(topIds.subarray(0, selectTop(rawLogits, topIds)), (at) => ({
        id: at,
        logprob: rawLogits[at]! - logSum,
      }));
      return { id, logprob: rawLogits[id]! - logSum, top };
    },
  };

  /** Keeps a copy of the logits and returns max + ln(sum of exp(l - max)). */
  function measureRaw(logits: Float32Array): number {
    const best = argmax(logits);
    if (best < 0) throw nothingAllowed(false);
    rawLogits.set(logits);
    kernels.scratch().set(logits);
    return logits[best]! + kernels.log(kernels.expInPlace(vocabSize, logits[best]!, 1));
  }

  /** Steps 1 and 2. */
  function adjust(logits: Float32Array, history: ArrayLike<number>, mask: Uint32Array | undefined): void {
    for (const [id, bias] of options.logitBias) logits[id] = logits[id]! + bias;
    if (mask !== undefined) applyMask(logits, mask);
    if (!penalises) return;
    const { penaltyLastN: lastN, repetitionPenalty, presencePenalty, frequencyPenalty } = options;
    const from = lastN < 0 ? 0 : Math.max(0, history.length - lastN);
    // A typed array drops what is written outside it: so do ids outside the vocabulary fall away.
    for (let i = from; i < history.length; ++i) counts[history[i]!]! += 1;
    for (let i = from; i < history.length; ++i) {
      const id = history[i]!;
      const count = counts[id] ?? 0;
      if (count === 0) continue; // outside the vocabulary, or done at an earlier occurrence
      counts[id] = 0;
      const logit = logits[id]!;
      const scaled = logit > 0 ? logit / repetitionPenalty : logit * repetitionPenalty;
      logits[id] = scaled - (count * frequencyPenalty + presencePenalty);
    }
  }

  /** Steps 4 to 7. */
  function choose(logits: Float32Array, max: number): number {
    const weights = kernels.scratch();
    if (topK === 0 && topP === 1 && minP === 0) {
      weights.set(logits);
      return draw(weights, vocabSize, max);
    }
    let n = 0;
    if (topK > 0) {
      n = selectTop(logits, ids);
      if (topP < 1) {
        for (let i = 0; i < n; ++i) weights[i] = logits[ids[i]!]!;
        const enough = topP * kernels.expInPlace(n, max, 1);
        let sum = weights[0]!;
        let kept = 1;
        while (kept < n && sum < enough) sum += weights[kept++]!;
        n = kept;
      }
      while (n > 1 && logits[ids[n - 1]!]! - max < minGap) n -= 1;
    } else if (topP < 1) {
      n = selectNucleus(logits, weights, max);
    } else {
      for (let id = 0; id < vocabSize; ++id) if (logits[id]! - max >= minGap) ids[n++] = id;
    }
    for (let i = 0; i < n; ++i) weights[i] = logits[ids[i]!]!;
    return ids[draw(weights, n, max)]!;
  }

  /**
   * Steps 5 and 6 without top-k: how many `ids`, best first. Only tokens above a floor are sorted (fewer than 256, then
   * 4,096, 65,536, then all), until they reach p together or what lies under the floor would fall to min-p anyway.
   */
  function selectNucleus(logits: Float32Array, weights: Float32Array, max: number): number {
    weights.set(logits);
    const total = kernels.expInPlace(vocabSize, max, 1);
    const enough = topP * total;
    for (let floor = total / 256; ; floor = floor > total / 65536 ? floor / 16 : 0) {
      const last = floor === 0 || floor < minP / 2;
      let n = 0;
      let sum = 0;
      for (let id = 0; id < vocabSize; ++id) {
        if (weights[id]! <= floor || logits[id]! - max < minGap) continue;
        sum += weights[id]!;
        ids[n++] = id;
      }
      if ((n === 0 || sum < enough) && !last) continue;
      sortBestFirst(logits, ids, n);
      let kept = 1;
      sum = weights[ids[0]!]!;
      while (kept < n && sum < enough) sum += weights[ids[kept++]!]!;
      if (sum >= enough || last) return kept;
    }
  }

  /** Step 7: the place of the chosen one among the first n scratch values, which are logits. */
  function draw(weights: Float32Array, n: number, max: number): number {
    const target = random.next() * kernels.expInPlace(n, max, inverse);
    let sum = 0;
    for (let i = 0; i < n; ++i) {
      sum += weights[i]!;
      if (sum > target) return i;
    }
    throw new ThimbleError("internal", "the sampling weights do not add up to their sum");
  }
}

/** The highest logit's id, the lowest of equals; -1 when all are -Infinity. */
function argmax(logits: Float32Array): number {
  let best = -1;
  let max = -Infinity;
  for (let id = 0; id < logits.length; ++id) {
    const logit = logits[id]!;
    if (logit <= max) continue;
    // Not below the maximum: above it, or NaN.
    if (!(logit < Infinity)) throw new ThimbleError("internal", `the logit of token ${id} is ${logit}`);
    max = logit;
    best = id;
  }
  return best;
}

function applyMask(logits: Float32Array, mask: Uint32Array): void {
  const nWords = (logits.length + 31) >>> 5;
  if (mask.length < nWords) {
    throw wrongOption("mask", `the mask needs ${nWords} words of 32 tokens, got ${mask.length}`, nWords, mask.length);
  }
  for (let word = 0; word < nWords; ++word) {
    const bits = mask[word]!;
    if (bits === 0) logits.fill(-Infinity, word << 5, (word + 1) << 5);
    else if (bits !== 0xffffffff) {
      const end = Math.min((word + 1) << 5, logits.length);
      for (let id = word << 5; id < end; ++id) if (((bits >>> (id & 31)) & 1) === 0) logits[id] = -Infinity;
    }
  }
}

function nothingAllowed(byOptions: boolean): ThimbleError {
  return byOptions
    ? wrongOption("mask", "no token is allowed: the mask and the logit bias ban them all")
    : new ThimbleError("internal", "every logit is -Infinity");
}
