/**
 * One turn in text: token ids of `TokenSession` become pieces of text as they come, held back where they may begin a stop
 * text.
 * @module
 */
import { createDetokenizer } from "./detokenizer.ts";
import { ThimbleError } from "./errors.ts";
import type { Sampled } from "./sampler.ts";
import { createStopMatcher } from "./stop.ts";
import type { TokenSession } from "./token-session.ts";
import type { FinishReason, PausedTurn, TokenOptions } from "./token-turn.ts";
import type { Tokenizer } from "./tokenizer.ts";

export interface GenerateOptions extends TokenOptions {
  /** Texts that end the turn; they are not part of the result. */
  readonly stop?: readonly string[] | undefined;
  /** Go on past the model's end-of-turn tokens. Default false. */
  readonly ignoreEos?: boolean | undefined;
  /** Write control tokens into the text. Default false. */
  readonly special?: boolean | undefined;
}

export interface GenerationResult {
  readonly text: string;
  /** All ids before the completion, earlier turns included. */
  readonly promptIds: readonly number[];
  /** Generated ids; the end-of-turn token that ended the turn is not among them. */
  readonly completionIds: readonly number[];
  readonly finishReason: FinishReason;
  /** With "length": what was full, where it was not `maxTokens` that ended the turn. */
  readonly overflow?: "context" | "budget" | undefined;
  readonly usage: {
    readonly promptTokens: number;
    /** Prompt tokens that were in the cache and not computed again. */
    readonly reusedTokens: number;
    readonly completionTokens: number;
    /** Evicted tokens that the prompt has once more; see `Session.recall`. A quotation has some more around them. */
    readonly recalledTokens: number;
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

/** Runs the sequence `ids` and what follows it, or goes on with a paused turn of it. @throws ThimbleError, or the signal's reason; see `Session.generate` */
export async function* runTurn(
  session: TokenSession,
  tokenizer: Tokenizer,
  ids: readonly number[],
  options: GenerateOptions,
  paused?: PausedTurn,
): AsyncGenerator<string, GenerationResult> {
  const stops = createStopMatcher(options.stop ?? []);
  const detokenizer = createDetokenizer(tokenizer, { special: options.special ?? false });
  const vocabulary = { size: tokenizer.vocabSize, eosIds: options.ignoreEos ? [] : tokenizer.eosIds };
  const samples: Sampled[] = [];
  let text = "";
  let stopped: string | undefined;
  for (const id of paused?.completionIds ?? []) text += stops.push(detokenizer.push(id)).text; // said before the pause
  const steps = session.generate(ids, vocabulary, options, paused);
  try {
    let step = await steps.next();
    while (!step.done) {
      samples.push(step.value);
      const match = stops.push(detokenizer.push(step.value.id));
      stopped = match.stopped;
      text += match.text;
      if (match.text !== "") yield match.text;
      step = await steps.next(stopped !== undefined);
    }
    const isPaused = step.value.finishReason === "paused";
    if (stopped === undefined && !isPaused) {
      const last = stops.push(detokenizer.flush());
      const rest = last.text + (last.stopped === undefined ? stops.flush() : "");
      text += rest;
      if (rest !== "") yield rest;
    }
    const turn = step.value;
    const { finishReason, completionIds, overflow, reusedTokens, prefillMs, decodeMs, seed } = turn;
    return {
      text,
      promptIds: ids,
      completionIds,
      finishReason,
      ...(overflow === undefined ? {} : { overflow }),
      usage: { promptTokens: ids.length, reusedTokens, completionTokens: completionIds.length, recalledTokens: 0 },
      timings: {
        prefillMs,
        decodeMs,
        prefillPerSecond: perSecond(ids.length - reusedTokens, prefillMs),
        decodePerSecond: perSecond(completionIds.length, decodeMs),
      },
      seed,
      ...(options.logprobs === undefined ? {} : { logprobs: samples }),
    };
  } finally {
    await steps.return(undefined as never); // leaving early undoes the turn
  }
}

function perSecond(tokens: number, ms: number): number {
  return ms > 0 ? (tokens * 1000) / ms : 0;
}
