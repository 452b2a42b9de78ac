/**
 * What a session holds of its tokens: their pages, what may go of them and what went. It grows with the functions of
 * session-growth.ts and is cut back here; turns are the business of token-session.ts.
 * @module
 */
import { Size } from "../assembly/memory/status.ts";
import type { ForgettingState } from "./capsule/state.ts";
import type { Engine } from "./engine.ts";
import { ThimbleError } from "./errors.ts";
import { type EvictionRule, evictionRule, mergePins, roomBehind, setEviction } from "./evictor.ts";
import { pageSizes } from "./kv-cache.ts";
import { type EvictedSpan, Ledger, type LedgerEntry } from "./ledger.ts";
import { checkChoice, checkInteger } from "./options.ts";
import { describePolicy, looksAtRows } from "./policy.ts";
import { heldPositions, NEVER, observedRows, type PromptRule, promptRule } from "./prompt-end.ts";
import { checkPins, type ThinningRule, thinningRule } from "./thinning.ts";
import { OVERFLOWS, type Overflow, type Pin, type SessionOptions } from "./token-turn.ts";

/** What may go in a turn, and how it is chosen. */
export interface CacheRules {
  readonly pages: EvictionRule;
  /** Undefined: whole pages go, oldest first, where anything goes. */
  readonly thinning: ThinningRule | undefined;
}

export class SessionCache {
  readonly engine: Engine;
  /** Turns that have ended; the ledger says when spans went. */
  turns = 0;
  /** Tokens that were computed once more to find out what may go. */
  repeatedTokens = 0;
  /** Called with the spans that a forward call evicted, as soon as they are gone. */
  onEvict: ((spans: readonly LedgerEntry[]) => void) | undefined;
  #address: number;
  readonly #ids: number[] = [];
  #options: SessionOptions;
  #rule: EvictionRule;
  #promptRule: PromptRule | undefined;
  #pins: readonly Pin[] = [];
  #ledger = new Ledger();

