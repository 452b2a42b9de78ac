/**
 * One turn: prefill what the cache does not hold, then sample, stream and append tokens until something ends it.
 * @module
 */
import { createDetokenizer } from "./detokenizer.ts";
import type { Engine } from "./engine.ts";
import { ThimbleError } from "./errors.ts";
import type { Model } from "./model.ts";
import { checkInteger } from "./options.ts";
import { createSampler, type Sampled, type SamplerKernels } from "./sampler.ts";
import { resolveSampling, type SamplingOptions } from "./sampling-options.ts";
import { createStopMatcher } from "./stop.ts";

export interface GenerateOptions extends SamplingOptions {
  /** Most tokens to generate. Default 1024; the context is a limit besides. 0 only evaluates the prompt. */
  readonly maxTokens?: number | undefined;
  /** Texts that end the turn; they are not part of the result. */
  readonly stop?: readonly string[] | undefined;
  /** Go on past the model's end-of-turn tokens. Default false. */
  readonly ignoreEos?: boolean | undefined;
  /** Write control tokens into the text. Default false. */
  readonly special?: boolean | undefined;
  /** Bit (id & 31) of word (id >> 5) is 1 where a token is allowed. */
  readonly mask?: Uint32Array | undefined;
  /** Ends the turn; iterating then throws the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** Called after every chunk of the prompt: tokens evaluated so far and in all. */
  readonly onPrefill?: ((done: number, total: number) => void) | undefined;
}

/** "stop": end-of-turn token or stop text; "length": `maxTokens` or the context was reached. */
export type FinishReason = "stop" | "length";

export interface GenerationResult {
  readonly text: string;
  /** All ids before the completion, earlier turns included. */
  readonly promptIds: readonly number[];
  /** Generated ids; the end-of-turn token that ended the turn is not among them. */
  readonly completionIds: readonly number[];
  readonly finishReason: FinishReason;
  readonly usage: {
    readonly promptTokens: number;
    /** Prompt tokens that were in the cache and not computed again. */
    readonly reusedTokens: number;
    readonly completionTokens: number;
  };
  readonly timings: {
    readonly prefillMs: number;
    readonly decodeMs: number;
    /** Tokens computed in prefill, a second; 0 when there was none. */
    readonly prefillPerSecond: number;
    readonly decodePerSecond: number;
  };
  /** The seed in force, to repeat the turn. */
  readonly seed: number;
  /** With `logprobs` only: one entry for each completion id. */
  readonly logprobs?: readonly Sampled[];
}

/** The pieces of a turn as they come, and its result once they have all been read. */
export class Generation implements AsyncIterable<string> {
  /** Settles when iteration ends: with the result, or with what iteration threw. */
  readonly result: Promise<GenerationResult>;
  readonly #start: () => AsyncGenerator<string, GenerationResult>;
  #settle!: { resolve: (result: GenerationResult) => void; reject: (reason: unknown) => void };
  #started = false;

