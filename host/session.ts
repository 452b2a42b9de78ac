/**
 * A session: one conversation over a shared model. It remembers its tokens and messages; the cache behind it is only a
 * means, cut back and filled again as turns need it, so an aborted turn leaves the session as it was.
 * @module
 */
import { type CacheMap, mapCache } from "./cache-map.ts";
import type { SavedCapsule } from "./capsule/known-links.ts";
import { type SaveOptions, saveCapsule } from "./capsule/save.ts";
import type { Totals } from "./capsule/state.ts";
import type { ChatMessage } from "./chat.ts";
import { ASYNC_DISPOSE } from "./dispose.ts";
import { ThimbleError } from "./errors.ts";
import { describeForgotten, type Forgotten } from "./forgotten.ts";
import { type GenerateOptions, Generation, type GenerationResult, runTurn } from "./generation.ts";
import type { Model } from "./model.ts";
import { checkChoice, checkInteger } from "./options.ts";
import { type RecallState, Recalls } from "./recall.ts";
import { commonPrefix } from "./session-cache.ts";
import { TokenSession } from "./token-session.ts";
import type { PausedTurn, Pin, SessionOptions } from "./token-turn.ts";

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
  /** Tokens that at least one KV head has forgotten, and bytes of all pages that went; see `Session.ledger`. */
  readonly evictedTokens: number;
  readonly evictedBytes: number;
  /** Tokens that a policy has computed once more to find out what may go; not those of a session this one is a fork of. */
  readonly repeatedTokens: number;
}

/** The ids of the whole sequence a turn continues, and the conversation when it is one. */
interface Resolved {
  readonly ids: readonly number[];
  readonly messages?: readonly ChatMessage[] | undefined;
}

/** What a session goes on from. */
export interface SessionState {
  readonly tenant?: string | undefined;
  readonly session: TokenSession;
  readonly tokens: readonly number[];
  readonly messages: readonly ChatMessage[];
  readonly pending: PendingTurn | undefined;
  readonly totals?: Totals | undefined;
  readonly recalls?: RecallState | undefined;
}

/** A paused turn and the conversation it belongs to: plain data. */
export interface PendingTurn extends Resolved {
  readonly paused: PausedTurn;
}

const NOTHING: Totals = { promptTokens: 0, reusedTokens: 0, completionTokens: 0, prefillMs: 0, decodeMs: 0 };

/**
 * Dispatches "contextoverflow", a CustomEvent whose `detail` is the spans that have just been evicted (`LedgerEntry[]`).
 */
export class Session extends EventTarget implements AsyncDisposable {
  readonly model: Model;
  /** Whose session it is: those of one tenant share prefixes. */
  readonly tenant: string | undefined;
  readonly #onClose: () => void;
  readonly #session: TokenSession;
  #tokens: readonly number[] = [];
  #messages: readonly ChatMessage[] = [];
  #pending: PendingTurn | undefined;
  #totals: Totals = NOTHING;
  #recalls = new Recalls();
  /** A turn is under way until its last piece was taken, which is after its last token was computed. */
  #isTelling = false;

  /** Use `model.session()`, or `fork`. */
  constructor(model: Model, onClose: () => void, from: SessionState | SessionOptions = {}) {
    super();
    this.model = model;
    this.#onClose = onClose;
    if (!("session" in from)) {
      this.#session = new TokenSession(model.engine, model.platform, from);
      this.tenant = from.tenant;
    } else {
      this.tenant = from.tenant;
      this.#session = from.session;
      this.#tokens = from.tokens;
      this.#messages = from.messages;
      this.#pending = from.pending;
      this.#totals = from.totals ?? NOTHING;
      this.#recalls = new Recalls(from.recalls);
    }
    const { tenant } = this;
    if (tenant !== undefined) this.#session.donorOf = (ids, more) => model.donor(tenant, ids, more);
    this.#session.onEvict = (detail) => this.dispatchEvent(new CustomEvent("contextoverflow", { detail }));
  }
  /** For this package's own modules: the session on ids inside. */
  get tokenSession(): TokenSession {
    return this.#session;
  }

  /** All tokens of the finished turns. */
  get tokens(): readonly number[] {
    return this.#tokens;
  }

  /** The conversation as messages, where turns were given as such. */
  get messages(): readonly ChatMessage[] {
    return this.#messages;
  }

