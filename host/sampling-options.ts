/**
 * What a caller may say about sampling, with every default, and the check that turns it into complete, valid numbers.
 * What each number does, and in which order, is in `sampler.ts`.
 * @module
 */

import type { ThimbleError } from "./errors.ts";
import { wrongOption } from "./options.ts";
import { MAX_SEED } from "./random.ts";

/** The largest count an option takes; it fits an i32. */
const MAX_COUNT = 0x7fffffff;

/** Token id to the number added to its logit: -100..100, or -Infinity to ban the token. */
export type LogitBias = ReadonlyMap<number, number> | Readonly<Record<number, number>>;

/** All optional; undefined means the default. */
export interface SamplingOptions {
  /** Logits are divided by it, last of all: 0.001..100, or 0 for greedy. Default 0.7. */
  readonly temperature?: number | undefined;
  /** Keep the k most likely tokens: an integer from 1, or 0 for all. Default 40. */
  readonly topK?: number | undefined;
  /** Keep the fewest most likely tokens that reach this probability together: 0..1; 1 is off. Default 0.95. */
  readonly topP?: number | undefined;
  /** Keep tokens at least this probable relative to the most likely one: 0..1; 0 is off. Default 0.05. */
  readonly minP?: number | undefined;
  /** Positive logits of recent tokens are divided by it, the others multiplied: 0.1..10; 1 is off. Default 1. */
  readonly repetitionPenalty?: number | undefined;
  /** Taken once from the logit of every recent token: -2..2; 0 is off. Default 0. */
  readonly presencePenalty?: number | undefined;
  /** Taken from the logit of a recent token once for each occurrence: -2..2; 0 is off. Default 0. */
  readonly frequencyPenalty?: number | undefined;
  /** How many of the last tokens, prompt included, are "recent": an integer from 0, or -1 for all. Default 64. */
  readonly penaltyLastN?: number | undefined;
  /** Added to logits before anything else. Default none. */
  readonly logitBias?: LogitBias | undefined;
  /** An integer in 0..2^53-1. The same seed gives the same tokens. Default: drawn from the host's crypto. */
  readonly seed?: number | undefined;
  /** Report the token's log-probability and this many most likely alternatives: 0..20. Default: report nothing. */
  readonly logprobs?: number | undefined;
}

/** Complete and valid. `seed` is always known, so that a run can be repeated. */
export interface ResolvedSampling {
  readonly vocabSize: number;
  readonly temperature: number;
  /** Below vocabSize; 0 is off. */
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly repetitionPenalty: number;
  readonly presencePenalty: number;
  readonly frequencyPenalty: number;
  readonly penaltyLastN: number;
  /** (token id, bias), ascending by id. */
  readonly logitBias: readonly (readonly [id: number, bias: number])[];
  readonly seed: number;
  /** Number of alternatives; undefined when no log-probability is wanted. */
  readonly logprobs: number | undefined;
}

/**
 * Fills in the defaults for a vocabulary of `vocabSize` tokens. Properties it does not know are ignored.
 * @throws ThimbleError invalid_option naming the option and its range
 */
export function resolveSampling(options: SamplingOptions, vocabSize: number): ResolvedSampling {
  const { temperature = 0.7, topK = 40, topP = 0.95, minP = 0.05, logitBias, seed, logprobs } = options;
  const { repetitionPenalty = 1, presencePenalty = 0, frequencyPenalty = 0, penaltyLastN = 64 } = options;
  checkInteger("vocabSize", vocabSize, 1, MAX_COUNT);
  checkInteger("topK", topK, 0, MAX_COUNT);
  return {
    vocabSize,
    temperature:
      temperature === 0 ? 0 : checkNumber("temperature", temperature, 0.001, 100, "0 for greedy, or a number"),
    topK: topK < vocabSize ? topK : 0,
    topP: checkNumber("topP", topP, 0, 1),
    minP: checkNumber("minP", minP, 0, 1),
    repetitionPenalty: checkNumber("repetitionPenalty", repetitionPenalty, 0.1, 10),
    presencePenalty: checkNumber("presencePenalty", presencePenalty, -2, 2),
    frequencyPenalty: checkNumber("frequencyPenalty", frequencyPenalty, -2, 2),
    penaltyLastN: checkInteger("penaltyLastN", penaltyLastN, -1, MAX_COUNT),
    logitBias: logitBias === undefined ? [] : resolveBias(logitBias, vocabSize),
    seed: seed === undefined ? randomSeed() : checkInteger("seed", seed, 0, MAX_SEED),
    logprobs: logprobs === undefined ? undefined : checkInteger("logprobs", logprobs, 0, 20),
  };
}

function resolveBias(bias: LogitBias, vocabSize: number): [number, number][] {
  if (typeof bias !== "object" || bias === null || Array.isArray(bias)) {
    throw invalid("logitBias", "a Map or a record from token id to bias", bias);
  }
  const entries: Iterable<[number | string, number]> = bias instanceof Map ? bias : Object.entries(bias);
  const resolved: [number, number][] = [];
  for (const [key, value] of entries) {
    // A record's keys are strings: only the usual spelling of a number counts, so that two keys never name one id.
    const id = typeof key === "string" && String(Number(key)) === key ? Number(key) : key;
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id >= vocabSize) {
      throw invalid("logitBias", `keyed by token ids in 0..${vocabSize - 1}`, key);
    }
    if (value !== -Infinity) checkNumber(`logitBias[${id}]`, value, -100, 100, "-Infinity, or a number");
    resolved.push([id, value]);
  }
  return resolved.sort(([a], [b]) => a - b);
}

/** 53 bits from the host; the only input of sampling that differs between two runs, and it is reported as `seed`. */
function randomSeed(): number {
  const [high, low] = crypto.getRandomValues(new Uint32Array(2));
  return (high! >>> 11) * 0x100000000 + low!;
}

function checkNumber(name: string, value: number, min: number, max: number, kind = "a number"): number {
  // Written so that NaN fails.
  if (typeof value !== "number" || !(value >= min && value <= max))
    throw invalid(name, `${kind} in ${min}..${max}`, value);
  return value;
}

function checkInteger(name: string, value: number, min: number, max: number): number {
  if (!Number.isInteger(value)) throw invalid(name, `an integer in ${min}..${max}`, value);
  return checkNumber(name, value, min, max, "an integer");
}

function invalid(name: string, allowed: string, value: unknown): ThimbleError {
  const shown = typeof value === "string" ? JSON.stringify(value) : String(value);
  return wrongOption(name, `${name} must be ${allowed}, got ${shown}`);
}
