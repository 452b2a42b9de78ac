/**
 * How the sampler's tests drive it: given random numbers instead of a generator, logits as plain lists.
 * @module
 */

import * as assert from "uvu/assert";
import { ThimbleError, type ThimbleErrorCode } from "../../host/errors.ts";
import type { Random } from "../../host/random.ts";
import { createSampler } from "../../host/sampler.ts";
import { resolveSampling, type SamplingOptions } from "../../host/sampling-options.ts";
import { mockKernels } from "../oracle/sampling.ts";

/** Everything off: the model's own distribution. Each test turns on what it is about. */
export const PLAIN = { temperature: 1, topK: 0, topP: 1, minP: 0, seed: 1 } as const;
export const GREEDY = { ...PLAIN, temperature: 0 } as const;
/** The largest number a generator gives. */
export const ALMOST_ONE = 1 - 2 ** -53;

export interface Setting {
  readonly history?: readonly number[];
  readonly mask?: Uint32Array;
}

/** Chooses a token for each of the given random numbers. */
export function choose(
  numbers: readonly number[],
  logits: readonly number[],
  options: SamplingOptions,
  at: Setting = {},
) {
  let next = 0;
  const random: Random = { next: () => numbers[next]!, state: () => [], restore: () => {} };
  const sampler = createSampler(resolveSampling(options, logits.length), mockKernels(logits.length), random);
  return numbers.map((_, i) => {
    next = i;
    return sampler.sample(Float32Array.from(logits), at.history ?? [], at.mask).id;
  });
}

/** The bitmask of the tokens marked true. */
export function maskOf(allowed: readonly boolean[]): Uint32Array {
  const mask = new Uint32Array(Math.ceil(allowed.length / 32));
  for (const [id, yes] of allowed.entries()) if (yes) mask[id >>> 5]! |= 1 << (id & 31);
  return mask;
}

export function throwsCode(code: ThimbleErrorCode, text: RegExp, call: () => unknown): void {
  assert.throws(
    call,
    (error: unknown) => error instanceof ThimbleError && error.code === code && text.test(error.message),
  );
}