  /** What the session has forgotten, in order: nothing goes without an entry here. */
  get ledger(): readonly Forgotten[] {
    const { entries } = this.#session.ledger;
    return describeForgotten(entries, this.#session.cachedIds, this.model.tokenizer, this.#recalls.made);
  }

  /** The text of all tokens of the finished turns, control tokens included: what the ledger's ranges count in. */
  get text(): string {
    return this.model.detokenize(this.#tokens, { special: true });
  }

  /**
   * Has the next turn compute evicted tokens once more, as part of its prompt: quoted in front of the user's message, or
   * as they are in front of raw text or ids. They are newest tokens then, and may be evicted again. A turn that fails or
   * is aborted leaves it to the next one; `usage.recalledTokens` counts, and the ledger notes it.
   * @param span - an entry of `ledger`, or positions of tokens that were evicted from at least one KV head
   * @throws ThimbleError closed, busy (also while a turn is paused), invalid_option, context_length_exceeded: nothing is
   * computed then, and what the next turn recalls is as before
   */
  recall(span: Pin): void {
    this.#checkRecall();
    const { ledger, room } = this.#session;
    const nTokens = this.#tokens.length;
    this.#recalls.add(span, { entries: ledger.entries, nTokens, room });
  }

  /** Spans that the next turn recalls. */
  get recalling(): readonly Pin[] {
    return this.#recalls.asked;
  }

  /** The next turn recalls nothing. @throws ThimbleError closed, busy */
  unrecall(): void {
    this.#checkRecall();
    this.#recalls.clear();
  }

  /** Positions of the tokens that the cache still holds, by layer and KV head: [layer][head][...]. */
  kept(): number[][][] {
    const { nLayers, nKvHeads } = this.model.config;
    const held = this.#session.heldPositions();
    return Array.from({ length: nLayers }, (_, layer) => held.slice(layer * nKvHeads, (layer + 1) * nKvHeads));
  }

  /** The cache's pages as they are now, to be looked at; also while a turn is under way. @throws ThimbleError closed */
  cacheMap(): CacheMap {
    return mapCache(this.model.engine, this.#session.address);
  }

  /**
   * Keeps a message, or tokens [first, end) of the conversation, from being evicted; takes effect with the next turn. The
   * system prompt is pinned by itself where the session evicts.
   * @param what - index of a message in `messages`, or positions of tokens
   * @throws ThimbleError invalid_option; the next turn: context_length_exceeded where pins leave nothing to evict
   */
  pin(what: number | Pin): void {
    this.#session.pin(typeof what === "number" ? this.#spanOf(what) : what);
  }

  /** Takes all pins away but the system prompt's. */
  unpin(): void {
    this.#session.unpin();
  }

  get stats(): SessionStats {
    const { engine } = this.model;
    const evicted = this.#session.ledger.totals;
    return {
      tokens: this.#tokens.length,
      ...this.#totals,
      cachedTokens: this.#session.cachedTokens,
      cacheBytes: this.#session.cacheBytes,
      contextLength: engine.sizes.contextLength,
      evictedTokens: evicted.tokens,
      evictedBytes: evicted.bytes,
      repeatedTokens: this.#session.repeatedTokens,
    };
  }

  /**
   * Continues the conversation. Iterate over the pieces of text as they come; leaving the loop early or aborting ends the
   * turn and leaves the session as before it.
   * @throws ThimbleError (while iterating) closed, busy, context_length_exceeded, empty_prompt, invalid_text,
   * invalid_option, no_chat_template, template_failed, out_of_memory; the signal's reason when aborted
   */
  generate(prompt: Prompt, options: GenerateOptions = {}): Generation {
    return new Generation(() => this.#turn(this.#resolve(prompt), options));
  }

  /** A turn was paused by `cpuMs`, and `resume` goes on with it. */
  get isPaused(): boolean {
    return this.#pending !== undefined;
  }

  /**
   * Goes on with the paused turn, with the options it began with (its seed is kept): the pieces that follow, and a result
   * for the whole turn. Together they are the same as without the pause.
   * @throws ThimbleError (while iterating) invalid_option where no turn is paused; see `generate`
   */
  resume(options: GenerateOptions = {}): Generation {
    return new Generation(() => {
      const pending = this.#pending;
      if (pending === undefined) throw new ThimbleError("invalid_option", "no turn is paused; call generate");
      return this.#turn(pending, options, pending.paused);
    });
  }

  /**
   * A second session with the same conversation, which shares what the cache holds so far and goes its own way from here.
   * @throws ThimbleError closed, busy, out_of_memory
   */
  fork(): Session {
    this.#checkIdle();
    return this.model.adopt(
      (onClose) =>
        new Session(this.model, onClose, {
          session: this.#session.fork(),
          tokens: this.#tokens,
          messages: this.#messages,
          pending: this.#pending,
          tenant: this.tenant,
          recalls: this.#recalls.state,
        }),
    );
  }

  /** As `generate`, without streaming. */
  async complete(prompt: Prompt, options: GenerateOptions = {}): Promise<GenerationResult> {
    const generation = this.generate(prompt, options);
    for await (const _piece of generation);
    return generation.result;
  }

  /**
   * For a host that is short of memory: gives pages of the cache back, which other sessions can have then; WebAssembly memory
   * itself never shrinks. The conversation stays, and the next turn computes again what it needs: its tokens are the same.
   * @param level "half": the newer half of the cached tokens; "all": all of them
   * @returns bytes given back
   * @throws ThimbleError busy, closed, invalid_option
   */
  trim(level: "half" | "all" = "all"): number {
    this.#checkIdle();
    const before = this.#session.cacheBytes;
    this.#session.trim(checkChoice("level", level, ["half", "all"]) === "all" ? 0 : this.#session.cachedTokens >> 1);
    return before - this.#session.cacheBytes;
  }

  /** Frees the session's pages; they are zeroed before anyone else gets them. */
  close(): void {
    this.#session.close();
    this.#isTelling = false;
    this.#onClose();
  }

  async [ASYNC_DISPOSE](): Promise<void> {
    this.close();
  }

  async *#turn(
    { ids, messages }: Resolved,
    options: GenerateOptions,
    paused?: PausedTurn,
  ): AsyncGenerator<string, GenerationResult> {
    this.#checkIdle();
    this.#isTelling = true;
    try {
      if ((options.overflow ?? this.#session.overflow) === "evict") this.#pinSystem(ids, messages ?? this.#messages);
      const result = yield* runTurn(this.#session, this.model.tokenizer, ids, options, paused);
      return this.#finish({ ids, messages }, result);
    } finally {
      this.#isTelling = false;
    }
  }

  /** @throws ThimbleError busy */
  #checkIdle(): void {
    if (this.#isTelling) throw new ThimbleError("busy", "the session is generating; wait for the turn to end");
  }

  /** @throws ThimbleError closed, busy */
  #checkRecall(): void {
    this.#checkIdle();
    this.#session.checkIdle();
    if (this.isPaused) throw new ThimbleError("busy", "a turn is paused; resume it, and recall then");
  }

  #finish({ ids, messages }: Resolved, turn: GenerationResult): GenerationResult {
    const result = { ...turn, usage: { ...turn.usage, recalledTokens: this.#recalls.nTokens } };
    this.#pending = undefined;
    if (this.#session.paused !== undefined) {
      this.#pending = { ids, messages, paused: this.#session.paused };
      return result;
    }
    this.#recalls.finish(commonPrefix(this.#tokens, ids), this.#session.turns - 1);
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

  /** Tokens of a message: what the template makes of the messages with it and not of those before it. */
  #spanOf(index: number): Pin {
    const n = checkInteger("pin", index, 0, this.#messages.length - 1);
    const ends = [n, n + 1].map((count) => this.#endOf(this.#messages.slice(0, count), this.#tokens));
    return { first: ends[0]!, end: ends[1]! };
  }

  /** Tokens that `ids` has in common with these messages alone. */
  #endOf(messages: readonly ChatMessage[], ids: readonly number[]): number {
    if (messages.length === 0) return 0;
    const alone = this.model.encodeChat(messages);
    let n = 0;
    while (n < alone.length && alone[n] === ids[n]) n += 1;
    return n;
  }

  #pinSystem(ids: readonly number[], messages: readonly ChatMessage[]): void {
    const [first] = messages;
    if (first === undefined || first.role !== "system" || !this.model.hasChatTemplate) return;
    const end = this.#endOf([first], ids);
    if (end > 0) this.#session.pin({ first: 0, end });
  }

  #resolve(prompt: Prompt): Resolved {
    const { model } = this;
    if (typeof prompt === "string" && model.hasChatTemplate) {
      return this.#resolve([...this.messages, { role: "user", content: prompt }]);
    }
    if (Array.isArray(prompt)) {
      const messages = this.#recalls.quoteIn(prompt, this.#tokens, model.tokenizer);
      return { ids: model.encodeChat(messages), messages };
    }
    const before = [...this.tokens, ...this.#recalls.idsOf(this.tokens)];
    const given = typeof prompt === "string" ? { text: prompt } : (prompt as { text: string } | { ids: number[] });
    if ("ids" in given) return { ids: [...before, ...given.ids] };
    const { tokenizer } = model;
    const needsBos = this.tokens.length === 0 && tokenizer.addBos && tokenizer.bosId !== undefined;
    return { ids: [...before, ...(needsBos ? [tokenizer.bosId!] : []), ...tokenizer.encode(given.text)] };
  }

  /** The capsule that the session was last saved as, once its stream was read to the end, or was restored from. */
  get saved(): SavedCapsule | undefined {
    return this.#session.known.saved;
  }

  /**
   * The session as a capsule: `model.restore` goes on with it, here or elsewhere, with the same bits (docs/capsule.md).
   * With `since: session.saved?.id` it holds what has changed since then; restoring takes both. Until the stream has been
   * read or cancelled no turn can begin.
   * @throws ThimbleError closed, busy, invalid_option; the stream: closed, capsule_key, unsupported_runtime
   */
  save(options: SaveOptions = {}): ReadableStream<Uint8Array> {
    this.#checkIdle();
    const { engine, header, stats } = this.model;
    const conversation = {
      messages: this.#messages,
      pending: this.#pending,
      totals: this.#totals,
      forgetting: this.#session.forgetting,
      recalls: this.#recalls.state,
    };
    return saveCapsule({ engine, header, activations: stats.activations }, this.#session, conversation, options);
  }
}