  constructor(start: () => AsyncGenerator<string, GenerationResult>) {
    this.#start = start;
    this.result = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    this.result.catch(() => {}); // a caller who only iterates sees the error there
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<string, void> {
    if (this.#started) throw new ThimbleError("busy", "a generation can be iterated once");
    this.#started = true;
    try {
      this.#settle.resolve(yield* this.#start());
    } catch (reason) {
      this.#settle.reject(reason);
      throw reason;
    } finally {
      this.#settle.reject(new DOMException("the turn was ended before it was complete", "AbortError"));
    }
  }
}

/** A session's cache as a turn sees it: `tokens` is kept in step with what the engine holds. */
export interface SessionCache {
  readonly address: number;
  readonly tokens: number[];
  /** The session was closed while the turn waited. */
  isClosed(): boolean;
}

/** Runs the sequence `ids` and what follows it. @throws ThimbleError, or the signal's reason; see `Session.generate` */
export async function* runTurn(
  model: Model,
  cache: SessionCache,
  ids: readonly number[],
  options: GenerateOptions,
): AsyncGenerator<string, GenerationResult> {
  const { engine, platform, tokenizer } = model;
  const maxTokens = checkInteger("maxTokens", options.maxTokens ?? 1024, 0, Number.MAX_SAFE_INTEGER);
  const sampling = resolveSampling(options, tokenizer.vocabSize);
  const sampler = createSampler(sampling, samplerKernels(engine));
  const stops = createStopMatcher(options.stop ?? []);
  const detokenizer = createDetokenizer(tokenizer, { special: options.special ?? false });
  const check = (): void => {
    options.signal?.throwIfAborted();
    if (cache.isClosed()) throw new ThimbleError("closed", "the session was closed during the turn");
  };
  check();
  checkLength(engine, ids);

  const reused = Math.min(commonPrefix(cache.tokens, ids), ids.length - 1);
  const completionIds: number[] = [];
  const samples: Sampled[] = [];
  let text = "";
  let finishReason: FinishReason = "length";
  let isComplete = false;
  const start = platform.now();
  try {
    truncate(engine, cache, reused);
    const history = [...ids];
    // Logits are sampled before the next pause: another session may use the engine then.
    const sample = (): Sampled =>
      sampler.sample(engine.logits(0).subarray(0, tokenizer.vocabSize), history, options.mask);
    let sampled: Sampled | undefined;
    for (let at = reused; at < ids.length; at += engine.sizes.maxRows) {
      const wantLogits = at + engine.sizes.maxRows >= ids.length && maxTokens > 0;
      extend(engine, cache, ids.slice(at, at + engine.sizes.maxRows), wantLogits);
      if (wantLogits) sampled = sample();
      options.onPrefill?.(cache.tokens.length - reused, ids.length - reused);
      await platform.pause();
      check();
    }
    const prefillMs = platform.now() - start;

    let stopped: string | undefined;
    while (sampled !== undefined) {
      if (!options.ignoreEos && tokenizer.eosIds.includes(sampled.id)) {
        finishReason = "stop";
        break;
      }
      completionIds.push(sampled.id);
      history.push(sampled.id);
      if (sampling.logprobs !== undefined) samples.push(sampled);
      const match = stops.push(detokenizer.push(sampled.id));
      stopped = match.stopped;
      text += match.text;
      if (match.text !== "") {
        yield match.text;
        check();
      }
      if (stopped !== undefined) {
        finishReason = "stop";
        break;
      }
      if (completionIds.length === maxTokens || history.length > engine.sizes.contextLength) break;
      extend(engine, cache, [sampled.id], true);
      sampled = sample();
      await platform.pause();
      check();
    }
    if (stopped === undefined) {
      const last = stops.push(detokenizer.flush());
      const rest = last.text + (last.stopped === undefined ? stops.flush() : "");
      text += rest;
      if (rest !== "") yield rest;
    }
    const decodeMs = platform.now() - start - prefillMs;
    isComplete = true;
    return {
      text,
      promptIds: ids,
      completionIds,
      finishReason,
      usage: { promptTokens: ids.length, reusedTokens: reused, completionTokens: completionIds.length },
      timings: {
        prefillMs,
        decodeMs,
        prefillPerSecond: perSecond(ids.length - reused, prefillMs),
        decodePerSecond: perSecond(completionIds.length, decodeMs),
      },
      seed: sampling.seed,
      ...(sampling.logprobs === undefined ? {} : { logprobs: samples }),
    };
  } finally {
    // What the turn put into the cache goes; what it cut away is computed again when it is needed.
    if (!isComplete && !cache.isClosed()) truncate(engine, cache, reused);
  }
}

function checkLength(engine: Engine, ids: readonly number[]): void {
  if (ids.length === 0) throw new ThimbleError("empty_prompt", "there is no token to evaluate; give a prompt");
  const { contextLength } = engine.sizes;
  if (ids.length <= contextLength) return;
  throw new ThimbleError(
    "context_length_exceeded",
    `the prompt and the turns before it are ${ids.length} tokens; the context holds ${contextLength}`,
    { needed: ids.length, available: contextLength },
  );
}

function commonPrefix(a: readonly number[], b: readonly number[]): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; ++i) if (a[i] !== b[i]) return i;
  return length;
}

function truncate(engine: Engine, cache: SessionCache, length: number): void {
  engine.runtime.exports.sessionTruncate(cache.address, length);
  cache.tokens.length = Math.min(cache.tokens.length, length);
}

/** Appends tokens to the cache; with `wantLogits`, output 0 has the logits of the last one. */
function extend(engine: Engine, cache: SessionCache, ids: readonly number[], wantLogits: boolean): void {
  const position = cache.tokens.length;
  engine.forward(
    ids.map((input, i) => ({
      session: cache.address,
      input,
      position: position + i,
      logits: wantLogits && i === ids.length - 1,
    })),
  );
  cache.tokens.push(...ids);
}

function samplerKernels({ runtime, config }: Engine): SamplerKernels {
  const { exports } = runtime;
  return {
    scratch: () => runtime.floats(exports.scratchAddress(), config.vocabSize),
    expInPlace: (n, max, inverse) => exports.expWeights(exports.scratchAddress(), n, max, inverse),
    log: (x) => exports.log64(x),
  };
}

function perSecond(tokens: number, ms: number): number {
  return ms > 0 ? (tokens * 1000) / ms : 0;
}
