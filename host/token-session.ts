/**
 * A session on token ids alone: ids in, sampled ids out, over a cache that grows, is cut back and filled again as turns
 * need it. It knows no text. An unfinished turn leaves the session as it was: the journal of an append-only cache is its
 * length.
 * @module
 */
import { KnownLinks } from "./capsule/known-links.ts";
import type { ForgettingState } from "./capsule/state.ts";
import type { Engine } from "./engine.ts";
import { ThimbleError } from "./errors.ts";
import type { Ledger, LedgerEntry } from "./ledger.ts";
import { checkInteger, wrongOption } from "./options.ts";
import type { Platform } from "./platform.ts";
import { beginPrompt, observedRows } from "./prompt-end.ts";
import { createRandom } from "./random.ts";
import { createSampler, type Sampled, type SamplerKernels } from "./sampler.ts";
import { resolveSampling } from "./sampling-options.ts";
import { commonPrefix, SessionCache } from "./session-cache.ts";
import { endTurnsPrompt, extend, fullOf, growByLayers, growsByLayers } from "./session-growth.ts";
import { beginThinning, isObserving } from "./thinning.ts";
import type {
  FinishReason,
  Overflow,
  PausedTurn,
  Pin,
  SessionOptions,
  TokenOptions,
  TokenTurn,
  Vocabulary,
} from "./token-turn.ts";

/** A session that stays as it is while its capsule is written. */
export interface HeldSession {
  readonly address: number;
  /** Tokens whose keys and values are in the cache, and all tokens of the finished turns. */
  readonly cached: readonly number[];
  readonly tokens: readonly number[];
  /** Capsules that it could continue. */
  readonly known: KnownLinks;
  /** @throws ThimbleError closed */
  check(): void;
  /** Turns may begin again. */
  release(): void;
}

/** Positions of a session that evicts end here: MAX_POSITION of assembly/cache/session.ts. */
export const MAX_POSITION = 2 ** 24;
export class TokenSession {
  /** Capsules that it was saved as or made from. */
  readonly known: KnownLinks;
  readonly #engine: Engine;
  readonly #host: Pick<Platform, "pause" | "now">;
  readonly #cache: SessionCache;
  #tokens: readonly number[] = [];
  #paused: PausedTurn | undefined;
  #busy = false;
  #closed = false;
  /** Another session that has computed more of a sequence than this one, and may share it. */
  donorOf: ((ids: readonly number[], more: number) => TokenSession | undefined) | undefined;

  /**
   * @param cache - what it holds already; then `options` are the cache's own
   * @throws ThimbleError out_of_memory, over_budget, invalid_option
   */
  constructor(
    engine: Engine,
    host: Pick<Platform, "pause" | "now">,
    options: SessionOptions = {},
    cache: SessionCache = new SessionCache(engine, options),
    known: KnownLinks = new KnownLinks(),
  ) {
    this.known = known;
    this.#engine = engine;
    this.#host = host;
    this.#cache = cache;
  }

