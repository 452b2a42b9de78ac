/**
 * A turn on token ids: what it is asked with, and what it tells when it ends or pauses.
 * @module
 */
import type { SamplingOptions } from "./sampling-options.ts";

/** What happens when the context is full. */
export const OVERFLOWS = ["stop", "throw", "evict"] as const;
export type Overflow = (typeof OVERFLOWS)[number];

/** One of: share of the slots that goes; slots that each KV head keeps; bytes of pages over all heads. */
export interface Keep {
  readonly ratio?: number | undefined;
  readonly slots?: number | undefined;
  readonly bytes?: number | undefined;
}

/** Positions [first, end) that stay. */
export interface Pin {
  readonly first: number;
  readonly end: number;
}

/** What a session may forget, and when. */
export interface SessionOptions {
  /**
   * What turns do when the context is full, where they do not say so themselves. "evict" gives up the oldest tokens between
   * `sinks` and `window`, a page of 32 at a time; the system prompt and pinned spans stay. `session.ledger` tells what went.
   * Default "stop".
   */
  readonly overflow?: Overflow | undefined;
  /** First tokens that are never evicted; a multiple of 32 where `overflow` is "evict". Default 32, at least `kvSinks` of the model. */
  readonly sinks?: number | undefined;
  /** Newest tokens that are never evicted; a multiple of 32 where `overflow` is "evict". Default 64, at least `kvWindow` of the model. */
  readonly window?: number | undefined;
  /**
   * What stays of a prompt when it ends, of each KV head; the model's `policy` chooses. `ratio` is the share that goes, and
   * nothing is protected then unless `sinks` and `window` say so. What goes is in the ledger. Default: all stays.
   */
  readonly keep?: Keep | undefined;
  /**
   * Whose session it is. A turn begins with what another open session of the same tenant has computed of its prompt, and
   * `usage.reusedTokens` says how much that was; sessions without a tenant share nothing, since how long a turn takes tells
   * what others have asked. Default: none.
   */
  readonly tenant?: string | undefined;
}

export interface TokenOptions extends SamplingOptions {
  /** Most tokens to generate. Default 1024; the context is a limit besides. 0 only evaluates the prompt. */
  readonly maxTokens?: number | undefined;
  /** Bit (id & 31) of word (id >> 5) is 1 where a token is allowed. */
  readonly mask?: Uint32Array | undefined;
  /** Ends the turn; iterating then throws the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Pauses the turn once it has computed for so many milliseconds, between chunks of the prompt or between tokens; at least
   * one of them is computed. The turn goes on with `paused`. Default: no limit.
   */
  readonly cpuMs?: number | undefined;
  /**
   * What to do when the context, or the budget of the model's memory, is full while generating: end the turn with "length",
   * throw `context_length_exceeded` or `over_budget` and undo it, or evict the oldest tokens that may go (`SessionOptions`)
   * and go on. A prompt that does not fit throws, but with "evict". Default: the session's, which is "stop".
   */
  readonly overflow?: Overflow | undefined;
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

/**
 * "stop": end-of-turn token, or the caller said so; "length": `maxTokens` or the context was reached; "paused": `cpuMs` was,
 * and the turn can go on.
 */
export type FinishReason = "stop" | "length" | "paused";

/** A turn that was paused, as plain data that JSON keeps: it goes on in this session or, with its capsule, elsewhere. */
export interface PausedTurn {
  /** The whole sequence before the completion. */
  readonly ids: readonly number[];
  readonly completionIds: readonly number[];
  /** State of the random numbers, and the seed they began with. */
  readonly random: readonly number[];
  readonly seed: number;
}

/** How a turn went. */
export interface TokenTurn {
  readonly finishReason: FinishReason;
  /** Generated ids; the end-of-turn token that ended the turn is not among them. */
  readonly completionIds: readonly number[];
  /** What was full where that ended the turn. */
  readonly overflow?: "context" | "budget" | undefined;
  /** Prompt tokens that were in the cache and not computed again. */
  readonly reusedTokens: number;
  readonly prefillMs: number;
  readonly decodeMs: number;
  /** The seed in force, to repeat the turn. */
  readonly seed: number;
}
