/**
 * A session's rule for a full context, told to the engine: what may be evicted (assembly/cache/evict.ts), and what the
 * engine says has gone.
 * @module
 */
import { Size, Status } from "../assembly/memory/status.ts";
import type { Engine } from "./engine.ts";
import { ThimbleError } from "./errors.ts";
import { pageSizes } from "./kv-cache.ts";
import type { EvictedSpan } from "./ledger.ts";
import { checkChoice, checkInteger, wrongOption } from "./options.ts";
import type { PromptRule } from "./prompt-end.ts";
import { OVERFLOWS, type Overflow, type Pin, type SessionOptions } from "./token-turn.ts";

/** Most pins of a session: MAX_PINS of assembly/cache/evict.ts. */
const MAX_PINS = 32;
/** Words of an eviction record. */
const RECORD_WORDS = 4;

export interface EvictionRule {
  readonly overflow: Overflow;
  /** Pages of a head at most: those of the context, or what memory had room for. */
  readonly maxPages: number;
  readonly sinkPages: number;
  readonly windowPages: number;
}

/**
 * @param keep what is kept of prompts: of a session that evicts whole pages, the slots it may hold at any time
 * @throws ThimbleError invalid_option
 */
export function evictionRule(engine: Engine, options: SessionOptions = {}, keep?: PromptRule): EvictionRule {
  const { sinkPages, recentPages } = engine.sizes.cache;
  const { contextLength } = engine.sizes;
  const pages = (name: string, tokens: number | undefined, fewest: number, usual: number): number => {
    const most = Math.floor(contextLength / Size.PAGE_SLOTS) * Size.PAGE_SLOTS;
    const least = options.overflow === "evict" ? fewest * Size.PAGE_SLOTS : 0;
    const n = checkInteger(name, tokens ?? Math.max(fewest * 32, usual), least, Math.max(most, 96));
    if (n % Size.PAGE_SLOTS === 0 || options.overflow !== "evict")
      return Math.max(fewest, Math.ceil(n / Size.PAGE_SLOTS));
    throw wrongOption(name, `${name} is ${n}; it must be a multiple of ${Size.PAGE_SLOTS}`);
  };
  const goesByPages = options.overflow === "evict" && engine.sizes.cache.policy?.name === "streaming";
  const slots = goesByPages && keep !== undefined && "slots" in keep.keep ? keep.keep.slots : contextLength;
  return {
    overflow: checkChoice("overflow", options.overflow ?? "stop", OVERFLOWS),
    maxPages: Math.floor(Math.min(contextLength, slots) / Size.PAGE_SLOTS),
    sinkPages: pages("sinks", options.sinks, sinkPages, 32),
    windowPages: pages("window", options.window, recentPages, 64),
  };
}

/**
 * Lets a session evict, or end at its capacity.
 * @throws ThimbleError context_length_exceeded where sinks, pins and window leave nothing to evict; invalid_option where the
 * model's layers cannot do it
 */
export function setEviction(engine: Engine, session: number, rule: EvictionRule, pins: readonly Pin[]): void {
  const { exports } = engine.runtime;
  const { sinkPages, windowPages, overflow } = rule;
  const maxPages = overflow === "evict" ? rule.maxPages : 0;
  exports.sessionEvict(session, 0, 0, 0);
  exports.sessionUnpin(session);
  for (const { first, end } of pins) engine.runtime.check(exports.sessionPin(session, first, end), "pins");
  if (maxPages === 0 || exports.sessionEvict(session, maxPages, sinkPages, windowPages) === Status.OK) return;
  exports.sessionUnpin(session);
  if (exports.sessionEvict(session, maxPages, sinkPages, windowPages) === Status.OK) {
    exports.sessionEvict(session, 0, 0, 0);
    throw noRoom(rule, pins);
  }
  if (sinkPages + windowPages + 2 > maxPages) throw noRoom(rule, []);
  throw wrongOption(
    "overflow",
    "this model cannot evict: query heads follow the norms of all keys, or windows are longer than the context; load it with a longer contextLength, or another overflow",
  );
}

function noRoom({ maxPages, sinkPages, windowPages }: EvictionRule, pins: readonly Pin[]): ThimbleError {
  const pinned = pins.reduce((sum, { first, end }) => sum + Math.ceil(end / 32) - Math.floor(first / 32), 0);
  return tooMuchStays((sinkPages + windowPages + pinned + 2) * Size.PAGE_SLOTS, maxPages * Size.PAGE_SLOTS);
}

/** What stays in any case, in tokens with room for the next page, against those there is room for. */
export function tooMuchStays(needed: number, available: number): ThimbleError {
  return new ThimbleError(
    "context_length_exceeded",
    `first tokens, pins and window keep so much that nothing could be evicted: ${needed} tokens with room for the next; there is room for ${available}; pin less, keep more, or load the model with a longer contextLength`,
    { needed, available },
  );
}

/**
 * Most tokens that can follow first tokens and pins and all be seen at once: they may begin in the middle of a page, and the
 * last page is emptied as soon as it is full.
 */
export function roomBehind({ maxPages, sinkPages }: EvictionRule, pins: readonly Pin[]): number {
  const stays = new Set(Array.from({ length: sinkPages }, (_, page) => page));
  for (const { first, end } of pins) {
    for (let page = first >> 5; page << 5 < end && stays.size < maxPages; ++page) stays.add(page);
  }
  return Math.max(0, maxPages - stays.size - 2) * Size.PAGE_SLOTS;
}

/** What the last forward call evicted of a session: pages of 32 tokens, by their first. */
export function evictedSpans({ runtime, sizes, config }: Engine, session: number): EvictedSpan[] {
  const n = runtime.exports.evictedPages(session);
  if (n === 0) return [];
  const at = runtime.exports.evictedLog(session) >>> 0;
  const words = runtime.words(at, n * RECORD_WORDS);
  const floats = runtime.floats(at, n * RECORD_WORDS);
  const { aged, recent } = pageSizes(sizes.cache, config);
  const wide = new Set(sizes.cache.wideHeads.map(({ layer, head }) => layer * config.nKvHeads + head));
  const spans = new Map<number, EvictedSpan>();
  for (let i = 0; i < n; ++i) {
    const [head, first, end] = words.subarray(i * RECORD_WORDS) as unknown as [number, number, number];
    const known = spans.get(first);
    const heads = (known?.heads ?? 0) + 1;
    const score = Math.max(known?.score ?? Number.NEGATIVE_INFINITY, floats[i * RECORD_WORDS + 3]!);
    const bytes = (known?.bytes ?? 0) + (wide.has(head) ? recent : aged);
    spans.set(first, { first, end: Math.max(known?.end ?? 0, end), heads, bytes, score });
  }
  return [...spans.values()];
}

/** Pins in order, those that touch made one. @throws ThimbleError invalid_option where there are too many */
export function mergePins(pins: readonly Pin[]): Pin[] {
  const merged: Pin[] = [];
  for (const pin of [...pins].sort((a, b) => a.first - b.first)) {
    const last = merged.at(-1);
    if (last !== undefined && pin.first <= last.end) {
      merged[merged.length - 1] = { first: last.first, end: Math.max(last.end, pin.end) };
    } else merged.push(pin);
  }
  if (merged.length <= MAX_PINS) return merged;
  throw wrongOption("pin", `${merged.length} spans are pinned; ${MAX_PINS} are the most`, merged.length, MAX_PINS);
}