  /**
   * A second session with the same tokens, which shares the pages of the cache and goes its own way from here.
   * @throws ThimbleError closed, busy, out_of_memory, over_budget
   */
  fork(): TokenSession {
    this.checkIdle();
    const copy = new TokenSession(this.#engine, this.#host, {}, this.#cache.fork(), this.known.copy());
    copy.#tokens = this.#tokens;
    copy.#paused = this.#paused;
    return copy;
  }

  /** Called with the spans that a forward call evicted, as soon as they are gone. */
  set onEvict(listener: (spans: readonly LedgerEntry[]) => void) {
    this.#cache.onEvict = listener;
  }

  /** For this package's own modules: the session in the engine. @throws ThimbleError closed */
  get address(): number {
    if (this.#closed) throw new ThimbleError("closed", "the session is closed");
    return this.#cache.address;
  }

  /** All tokens of the finished turns. */
  get tokens(): readonly number[] {
    return this.#tokens;
  }

  /** The turn that the last `generate` paused, until another one begins. */
  get paused(): PausedTurn | undefined {
    return this.#paused;
  }

  /** What it does from the next turn on when the context is full, and what it keeps of prompts. @throws ThimbleError invalid_option */
  declare(options: SessionOptions): void {
    this.#cache.declare(options);
  }

  /** What a capsule says of it; undefined where there is nothing to say. */
  get forgetting(): ForgettingState | undefined {
    return this.#cache.forgetting;
  }

  /** What turns do when the context is full, where they do not say so. */
  get overflow(): Overflow {
    return this.#cache.overflow;
  }

  /** Whether memory had no more at some time, so that it holds less than its options say. */
  get isShort(): boolean {
    return this.#cache.isShort;
  }

  /** Tokens that were computed, evicted ones among them. */
  get cachedIds(): readonly number[] {
    return this.#cache.ids;
  }

  /** Tokens that were computed once more to find out what may go. */
  get repeatedTokens(): number {
    return this.#cache.repeatedTokens;
  }

  /** Tokens whose keys and values are in the cache. */
  get cachedTokens(): number {
    return this.#cache.ids.length;
  }

  /** What was evicted, in order. */
  get ledger(): Ledger {
    return this.#cache.ledger;
  }

  /** Positions that each KV head still holds, over all layers. @throws ThimbleError closed */
  heldPositions(): number[][] {
    if (this.#closed) throw new ThimbleError("closed", "the session is closed");
    return this.#cache.heldPositions();
  }

  /** Turns that have ended. */
  get turns(): number {
    return this.#cache.turns;
  }

  /** Most tokens that can follow and all be seen at once while it evicts. */
  get room(): number {
    return this.#cache.room;
  }

  get pins(): readonly Pin[] {
    return this.#cache.pins;
  }

  /** Positions [first, end) are never evicted, from the next turn on. @throws ThimbleError invalid_option */
  pin(pin: Pin): void {
    this.#cache.pin(pin);
  }

  /** Takes all pins away, from the next turn on. */
  unpin(): void {
    this.#cache.unpin();
  }

  /** Bytes of the pages of the pool that the cache holds. */
  get cacheBytes(): number {
    return this.#closed ? 0 : this.#cache.bytes;
  }

  /**
   * Runs the whole sequence `ids`, computing only what the cache does not hold of it, and yields the tokens sampled after
   * it. `next(true)` ends the turn with "stop"; leaving the loop otherwise undoes it. With `paused`, that turn goes on:
   * `ids` are its ids, and the options the same as then.
   * @throws ThimbleError closed, busy, context_length_exceeded, empty_prompt, invalid_option, out_of_memory; the signal's
   * reason when aborted
   */
  async *generate(
    ids: readonly number[],
    vocabulary: Vocabulary,
    options: TokenOptions,
    paused?: PausedTurn,
  ): AsyncGenerator<Sampled, TokenTurn, boolean | undefined> {
    this.checkIdle();
    const maxTokens = checkInteger("maxTokens", options.maxTokens ?? 1024, 0, Number.MAX_SAFE_INTEGER);
    const cpuMs = options.cpuMs === undefined ? Infinity : checkInteger("cpuMs", options.cpuMs, 1, 2 ** 31);
    const sampling = resolveSampling({ ...options, ...(paused && { seed: paused.seed }) }, vocabulary.size);
    const random = createRandom(sampling.seed);
    if (paused !== undefined) random.restore(paused.random);
    const sampler = createSampler(sampling, samplerKernels(this.#engine), random);
    this.#check(options.signal);
    const cache = this.#cache;
    const { promptRule } = cache;
    const rules = cache.rules(options.overflow);
    const { thinning } = rules;
    const canEvict = rules.pages.overflow === "evict";
    this.#checkIds(ids);
    const { maxRows } = this.#engine.sizes;
    const completionIds: number[] = [...(paused?.completionIds ?? [])];
    const given = [...ids, ...completionIds];
    cache.borrow(given, rules, (all, more) => {
      const donor = this.donorOf?.(all, more);
      return donor === undefined ? undefined : donor.#cache;
    });
    let reused = Math.min(commonPrefix(cache.ids, given), given.length - 1);
    let finishReason: FinishReason = "length";
    let overflow: "context" | "budget" | undefined;
    if (!canEvict) cache.checkRoom(given.length, reused);
    else if (cache.closedPages > rules.pages.maxPages) reused = cache.truncate(0); // grown in turns that do not evict
    cache.allow(rules);
    let isComplete = false;
    let spans = 0;
    this.#busy = true;
    this.#paused = undefined;
    let start = this.#host.now();
    let prefillMs = 0;
    let freeStream = (): void => {};
    const pause = (): TokenTurn => {
      isComplete = true;
      this.#paused = { ids, completionIds, random: random.state(), seed: sampling.seed };
      const decodeMs = this.#host.now() - start - prefillMs;
      return { finishReason: "paused", completionIds, reusedTokens: reused, prefillMs, decodeMs, seed: sampling.seed };
    };
    const isOver = (): boolean => this.#host.now() - start >= cpuMs;
    const check = (): void => this.#check(options.signal);
    const pass = { host: this.#host, check };
    try {
      reused = cache.truncate(reused);
      spans = cache.ledger.added;
      if (paused === undefined) this.#engine.runtime.exports.sessionMark(cache.address);
      const history = [...given];
      // Logits are sampled before the next pause: another session may use the engine then.
      const sample = (): Sampled =>
        sampler.sample(this.#engine.logits(0).subarray(0, vocabulary.size), history, options.mask);
      let sampled: Sampled | undefined;
      const observed = promptRule === undefined ? 0 : observedRows(this.#engine);
      let byLayers = completionIds.length === 0 && growsByLayers(cache, given.length - reused, rules);
      if (byLayers) {
        freeStream = await this.#engine.takeStream();
        check();
        start = this.#host.now();
        byLayers = await growByLayers(cache, given, {
          ...pass,
          onStep: (done, total) => {
            options.onPrefill?.(Math.floor(((given.length - reused) * done) / total), given.length - reused);
          },
          onLogits: maxTokens > 0 ? () => (sampled = sample()) : undefined,
        });
        freeStream();
        prefillMs = this.#host.now() - start;
      }
      const keepsAll = promptRule === undefined || completionIds.length > 0;
      const isCounted =
        !byLayers && thinning === undefined && beginPrompt(this.#engine, cache.address, reused, keepsAll);
      if (thinning !== undefined && !isObserving(this.#engine, cache.address, thinning)) {
        beginThinning(this.#engine, cache.address, thinning);
      }
      for (let at = byLayers ? given.length : reused; at < given.length; at += maxRows) {
        // Rows that the policy looks at are computed in one go: what a paused turn has observed is not in its capsule.
        const isObserved = thinning === undefined && observed > 0 && at + maxRows > given.length - observed;
        const isLast = at + maxRows >= given.length;
        const wantLogits = isLast && completionIds.length < maxTokens;
        const take = wantLogits ? sample : undefined;
        const added = extend(cache, given.slice(at, at + maxRows), rules, pass, take);
        sampled = added instanceof Promise ? await added : added;
        if (isLast && completionIds.length === 0) await endTurnsPrompt(cache, given, rules, pass);
        options.onPrefill?.(cache.ids.length - reused, given.length - reused);
        await this.#host.pause();
        check();
        prefillMs = this.#host.now() - start;
        if (!isLast && !isObserved && !isCounted && isOver()) return pause();
      }
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
        if (completionIds.length === maxTokens) break;
        try {
          if (!canEvict) cache.checkRoom(history.length, cache.ids.length);
          // Only now: a turn that has no room for its last token is over, and could not go on.
          if (isOver()) return pause();
          const added = extend(cache, [sampled.id], rules, pass, sample);
          sampled = added instanceof Promise ? await added : added;
        } catch (error) {
          overflow = fullOf(error);
          if (overflow === undefined || rules.pages.overflow === "throw") throw error;
          break;
        }
        await this.#host.pause();
        this.#check(options.signal);
      }
      isComplete = true;
      cache.turns += 1;
      this.#tokens = history;
      const decodeMs = this.#host.now() - start - prefillMs;
      const timings = { prefillMs, decodeMs, seed: sampling.seed };
      return { finishReason, completionIds, overflow, reusedTokens: reused, ...timings };
    } finally {
      this.#busy = false;
      freeStream();
      // What the turn put into the cache goes; what it cut away is computed again when it is needed.
      // What it made the session forget is there again once all is computed again.
      if (!isComplete && !this.#closed) cache.truncate(cache.ledger.added > spans ? 0 : reused);
    }
  }

  /**
   * Tokens of `ids` that the cache could go on from; 0 where that is not for others: a turn is under way, tokens went, or
   * pages were packed at a prompt's end.
   */
  shareable(ids: readonly number[]): number {
    return this.#closed || this.#busy ? 0 : this.#cache.shareable(ids);
  }

  /**
   * Fills the cache with `ids` and their keys and values, which a turn that begins with them finds there; no turn of its own.
   * @throws ThimbleError as `generate`
   */
  async prefill(
    ids: readonly number[],
    vocabulary: Vocabulary,
    options: Pick<TokenOptions, "signal" | "onPrefill"> = {},
  ): Promise<void> {
    const tokens = this.#tokens;
    for await (const _ of this.generate(ids, vocabulary, { ...options, maxTokens: 0 }));
    this.#tokens = tokens;
  }

  /** Keeps the first `length` tokens of the cache at most. @throws ThimbleError busy, closed */
  trim(length: number): void {
    this.checkIdle();
    this.#cache.truncate(length);
  }

  /** Frees the pages; they are zeroed before anyone else gets them. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#cache.close();
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
      throw wrongOption("ids", `token id ${bad} is not an integer from 0 to ${vocabSize - 1}`);
    }
  }

  /** @throws ThimbleError closed, busy */
  checkIdle(): void {
    if (this.#closed) throw new ThimbleError("closed", "the session is closed");
    if (this.#busy) throw new ThimbleError("busy", "the session is generating or being saved; wait for that to end");
  }

  /** Keeps turns from beginning until `release`. @throws ThimbleError closed, busy */
  hold(): HeldSession {
    this.checkIdle();
    this.#busy = true;
    let isHeld = true;
    return {
      address: this.#cache.address,
      cached: [...this.#cache.ids],
      tokens: this.#tokens,
      known: this.known,
      check: () => this.#check(undefined),
      release: () => {
        if (isHeld) this.#busy = false;
        isHeld = false;
      },
    };
  }

  /** A session whose cache at `address` holds the tokens `cached` already: use `restoreCapsule`. */
  static restored(
    engine: Engine,
    host: Pick<Platform, "pause" | "now">,
    address: number,
    state: Pick<HeldSession, "cached" | "tokens" | "known"> & {
      readonly paused: PausedTurn | undefined;
      readonly forgetting?: ForgettingState | undefined;
    },
  ): TokenSession {
    const cache = SessionCache.restored(engine, address, state.cached, state.forgetting);
    const session = new TokenSession(engine, host, {}, cache, state.known);
    session.#tokens = state.tokens;
    session.#paused = state.paused;
    return session;
  }
}

function samplerKernels({ runtime, config }: Engine): SamplerKernels {
  const { exports } = runtime;
  return {
    scratch: () => runtime.floats(exports.scratchAddress(), config.vocabSize),
    expInPlace: (n, max, inverse) => exports.expWeights(exports.scratchAddress(), n, max, inverse),
    log: (x) => exports.log64(x),
  };
}
