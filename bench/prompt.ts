/**
 * What both sides of a comparison agree on: the tokens they read and the measures they give.
 *
 * Prompt: a linear congruential generator (Numerical Recipes), state(i + 1) = state(i) * 1664525 + 1013904223 mod 2^32
 * from SEED; token i = LOWEST_TOKEN + floor(state(i + 1) * (vocabSize - LOWEST_TOKEN) / 2^32). A shorter prompt is a
 * prefix of a longer one. The lowest ids are left out: they are control tokens in the vocabularies we use.
 */

const SEED = 2463534242;
const LOWEST_TOKEN = 32;

/** Vocabulary of SmolLM2, for runtimes that do not tell. */
export const SMOLLM2_VOCABULARY = 49152;

/** The first `n` tokens of the one benchmark prompt, valid in a vocabulary of `vocabSize`. */
export function promptTokens(n: number, vocabSize: number): Uint32Array {
  const tokens = new Uint32Array(n);
  let state = SEED;
  for (let i = 0; i < n; ++i) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    tokens[i] = LOWEST_TOKEN + Math.floor((state * (vocabSize - LOWEST_TOKEN)) / 2 ** 32);
  }
  return tokens;
}

/** One runtime with one model loaded. */
export interface Measurer {
  readonly name: string;
  /** Seconds to read the first `n` prompt tokens into an empty cache, up to and including the logits of the last one. */
  prefill(n: number): Promise<number>;
  /**
   * Tokens per second of `nTokens` greedy steps (forward pass and argmax) behind a prompt of `nContext` tokens. What an
   * earlier call left of the prompt in the cache is used again.
   */
  decode(nContext: number, nTokens: number): Promise<number>;
  close(): Promise<void> | void;
}
