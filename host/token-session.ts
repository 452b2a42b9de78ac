/**
 * A session on token ids alone: ids in, sampled ids out, over a cache that grows, is cut back and filled again as turns
 * need it. It knows no text. An unfinished turn leaves the session as it was: the journal of an append-only cache is its
 * length.
 * @module
 */
import type { Engine } from "./engine.ts";
import { ThimbleError } from "./errors.ts";
import { checkInteger } from "./options.ts";
import type { Platform } from "./platform.ts";
import { createSampler, type Sampled, type SamplerKernels } from "./sampler.ts";
import { resolveSampling, type SamplingOptions } from "./sampling-options.ts";

export interface TokenOptions extends SamplingOptions {
  /** Most tokens to generate. Default 1024; the context is a limit besides. 0 only evaluates the prompt. */
  readonly maxTokens?: number | undefined;
  /** Bit (id & 31) of word (id >> 5) is 1 where a token is allowed. */
  readonly mask?: Uint32Array | undefined;
  /** Ends the turn; iterating then throws the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** Called after every chunk of the prompt: tokens evaluated so far and in all. */
  readonly onPrefill?: ((done: number, total: number) => void) | undefined;
}

/** What the caller knows of the vocabulary. */
export interface Vocabulary {
  /** Ids that may be sampled are below it. */
  readonly size: number;
  /** Ids that end a turn. */
  readonly eosIds: readonly number[];
}

/** "stop": end-of-turn token, or the caller said so; "length": `maxTokens` or the context was reached. */
export type FinishReason = "stop" | "length";

/** How a turn went. */
export interface TokenTurn {
  readonly finishReason: FinishReason;
  /** Generated ids; the end-of-turn token that ended the turn is not among them. */
  readonly completionIds: readonly number[];
  /** Prompt tokens that were in the cache and not computed again. */
  readonly reusedTokens: number;
  readonly prefillMs: number;
  readonly decodeMs: number;
  /** The seed in force, to repeat the turn. */
  readonly seed: number;
}

export class TokenSession {
  readonly #engine: Engine;
  readonly #host: Pick<Platform, "pause" | "now">;
  readonly #address: number;
  /** Tokens whose keys and values the cache holds, in order. */
  readonly #cached: number[] = [];
  #tokens: readonly number[] = [];
  #busy = false;
  #closed = false;

  /** @throws ThimbleError out_of_memory */
  constructor(engine: Engine, host: Pick<Platform, "pause" | "now">) {
    this.#engine = engine;
    this.#host = host;
    this.#address = engine.openSession();
  }

  /** All tokens of the finished turns. */
  get tokens(): readonly number[] {
    return this.#tokens;
  }

  /** Tokens whose keys and values are in the cache. */
  get cachedTokens(): number {
    return this.#cached.length;
  }

  /** Pages the cache holds. */
  get pages(): number {
    return this.#closed ? 0 : this.#engine.runtime.exports.sessionPages(this.#address);
  }

