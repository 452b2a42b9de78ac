/**
 * A session: one conversation over a shared model. It remembers its tokens and messages; the cache behind it is only a
 * means, cut back and filled again as turns need it, so an aborted turn leaves the session as it was.
 * @module
 */
import type { ChatMessage } from "./chat.ts";
import { ThimbleError } from "./errors.ts";
import { type GenerateOptions, Generation, type GenerationResult, runTurn } from "./generation.ts";
import type { Model } from "./model.ts";

/**
 * What to continue:
 * - a string: the user's next message, added to the conversation (raw text where the file has no chat template);
 * - messages: the whole conversation; what it shares with the tokens in the cache is not computed again;
 * - `{ text }`: raw text after all tokens so far, without the chat template;
 * - `{ ids }`: token ids after all tokens so far.
 */
export type Prompt = string | readonly ChatMessage[] | { readonly text: string } | { readonly ids: readonly number[] };

/** Counts and times over all finished turns of a session. */
export interface SessionStats {
  /** Tokens of the conversation: prompts and completions. */
  readonly tokens: number;
  /** Prompt tokens given, and how many of them were already in the cache. */
  readonly promptTokens: number;
  readonly reusedTokens: number;
  readonly completionTokens: number;
  readonly prefillMs: number;
  readonly decodeMs: number;
  /** Tokens whose keys and values are in the cache, and the bytes of their pages. */
  readonly cachedTokens: number;
  readonly cacheBytes: number;
  /** Most tokens the session can hold. */
  readonly contextLength: number;
}

/** What a turn starts from and, when it succeeds, what it leaves. */
export interface Conversation {
  readonly tokens: readonly number[];
  readonly messages: readonly ChatMessage[];
}

export class Session implements AsyncDisposable {
  readonly model: Model;
  readonly #onClose: () => void;
  readonly #address: number;
  #conversation: Conversation = { tokens: [], messages: [] };
  /** Tokens whose keys and values the cache holds, in order. */
  #cached: number[] = [];
  #busy = false;
  #closed = false;
  #totals = { promptTokens: 0, reusedTokens: 0, completionTokens: 0, prefillMs: 0, decodeMs: 0 };

  /** Use `model.session()`. */
  constructor(model: Model, onClose: () => void) {
    this.model = model;
    this.#onClose = onClose;
    this.#address = model.engine.openSession();
  }

  /** All tokens of the finished turns. */
  get tokens(): readonly number[] {
    return this.#conversation.tokens;
  }

  /** The conversation as messages, where turns were given as such. */
  get messages(): readonly ChatMessage[] {
    return this.#conversation.messages;
  }

  get stats(): SessionStats {
    const pages = this.#closed ? 0 : this.model.engine.runtime.exports.sessionPages(this.#address);
    return {
      tokens: this.tokens.length,
      ...this.#totals,
      cachedTokens: this.#cached.length,
      cacheBytes: pages * this.model.stats.plan.page,
      contextLength: this.model.engine.sizes.contextLength,
    };
  }

  /**
   * Continues the conversation. Iterate over the pieces of text as they come; leaving the loop early or aborting ends the
   * turn and leaves the session as before it.
   * @throws ThimbleError (while iterating) closed, busy, context_length_exceeded, empty_prompt, invalid_text,
   * invalid_option, no_chat_template, template_failed, out_of_memory; the signal's reason when aborted
   */
  generate(prompt: Prompt, options: GenerateOptions = {}): Generation {
    return new Generation(() => this.#turn(prompt, options));
  }

  /** As `generate`, without streaming. */
  async complete(prompt: Prompt, options: GenerateOptions = {}): Promise<GenerationResult> {
    const generation = this.generate(prompt, options);
    for await (const _piece of generation);
    return generation.result;
  }

  /** Frees the session's pages; they are zeroed before anyone else gets them. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.model.engine.runtime.exports.sessionClose(this.#address);
    this.#onClose();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  async *#turn(prompt: Prompt, options: GenerateOptions): AsyncGenerator<string, GenerationResult> {
    if (this.#closed) throw new ThimbleError("closed", "the session is closed");
    if (this.#busy) throw new ThimbleError("busy", "the session is generating; wait for the turn to end");
    this.#busy = true;
    try {
      const { ids, messages } = this.#resolve(prompt);
      const cache = {
        address: this.#address,
        tokens: this.#cached,
        isClosed: () => this.#closed,
      };
      const result = yield* runTurn(this.model, cache, ids, options);
      const answer: ChatMessage[] = messages === undefined ? [] : [{ role: "assistant", content: result.text }];
      this.#conversation = {
        tokens: [...ids, ...result.completionIds],
        messages: [...(messages ?? this.messages), ...answer],
      };
      this.#totals.promptTokens += result.usage.promptTokens;
      this.#totals.reusedTokens += result.usage.reusedTokens;
      this.#totals.completionTokens += result.usage.completionTokens;
      this.#totals.prefillMs += result.timings.prefillMs;
      this.#totals.decodeMs += result.timings.decodeMs;
      return result;
    } finally {
      this.#busy = false;
    }
  }

  /** The ids of the whole sequence the turn continues, and the conversation when it is one. */
  #resolve(prompt: Prompt): { ids: readonly number[]; messages?: readonly ChatMessage[] } {
    const { model } = this;
    if (typeof prompt === "string" && model.hasChatTemplate) {
      return this.#resolve([...this.messages, { role: "user", content: prompt }]);
    }
    if (Array.isArray(prompt)) return { ids: model.encodeChat(prompt), messages: prompt };
    const given = typeof prompt === "string" ? { text: prompt } : (prompt as { text: string } | { ids: number[] });
    if ("ids" in given) return { ids: [...this.tokens, ...this.#checkIds(given.ids)] };
    const { tokenizer } = model;
    const needsBos = this.tokens.length === 0 && tokenizer.addBos && tokenizer.bosId !== undefined;
    return { ids: [...this.tokens, ...(needsBos ? [tokenizer.bosId!] : []), ...tokenizer.encode(given.text)] };
  }

  #checkIds(ids: readonly number[]): readonly number[] {
    const { vocabSize } = this.model.config;
    const bad = ids.find((id) => !Number.isInteger(id) || id < 0 || id >= vocabSize);
    if (bad === undefined) return ids;
    throw new ThimbleError("invalid_option", `token id ${bad} is not an integer from 0 to ${vocabSize - 1}`, {
      name: "ids",
    });
  }
}