  /** @throws ThimbleError out_of_memory, over_budget, invalid_option */
  constructor(engine: Engine, options: SessionOptions, address?: number) {
    this.engine = engine;
    this.#options = options;
    this.#promptRule = promptRule(engine, options);
    this.#rule = evictionRule(engine, options, this.#promptRule);
    thinningRule(engine, this.#rule, this.#promptRule); // throws where it cannot be
    this.#address = address ?? engine.openSession();
  }

  /** The same tokens in shared pages. @throws ThimbleError out_of_memory, over_budget */
  fork(): SessionCache {
    const copy = new SessionCache(this.engine, {}, this.engine.forkSession(this.#address));
    copy.#options = this.#options;
    copy.#rule = this.#rule;
    copy.#promptRule = this.#promptRule;
    copy.#pins = this.#pins;
    copy.#ledger = this.#ledger.copy();
    copy.turns = this.turns;
    for (const id of this.#ids) copy.#ids.push(id);
    return copy;
  }

  /** A cache whose pages at `address` hold the tokens `ids` already. @throws ThimbleError invalid_option */
  static restored(
    engine: Engine,
    address: number,
    ids: readonly number[],
    forgetting: ForgettingState | undefined,
  ): SessionCache {
    const cache = new SessionCache(engine, forgetting?.options ?? {}, address);
    if (forgetting !== undefined) {
      cache.#pins = mergePins(forgetting.pins);
      cache.turns = forgetting.turns;
      cache.#ledger = new Ledger(forgetting.ledger);
    }
    for (const id of ids) cache.#ids.push(id);
    return cache;
  }

  /** Where the engine has it. */
  get address(): number {
    return this.#address;
  }

  /** Tokens whose keys and values were computed, in order; evicted ones among them. */
  get ids(): readonly number[] {
    return this.#ids;
  }

  /** What is kept of prompts. */
  get promptRule(): PromptRule | undefined {
    return this.#promptRule;
  }

  /** What turns do when the context is full, where they do not say so. */
  get overflow(): Overflow {
    return this.#rule.overflow;
  }

  /** What was evicted, in order. */
  get ledger(): Ledger {
    return this.#ledger;
  }

  get pins(): readonly Pin[] {
    return this.#pins;
  }

  /** Bytes of the pages of the pool that it holds. */
  get bytes(): number {
    const { config, runtime, sizes } = this.engine;
    const { aged, recent } = pageSizes(sizes.cache, config);
    const { sessionPages } = runtime.exports;
    return sessionPages(this.#address) * aged + sessionPages(this.#address, true) * recent;
  }

  /** Positions that each KV head still holds, over all layers. */
  heldPositions(): number[][] {
    return heldPositions(this.engine, this.#address).map((positions) => Array.from(positions));
  }

  /** Most tokens that can follow and all be seen at once while it evicts. */
  get room(): number {
    const { pages, thinning } = this.rules();
    const maxPages = thinning === undefined ? pages.maxPages : thinning.slots / Size.PAGE_SLOTS;
    return roomBehind({ ...pages, maxPages }, this.#pins);
  }

  /** Whether memory had no more at some time, so that it holds less than its options say. */
  get isShort(): boolean {
    return this.#rule.maxPages < evictionRule(this.engine, this.#options, this.#promptRule).maxPages;
  }

  /** What a capsule says of it; undefined where there is nothing to say. */
  get forgetting(): ForgettingState | undefined {
    const { overflow, sinks, window, keep } = this.#options;
    const { dated } = this.#ledger;
    const isPlain =
      (overflow ?? "stop") === "stop" && keep === undefined && this.#pins.length === 0 && dated.length === 0;
    if (isPlain) return undefined;
    const spec = this.engine.sizes.cache.policy;
    const policy = spec && describePolicy(spec);
    return { options: { overflow, sinks, window, keep }, pins: this.#pins, turns: this.turns, ledger: dated, policy };
  }

  /** Other rules from the next turn on. @throws ThimbleError invalid_option */
  declare(options: SessionOptions): void {
    this.#options = options;
    this.#promptRule = promptRule(this.engine, options);
    this.#rule = evictionRule(this.engine, options, this.#promptRule);
    thinningRule(this.engine, this.#rule, this.#promptRule);
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

  /** The rules of a turn. @throws ThimbleError invalid_option */
  rules(overflow?: Overflow): CacheRules {
    const pages = { ...this.#rule, overflow: checkChoice("overflow", overflow ?? this.#rule.overflow, OVERFLOWS) };
    return { pages, thinning: thinningRule(this.engine, pages, this.#promptRule) };
  }

  /** Tells the engine what may go. @throws ThimbleError context_length_exceeded, invalid_option */
  allow({ pages, thinning }: CacheRules): void {
    const contextPages = Math.floor(this.engine.sizes.contextLength / Size.PAGE_SLOTS);
    if (thinning !== undefined) checkPins(thinning, this.#pins);
    const rule = thinning === undefined ? pages : { ...pages, maxPages: contextPages };
    setEviction(this.engine, this.#address, rule, this.#pins);
  }

  /** Memory has no more: from here on it makes do with so many pages a head. */
  shrinkTo(maxPages: number): void {
    this.#rule = { ...this.#rule, maxPages };
  }

  /** Full pages of the head that has most, of those that can forget. */
  get closedPages(): number {
    const { config, runtime } = this.engine;
    const canForget = config.layers.some(({ window }) => window === 0);
    return canForget ? Math.floor(runtime.exports.sessionSlots(this.#address) / Size.PAGE_SLOTS) : 0;
  }

  /** Whether `nTokens` in all have room, when the first `reused` of them keep the slots they have. @throws ThimbleError */
  checkRoom(nTokens: number, reused: number): void {
    const { contextLength } = this.engine.sizes;
    const isWhole = reused === this.#ids.length && reused > 0;
    const evicted = isWhole ? reused - this.engine.runtime.exports.sessionSlots(this.#address) : 0;
    if (nTokens - evicted <= contextLength) return;
    throw new ThimbleError(
      "context_length_exceeded",
      `the prompt and the turns before it are ${nTokens} tokens; the context holds ${contextLength}`,
      { needed: nTokens, available: contextLength },
    );
  }

  /** Keeps the first `length` tokens at most. @returns the length it could go back to: layers with a sliding window may have to start again */
  truncate(length: number): number {
    const { exports } = this.engine.runtime;
    this.#ids.length = exports.sessionTruncate(this.#address, length);
    // A page that has gone comes back only when all is computed again: where less is dropped, it was before what is dropped.
    if (this.#ids.length === 0) this.#ledger.clear();
    if (this.#ids.length === 0) exports.observeRows(this.#address, NEVER);
    return this.#ids.length;
  }

  /** Tokens whose keys and values the engine has computed now, and what went for them. */
  add(ids: readonly number[], spans: readonly EvictedSpan[], policy: string): void {
    for (const id of ids) this.#ids.push(id);
    if (spans.length > 0) this.onEvict?.(this.#ledger.add(spans, this.#ids.length, this.turns, policy));
  }

  /** Pages at another address take the place of its own. */
  moveTo(address: number): void {
    this.engine.runtime.exports.sessionClose(this.#address);
    this.#address = address;
  }

  /** Tokens of `ids` that another cache could go on from; 0 where tokens went, or pages are packed at a prompt's end. */
  shareable(ids: readonly number[]): number {
    return this.#promptRule !== undefined || this.#ledger.totals.tokens > 0 ? 0 : commonPrefix(this.#ids, ids);
  }

  /**
   * Goes on from another cache's pages where that has computed more of `ids`; there may be no memory for it. No more than it
   * would have come to itself without forgetting, and of a prompt whose queries choose what stays, none of these: it gives
   * the tokens it would give alone.
   * @param donorOf - a cache that has computed more of the ids than so many
   */
  borrow(
    ids: readonly number[],
    { pages: { overflow, maxPages }, thinning }: CacheRules,
    donorOf: (ids: readonly number[], more: number) => SessionCache | undefined,
  ): void {
    const countsQueries = (this.engine.sizes.cache.policy?.queryStatistics ?? 0) > 0;
    if (this.#promptRule !== undefined && (countsQueries || this.#ids.length > 0)) return;
    if (thinning !== undefined && looksAtRows(thinning.policy)) return;
    const own = commonPrefix(this.#ids, ids);
    const observed = this.#promptRule === undefined ? 0 : observedRows(this.engine);
    const most = Math.min(
      ids.length - Math.max(1, observed),
      thinning?.slots ?? Number.POSITIVE_INFINITY,
      overflow === "evict" ? maxPages * Size.PAGE_SLOTS - 1 : Number.POSITIVE_INFINITY,
    );
    if (most <= own) return;
    const donor = donorOf(ids, own);
    if (donor === undefined) return;
    const { exports } = this.engine.runtime;
    let copy: number;
    try {
      copy = this.engine.forkSession(donor.#address);
    } catch {
      return;
    }
    const length = exports.sessionTruncate(copy, Math.min(donor.shareable(ids), most));
    if (length <= own) {
      exports.sessionClose(copy);
      return;
    }
    this.moveTo(copy);
    this.#ids.length = 0;
    for (const id of ids.slice(0, length)) this.#ids.push(id);
    this.#ledger = new Ledger();
  }

  /** Frees the pages; they are zeroed before anyone else gets them. */
  close(): void {
    this.#ids.length = 0;
    this.engine.runtime.exports.sessionClose(this.#address);
  }
}

export function commonPrefix(a: readonly number[], b: readonly number[]): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; ++i) if (a[i] !== b[i]) return i;
  return length;
}