  /**
   * Runs the whole sequence `ids`, computing only what the cache does not hold of it, and yields the tokens sampled after
   * it. `next(true)` ends the turn with "stop"; leaving the loop otherwise undoes it.
   * @throws ThimbleError closed, busy, context_length_exceeded, empty_prompt, invalid_option, out_of_memory; the signal's
   * reason when aborted
   */
  async *generate(
    ids: readonly number[],
    vocabulary: Vocabulary,
    options: TokenOptions,
  ): AsyncGenerator<Sampled, TokenTurn, boolean | undefined> {
    if (this.#closed) throw new ThimbleError("closed", "the session is closed");
    if (this.#busy) throw new ThimbleError("busy", "the session is generating; wait for the turn to end");
    const maxTokens = checkInteger("maxTokens", options.maxTokens ?? 1024, 0, Number.MAX_SAFE_INTEGER);
    const sampling = resolveSampling(options, vocabulary.size);
    const sampler = createSampler(sampling, samplerKernels(this.#engine));
    this.#checkIds(ids);
    this.#check(options.signal);
    const { contextLength, maxRows } = this.#engine.sizes;
    let reused = Math.min(commonPrefix(this.#cached, ids), ids.length - 1);
    const completionIds: number[] = [];
    let finishReason: FinishReason = "length";
    let isComplete = false;
    this.#busy = true;
    const start = this.#host.now();
    try {
      reused = this.#truncate(reused);
      const history = [...ids];
      // Logits are sampled before the next pause: another session may use the engine then.
      const sample = (): Sampled =>
        sampler.sample(this.#engine.logits(0).subarray(0, vocabulary.size), history, options.mask);
      let sampled: Sampled | undefined;
      for (let at = reused; at < ids.length; at += maxRows) {
        const wantLogits = at + maxRows >= ids.length && maxTokens > 0;
        this.#extend(ids.slice(at, at + maxRows), wantLogits);
        if (wantLogits) sampled = sample();
        options.onPrefill?.(this.#cached.length - reused, ids.length - reused);
        await this.#host.pause();
        this.#check(options.signal);
      }
      const prefillMs = this.#host.now() - start;
      while (sampled !== undefined) {
        if (vocabulary.eosIds.includes(sampled.id)) {
          finishReason = "stop";
          break;
        }
        completionIds.push(sampled.id);
        history.push(sampled.id);
        const isEnd = yield sampled;
        this.#check(options.signal);
        if (isEnd === true) {
          finishReason = "stop";
          break;
        }
        if (completionIds.length === maxTokens || history.length > contextLength) break;
        this.#extend([sampled.id], true);
        sampled = sample();
        await this.#host.pause();
        this.#check(options.signal);
      }
      isComplete = true;
      this.#tokens = history;
      const decodeMs = this.#host.now() - start - prefillMs;
      return { finishReason, completionIds, reusedTokens: reused, prefillMs, decodeMs, seed: sampling.seed };
    } finally {
      this.#busy = false;
      // What the turn put into the cache goes; what it cut away is computed again when it is needed.
      if (!isComplete && !this.#closed) this.#truncate(reused);
    }
  }

  /** Frees the pages; they are zeroed before anyone else gets them. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#cached.length = 0;
    this.#engine.runtime.exports.sessionClose(this.#address);
  }

  #check(signal: AbortSignal | undefined): void {
    signal?.throwIfAborted();
    if (this.#closed) throw new ThimbleError("closed", "the session was closed during the turn");
  }

  #checkIds(ids: readonly number[]): void {
    if (ids.length === 0) throw new ThimbleError("empty_prompt", "there is no token to evaluate; give a prompt");
    const { vocabSize } = this.#engine.config;
    const bad = ids.find((id) => !Number.isInteger(id) || id < 0 || id >= vocabSize);
    if (bad !== undefined) {
      throw new ThimbleError("invalid_option", `token id ${bad} is not an integer from 0 to ${vocabSize - 1}`, {
        name: "ids",
      });
    }
    const { contextLength } = this.#engine.sizes;
    if (ids.length <= contextLength) return;
    throw new ThimbleError(
      "context_length_exceeded",
      `the prompt and the turns before it are ${ids.length} tokens; the context holds ${contextLength}`,
      { needed: ids.length, available: contextLength },
    );
  }

  /** The length it could go back to: layers with a sliding window may have to start again. */
  #truncate(length: number): number {
    this.#cached.length = this.#engine.runtime.exports.sessionTruncate(this.#address, length);
    return this.#cached.length;
  }

  /** Appends tokens to the cache; with `wantLogits`, output 0 has the logits of the last one. */
  #extend(ids: readonly number[], wantLogits: boolean): void {
    const position = this.#cached.length;
    this.#engine.forward(
      ids.map((input, i) => ({
        session: this.#address,
        input,
        position: position + i,
        logits: wantLogits && i === ids.length - 1,
      })),
    );
    this.#cached.push(...ids);
  }
}

function commonPrefix(a: readonly number[], b: readonly number[]): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; ++i) if (a[i] !== b[i]) return i;
  return length;
}

function samplerKernels({ runtime, config }: Engine): SamplerKernels {
  const { exports } = runtime;
  return {
    scratch: () => runtime.floats(exports.scratchAddress(), config.vocabSize),
    expInPlace: (n, max, inverse) => exports.expWeights(exports.scratchAddress(), n, max, inverse),
    log: (x) => exports.log64(x),
  };
}
