/**
 * A session on token ids alone: ids in, sampled ids out, over a cache that grows, is cut back and filled again as turns
 * need it. It knows no text. An unfinished turn leaves the session as it was: the journal of an append-only cache is its
 * length.
 * @module
 */
import { Size } from "../assembly/memory/status.ts";
import { KnownLinks } from "./capsule/known-links.ts";
import type { ForgettingState } from "./capsule/state.ts";
import type { Engine } from "./engine.ts";
import { ThimbleError } from "./errors.ts";
import { type EvictionRule, evictedSpans, evictionRule, mergePins, roomBehind, setEviction } from "./evictor.ts";
import { pageSizes } from "./kv-cache.ts";
import { type EvictedSpan, Ledger, type LedgerEntry } from "./ledger.ts";
import { checkChoice, checkInteger } from "./options.ts";
import type { Platform } from "./platform.ts";
import { describePolicy, looksAtRows } from "./policy.ts";
import {
  beginPrompt,
  endPrompt,
  heldPositions,
  NEVER,
  observedRows,
  type PromptRule,
  promptRule,
} from "./prompt-end.ts";
import { computeByLayers, goesByLayers, type LayersPass } from "./prompt-layers.ts";
import { createRandom } from "./random.ts";
import { createSampler, type Sampled, type SamplerKernels } from "./sampler.ts";
import { resolveSampling } from "./sampling-options.ts";
import {
  atPromptEnd,
  beginThinning,
  checkPins,
  isObserving,
  narrower,
  pagesOf,
  rowsBefore,
  type ThinningRule,
  thin,
  thinningRule,
} from "./thinning.ts";
import {
  type FinishReason,
  OVERFLOWS,
  type Overflow,
  type PausedTurn,
  type Pin,
  type SessionOptions,
  type TokenOptions,
  type TokenTurn,
  type Vocabulary,
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
/** How spans are chosen: the oldest go first. */
const POLICY = "streaming";

export class TokenSession {
  /** Capsules that it was saved as or made from. */
  readonly known: KnownLinks;
  readonly #engine: Engine;
  readonly #host: Pick<Platform, "pause" | "now">;
  #address: number;
  /** Tokens whose keys and values the cache holds, in order. */
  readonly #cached: number[] = [];
  #tokens: readonly number[] = [];
  #paused: PausedTurn | undefined;
  #options: SessionOptions;
  #rule: EvictionRule;
  #promptRule: PromptRule | undefined;
  #pins: readonly Pin[] = [];
  #ledger = new Ledger();
  #turns = 0;
  #repeatedTokens = 0;
  #busy = false;
  #closed = false;
  /** Another session that has computed more of a sequence than this one, and may share it. */
  donorOf: ((ids: readonly number[], more: number) => TokenSession | undefined) | undefined;
  /** Called with the spans that a forward call evicted, as soon as they are gone. */
  onEvict: ((spans: readonly LedgerEntry[]) => void) | undefined;

  /** @throws ThimbleError out_of_memory, over_budget, invalid_option */
  constructor(
    engine: Engine,
    host: Pick<Platform, "pause" | "now">,
    {
      address,
      known = new KnownLinks(),
      ...options
    }: SessionOptions & {
      readonly address?: number;
      readonly known?: KnownLinks;
    } = {},
  ) {
    this.#options = options;
    this.#promptRule = promptRule(engine, options);
    this.#rule = evictionRule(engine, options, this.#promptRule);
    thinningRule(engine, this.#rule, this.#promptRule); // throws where it cannot be
    this.known = known;
    this.#engine = engine;
    this.#host = host;
    this.#address = address ?? engine.openSession();
  }

  /**
   * A second session with the same tokens, which shares the pages of the cache and goes its own way from here.
   * @throws ThimbleError closed, busy, out_of_memory, over_budget
   */
  fork(): TokenSession {
    if (this.#closed) throw new ThimbleError("closed", "the session is closed");
    if (this.#busy) throw new ThimbleError("busy", "the session is generating; wait for the turn to end");
    const copy = new TokenSession(this.#engine, this.#host, {
      address: this.#engine.forkSession(this.#address),
      known: this.known.copy(),
    });
    copy.#options = this.#options;
    copy.#rule = this.#rule;
    copy.#promptRule = this.#promptRule;
    copy.#pins = this.#pins;
    copy.#ledger = this.#ledger.copy();
    copy.#turns = this.#turns;
    copy.#cached.push(...this.#cached);
    copy.#tokens = this.#tokens;
    copy.#paused = this.#paused;
    return copy;
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
    this.#options = options;
    this.#promptRule = promptRule(this.#engine, options);
    this.#rule = evictionRule(this.#engine, options, this.#promptRule);
    thinningRule(this.#engine, this.#rule, this.#promptRule);
  }

  /** What a capsule says of it; undefined where there is nothing to say. */
  get forgetting(): ForgettingState | undefined {
    const { overflow, sinks, window, keep } = this.#options;
    const { dated } = this.#ledger;
    const isPlain =
      (overflow ?? "stop") === "stop" && keep === undefined && this.#pins.length === 0 && dated.length === 0;
    if (isPlain) return undefined;
    const spec = this.#engine.sizes.cache.policy;
    const policy = spec && describePolicy(spec);
    return { options: { overflow, sinks, window, keep }, pins: this.#pins, turns: this.#turns, ledger: dated, policy };
  }

  /** What turns do when the context is full, where they do not say so. */
  get overflow(): Overflow {
    return this.#rule.overflow;
  }

  /** Whether memory had no more at some time, so that it holds less than its options say. */
  get isShort(): boolean {
    return this.#rule.maxPages < evictionRule(this.#engine, this.#options, this.#promptRule).maxPages;
  }

  /** Tokens that were computed, evicted ones among them. */
  get cachedIds(): readonly number[] {
    return this.#cached;
  }

  /** Tokens that were computed once more to find out what may go. */
  get repeatedTokens(): number {
    return this.#repeatedTokens;
  }

  /** Tokens whose keys and values are in the cache. */
  get cachedTokens(): number {
    return this.#cached.length;
  }

  /** What was evicted, in order. */
  get ledger(): Ledger {
    return this.#ledger;
  }

  /** Positions that each KV head still holds, over all layers. @throws ThimbleError closed */
  heldPositions(): number[][] {
    if (this.#closed) throw new ThimbleError("closed", "the session is closed");
    return heldPositions(this.#engine, this.#address).map((positions) => Array.from(positions));
  }

  /** Turns that have ended. */
  get turns(): number {
    return this.#turns;
  }

  /** Most tokens that can follow and all be seen at once while it evicts. */
  get room(): number {
    const thinning = thinningRule(this.#engine, this.#rule, this.#promptRule);
    const maxPages = thinning === undefined ? this.#rule.maxPages : thinning.slots / Size.PAGE_SLOTS;
    return roomBehind({ ...this.#rule, maxPages }, this.#pins);
  }

  get pins(): readonly Pin[] {
    return this.#pins;
  }

  /** Positions [first, end) are never evicted, from the next turn on. @throws ThimbleError invalid_option */
  pin(pin: Pin): void {
    const first = checkInteger("pin.first", pin.first, 0, 2 ** 24);
    this.#pins = mergePins([...this.#pins, { first, end: checkInteger("pin.end", pin.end, first + 1, 2 ** 24) }]);
  }

  /** Takes all pins away, from the next turn on. */
  unpin(): void {
    this.#pins = [];
  }

  /** Bytes of the pages of the pool that the cache holds. */
  get cacheBytes(): number {
    if (this.#closed) return 0;
    const { config, runtime, sizes } = this.#engine;
    const { aged, recent } = pageSizes(sizes.cache, config);
    const { sessionPages } = runtime.exports;
    return sessionPages(this.#address) * aged + sessionPages(this.#address, true) * recent;
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
    if (this.#closed) throw new ThimbleError("closed", "the session is closed");
    if (this.#busy) throw new ThimbleError("busy", "the session is generating; wait for the turn to end");
    const maxTokens = checkInteger("maxTokens", options.maxTokens ?? 1024, 0, Number.MAX_SAFE_INTEGER);
    const cpuMs = options.cpuMs === undefined ? Infinity : checkInteger("cpuMs", options.cpuMs, 1, 2 ** 31);
    const sampling = resolveSampling({ ...options, ...(paused && { seed: paused.seed }) }, vocabulary.size);
    const random = createRandom(sampling.seed);
    if (paused !== undefined) random.restore(paused.random);
    const sampler = createSampler(sampling, samplerKernels(this.#engine), random);
    this.#check(options.signal);
    const rule = {
      ...this.#rule,
      overflow: checkChoice("overflow", options.overflow ?? this.#rule.overflow, OVERFLOWS),
    };
    this.#checkIds(ids);
    const { maxRows } = this.#engine.sizes;
    const thinning = thinningRule(this.#engine, rule, this.#promptRule);
    const completionIds: number[] = [...(paused?.completionIds ?? [])];
    const given = [...ids, ...completionIds];
    this.#borrow(given, rule, thinning);
    let reused = Math.min(commonPrefix(this.#cached, given), given.length - 1);
    let finishReason: FinishReason = "length";
    let overflow: "context" | "budget" | undefined;
    if (rule.overflow !== "evict") this.#checkRoom(given.length, reused);
    else if (this.#closedPages() > rule.maxPages) reused = this.#truncate(0); // grown in turns that do not evict
    this.#declareEviction(rule, thinning);
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
    try {
      reused = this.#truncate(reused);
      spans = this.#ledger.added;
      if (paused === undefined) this.#engine.runtime.exports.sessionMark(this.#address);
      const history = [...given];
      // Logits are sampled before the next pause: another session may use the engine then.
      const sample = (): Sampled =>
        sampler.sample(this.#engine.logits(0).subarray(0, vocabulary.size), history, options.mask);
      let sampled: Sampled | undefined;
      const observed = this.#promptRule === undefined ? 0 : observedRows(this.#engine);
      let byLayers =
        completionIds.length === 0 && thinning === undefined && this.#goesByLayers(given.length - reused, rule);
      if (byLayers) {
        freeStream = await this.#engine.takeStream();
        check();
        start = this.#host.now();
        byLayers = await this.#computeByLayers(given, {
          host: this.#host,
          check,
          onStep: (done, total) => {
            options.onPrefill?.(Math.floor(((given.length - reused) * done) / total), given.length - reused);
          },
          onLogits: maxTokens > 0 ? () => (sampled = sample()) : undefined,
        });
        freeStream();
        prefillMs = this.#host.now() - start;
      }
      const keepsAll = this.#promptRule === undefined || completionIds.length > 0;
      const isCounted =
        !byLayers && thinning === undefined && beginPrompt(this.#engine, this.#address, reused, keepsAll);
      if (thinning !== undefined && !isObserving(this.#engine, this.#address, thinning)) {
        beginThinning(this.#engine, this.#address, thinning);
      }
      for (let at = byLayers ? given.length : reused; at < given.length; at += maxRows) {
        // Rows that the policy looks at are computed in one go: what a paused turn has observed is not in its capsule.
        const isObserved = thinning === undefined && observed > 0 && at + maxRows > given.length - observed;
        const isLast = at + maxRows >= given.length;
        const wantLogits = isLast && completionIds.length < maxTokens;
        const take = wantLogits ? sample : undefined;
        const added = this.#extend(given.slice(at, at + maxRows), rule, thinning, check, take);
        sampled = added instanceof Promise ? await added : added;
        if (isLast && completionIds.length === 0) await this.#endPrompt(given, thinning, check);
        options.onPrefill?.(this.#cached.length - reused, given.length - reused);
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
          if (rule.overflow !== "evict") this.#checkRoom(history.length, this.#cached.length);
          // Only now: a turn that has no room for its last token is over, and could not go on.
          if (isOver()) return pause();
          const added = this.#extend([sampled.id], rule, thinning, check, sample);
          sampled = added instanceof Promise ? await added : added;
        } catch (error) {
          overflow = fullOf(error);
          if (overflow === undefined || rule.overflow === "throw") throw error;
          break;
        }
        await this.#host.pause();
        this.#check(options.signal);
      }
      isComplete = true;
      this.#turns += 1;
      this.#tokens = history;
      const decodeMs = this.#host.now() - start - prefillMs;
      const timings = { prefillMs, decodeMs, seed: sampling.seed };
      return { finishReason, completionIds, overflow, reusedTokens: reused, ...timings };
    } finally {
      this.#busy = false;
      freeStream();
      // What the turn put into the cache goes; what it cut away is computed again when it is needed.
      // What it made the session forget is there again once all is computed again.
      if (!isComplete && !this.#closed) this.#truncate(this.#ledger.added > spans ? 0 : reused);
    }
  }

  /**
   * Tokens of `ids` that the cache could go on from; 0 where that is not for others: a turn is under way, tokens went, or
   * pages were packed at a prompt's end.
   */
  shareable(ids: readonly number[]): number {
    if (this.#closed || this.#busy || this.#promptRule !== undefined || this.#ledger.totals.tokens > 0) return 0;
    return commonPrefix(this.#cached, ids);
  }

  /**
   * Goes on from another session's pages where that has computed more of `ids`; there may be no memory for it. No more than
   * it would have come to itself without forgetting, and of a prompt whose queries choose what stays, none of these: it gives
   * the tokens it would give alone.
   */
  #borrow(ids: readonly number[], { overflow, maxPages }: EvictionRule, thinning: ThinningRule | undefined): void {
    const countsQueries = (this.#engine.sizes.cache.policy?.queryStatistics ?? 0) > 0;
    if (this.#promptRule !== undefined && (countsQueries || this.#cached.length > 0)) return;
    if (thinning !== undefined && looksAtRows(thinning.policy)) return;
    const own = commonPrefix(this.#cached, ids);
    const observed = this.#promptRule === undefined ? 0 : observedRows(this.#engine);
    const most = Math.min(
      ids.length - Math.max(1, observed),
      thinning?.slots ?? Number.POSITIVE_INFINITY,
      overflow === "evict" ? maxPages * Size.PAGE_SLOTS - 1 : Number.POSITIVE_INFINITY,
    );
    if (most <= own) return;
    const donor = this.donorOf?.(ids, own);
    if (donor === undefined) return;
    const { exports } = this.#engine.runtime;
    let copy: number;
    try {
      copy = this.#engine.forkSession(donor.#address);
    } catch {
      return;
    }
    const length = exports.sessionTruncate(copy, Math.min(donor.shareable(ids), most));
    const isMore = length > own;
    exports.sessionClose(isMore ? this.#address : copy);
    if (!isMore) return;
    this.#address = copy;
    this.#cached.length = 0;
    for (const id of ids.slice(0, length)) this.#cached.push(id);
    this.#ledger = new Ledger();
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
    if (this.#closed) throw new ThimbleError("closed", "the session is closed");
    if (this.#busy) throw new ThimbleError("busy", "the session is generating; wait for the turn to end");
    this.#truncate(length);
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
  }

  /** Whether `nTokens` in all have room, when the first `reused` of them keep the slots they have. */
  #checkRoom(nTokens: number, reused: number): void {
    const { contextLength } = this.#engine.sizes;
    const isWhole = reused === this.#cached.length && reused > 0;
    const evicted = isWhole ? reused - this.#engine.runtime.exports.sessionSlots(this.#address) : 0;
    if (nTokens - evicted <= contextLength) return;
    throw new ThimbleError(
      "context_length_exceeded",
      `the prompt and the turns before it are ${nTokens} tokens; the context holds ${contextLength}`,
      { needed: nTokens, available: contextLength },
    );
  }

  /** The length it could go back to: layers with a sliding window may have to start again. */
  #truncate(length: number): number {
    this.#cached.length = this.#engine.runtime.exports.sessionTruncate(this.#address, length);
    // A page that has gone comes back only when all is computed again: where less is dropped, it was before what is dropped.
    if (this.#cached.length === 0) this.#ledger.clear();
    if (this.#cached.length === 0) this.#engine.runtime.exports.observeRows(this.#address, NEVER);
    return this.#cached.length;
  }

  /** Full pages of the head that has most, of those that can forget. */
  #closedPages(): number {
    const { config, runtime } = this.#engine;
    const canForget = config.layers.some(({ window }) => window === 0);
    return canForget ? Math.floor(runtime.exports.sessionSlots(this.#address) / Size.PAGE_SLOTS) : 0;
  }

  /** Tells the engine what may go. @throws ThimbleError context_length_exceeded, invalid_option */
  #declareEviction(rule: EvictionRule, thinning: ThinningRule | undefined): void {
    const contextPages = Math.floor(this.#engine.sizes.contextLength / Size.PAGE_SLOTS);
    if (thinning !== undefined) checkPins(thinning, this.#pins);
    const pages = thinning === undefined ? rule : { ...rule, maxPages: contextPages };
    setEviction(this.#engine, this.#address, pages, this.#pins);
  }

  /**
   * Appends tokens to the cache, and gives what `take` says of the logits of the last one: nobody else can have used the engine
   * in between. A promise only where something had to go first.
   */
  #extend(
    ids: readonly number[],
    rule: EvictionRule,
    thinning: ThinningRule | undefined,
    check: () => void,
    take: (() => Sampled) | undefined,
  ): Sampled | undefined | Promise<Sampled | undefined> {
    const { overflow } = rule;
    if (thinning !== undefined && rowsBefore(this.#engine, this.#address, thinning) < ids.length) {
      return this.#extendThinned(ids, thinning, check, take);
    }
    try {
      this.#append(ids, take !== undefined, overflow === "evict" && thinning === undefined ? rule : undefined);
    } catch (error) {
      if (thinning === undefined || fullOf(error) !== "budget") throw error;
      return this.#extendThinned(ids, thinning, check, take);
    }
    return take?.();
  }

  async #extendThinned(
    ids: readonly number[],
    thinning: ThinningRule,
    check: () => void,
    take: (() => Sampled) | undefined,
  ): Promise<Sampled | undefined> {
    let rule = thinning;
    for (let at = 0; at < ids.length; ) {
      const room = rowsBefore(this.#engine, this.#address, rule);
      if (room < 1) {
        await this.#thin(rule, check);
        if (rowsBefore(this.#engine, this.#address, rule) < 1) throw new Error("nothing went");
      }
      const rows = ids.slice(at, at + rowsBefore(this.#engine, this.#address, rule));
      const isLast = at + rows.length >= ids.length;
      try {
        this.#append(rows, isLast && take !== undefined);
      } catch (error) {
        const fewer = fullOf(error) === "budget" ? narrower(this.#engine, this.#address, rule) : undefined;
        if (fewer === undefined) throw error;
        rule = fewer;
        this.#rule = { ...this.#rule, maxPages: pagesOf(fewer) };
        continue;
      }
      at += rows.length;
      if (isLast) return take?.();
    }
    return undefined;
  }

  /** Makes room for more tokens. */
  async #thin(rule: ThinningRule, check: () => void): Promise<void> {
    const done = await thin(this.#engine, this.#address, rule, this.#pins, this.#cached, { host: this.#host, check });
    this.#forget(done.spans, rule.policy.name);
    this.#repeatedTokens += done.repeatedTokens;
  }

  /** The same in one call; where memory has no more and `rule` is given, whole pages go from here on. */
  #append(ids: readonly number[], wantLogits: boolean, rule?: EvictionRule): void {
    const position = this.#cached.length;
    const rows = ids.map((input, i) => ({
      session: this.#address,
      input,
      position: position + i,
      logits: wantLogits && i === ids.length - 1,
    }));
    try {
      this.#engine.forward(rows);
    } catch (error) {
      if (rule === undefined || fullOf(error) !== "budget") throw error;
      this.#shrink(rule, error);
      this.#engine.forward(rows);
    }
    this.#cached.push(...ids);
    this.#forget(evictedSpans(this.#engine, this.#address), POLICY);
  }

  /** Writes down what has gone, and tells. */
  #forget(spans: readonly EvictedSpan[], policy: string): void {
    if (spans.length > 0) this.onEvict?.(this.#ledger.add(spans, this.#cached.length, this.#turns, policy));
  }

  /** What the session does not keep of the prompt goes. */
  async #endPrompt(ids: readonly number[], thinning: ThinningRule | undefined, check: () => void): Promise<void> {
    const { policy } = this.#engine.sizes.cache;
    if (this.#promptRule === undefined || policy === undefined) return;
    const { keep } = this.#promptRule;
    if (thinning !== undefined) {
      if ("share" in keep) await this.#thin(atPromptEnd(this.#engine, this.#address, thinning, keep.share), check);
      return;
    }
    const pass = { host: this.#host, check };
    const rule = { ...this.#promptRule, pins: this.#pins };
    const ended = await endPrompt(this.#engine, this.#address, rule, ids, pass);
    this.#forget(ended.spans, policy.name);
    this.#repeatedTokens += ended.repeatedTokens;
  }

  /** Whether the next `rows` tokens go layer by layer. */
  #goesByLayers(rows: number, rule: EvictionRule): boolean {
    return this.#promptRule !== undefined && goesByLayers(this.#engine, this.#address, this.#promptRule, rows, rule);
  }

  /**
   * Computes the rest of a prompt layer by layer, in a fork that takes the session's place when it is done: until then the session
   * is as it was. False where memory has no room for it: a short prompt behind much that is held may do with less in chunks.
   */
  async #computeByLayers(ids: readonly number[], pass: LayersPass): Promise<boolean> {
    const { exports } = this.#engine.runtime;
    let fork = 0;
    let spans: readonly EvictedSpan[];
    try {
      fork = this.#engine.forkSession(this.#address);
      spans = await computeByLayers(this.#engine, fork, ids, this.#cached.length, this.#promptRule!, pass);
      pass.check();
    } catch (error) {
      if (fork !== 0) exports.sessionClose(fork);
      if (fullOf(error) === "budget") return false;
      throw error;
    }
    exports.sessionClose(this.#address);
    this.#address = fork;
    for (const id of ids.slice(this.#cached.length)) this.#cached.push(id);
    this.#forget(spans, this.#engine.sizes.cache.policy!.name);
    return true;
  }

  /** Memory has no more: the session makes do with the pages it has, if they are enough to evict from. */
  #shrink(rule: EvictionRule, cause: unknown): void {
    const maxPages = Math.ceil(this.#engine.runtime.exports.sessionSlots(this.#address) / Size.PAGE_SLOTS);
    if (maxPages === 0 || maxPages >= this.#rule.maxPages) throw cause; // nothing to make do with, or as much as before
    try {
      setEviction(this.#engine, this.#address, { ...rule, maxPages }, this.#pins);
    } catch {
      throw cause;
    }
    this.#rule = { ...this.#rule, maxPages };
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
      address: this.#address,
      cached: [...this.#cached],
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
    const { forgetting } = state;
    const session = new TokenSession(engine, host, { ...forgetting?.options, address, known: state.known });
    if (forgetting !== undefined) {
      session.#pins = mergePins(forgetting.pins);
      session.#turns = forgetting.turns;
      session.#ledger = new Ledger(forgetting.ledger);
    }
    for (const id of state.cached) session.#cached.push(id);
    session.#tokens = state.tokens;
    session.#paused = state.paused;
    return session;
  }
}

export function commonPrefix(a: readonly number[], b: readonly number[]): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; ++i) if (a[i] !== b[i]) return i;
  return length;
}

/** What is full, where an error says that something is. */
function fullOf(error: unknown): "context" | "budget" | undefined {
  const { code } = error as ThimbleError;
  if (code === "context_length_exceeded") return "context";
  return code === "over_budget" || code === "out_of_memory" ? "budget" : undefined;
}

function samplerKernels({ runtime, config }: Engine): SamplerKernels {
  const { exports } = runtime;
  return {
    scratch: () => runtime.floats(exports.scratchAddress(), config.vocabSize),
    expInPlace: (n, max, inverse) => exports.expWeights(exports.scratchAddress(), n, max, inverse),
    log: (x) => exports.log64(x),
  };
}
