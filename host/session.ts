/**
 * A session: one conversation over a shared model. It remembers its tokens and messages; the cache behind it is only a
 * means, cut back and filled again as turns need it, so an aborted turn leaves the session as it was.
 * @module
 */
import type { ChatMessage } from "./chat.ts";
import { type GenerateOptions, Generation, type GenerationResult, runTurn } from "./generation.ts";
import type { Model } from "./model.ts";
import { TokenSession } from "./token-session.ts";

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

export class Session implements AsyncDisposable {
  readonly model: Model;
  readonly #onClose: () => void;
  readonly #session: TokenSession;
  #tokens: readonly number[] = [];
  #messages: readonly ChatMessage[] = [];
  #totals = { promptTokens: 0, reusedTokens: 0, completionTokens: 0, prefillMs: 0, decodeMs: 0 };

  /** Use `model.session()`. */
  constructor(model: Model, onClose: () => void) {
    this.model = model;
    this.#onClose = onClose;
    this.#session = new TokenSession(model.engine, model.platform);
  }

  /** All tokens of the finished turns. */
  get tokens(): readonly number[] {
    return this.#tokens;
  }

  /** The conversation as messages, where turns were given as such. */
  get messages(): readonly ChatMessage[] {
    return this.#messages;
  }

  get stats(): SessionStats {
    const { engine, stats } = this.model;
    return {
      tokens: this.#tokens.length,
      ...this.#totals,
      cachedTokens: this.#session.cachedTokens,
      cacheBytes: this.#session.pages * stats.plan.page,
      contextLength: engine.sizes.contextLength,
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
    this.#session.close();
    this.#onClose();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  async *#turn(prompt: Prompt, options: GenerateOptions): AsyncGenerator<string, GenerationResult> {
    const { ids, messages } = this.#resolve(prompt);
    const result = yield* runTurn(this.#session, this.model.tokenizer, ids, options);
    const answer: ChatMessage[] = messages === undefined ? [] : [{ role: "assistant", content: result.text }];
    this.#tokens = [...ids, ...result.completionIds];
    this.#messages = [...(messages ?? this.#messages), ...answer];
    const { usage, timings } = result;
    this.#totals = {
      promptTokens: this.#totals.promptTokens + usage.promptTokens,
      reusedTokens: this.#totals.reusedTokens + usage.reusedTokens,
      completionTokens: this.#totals.completionTokens + usage.completionTokens,
      prefillMs: this.#totals.prefillMs + timings.prefillMs,
      decodeMs: this.#totals.decodeMs + timings.decodeMs,
    };
    return result;
  }

  /** The ids of the whole sequence the turn continues, and the conversation when it is one. */
  #resolve(prompt: Prompt): { ids: readonly number[]; messages?: readonly ChatMessage[] } {
    const { model } = this;
    if (typeof prompt === "string" && model.hasChatTemplate) {
      return this.#resolve([...this.messages, { role: "user", content: prompt }]);
    }
    if (Array.isArray(prompt)) return { ids: model.encodeChat(prompt), messages: prompt };
    const given = typeof prompt === "string" ? { text: prompt } : (prompt as { text: string } | { ids: number[] });
    if ("ids" in given) return { ids: [...this.tokens, ...given.ids] };
    const { tokenizer } = model;
    const needsBos = this.tokens.length === 0 && tokenizer.addBos && tokenizer.bosId !== undefined;
    return { ids: [...this.tokens, ...(needsBos ? [tokenizer.bosId!] : []), ...tokenizer.encode(given.text)] };
  }
}
