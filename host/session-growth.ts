/**
 * How a session's cache grows: rows are appended, and where it is full something goes first; a prompt ends. Memory that has no
 * more leaves it with less.
 * @module
 */
import { Size } from "../assembly/memory/status.ts";
import type { ThimbleError } from "./errors.ts";
import { type EvictionRule, evictedSpans, setEviction } from "./evictor.ts";
import type { EvictedSpan } from "./ledger.ts";
import { endPrompt } from "./prompt-end.ts";
import { computeByLayers, goesByLayers, type LayersPass } from "./prompt-layers.ts";
import type { PassHost } from "./repeat.ts";
import type { Sampled } from "./sampler.ts";
import type { CacheRules, SessionCache } from "./session-cache.ts";
import { atPromptEnd, hasRoom, makeRoom, narrower, pagesOf, type ThinningRule, thin } from "./thinning.ts";

/** How spans are chosen where no policy is named: the oldest go first. */
const POLICY = "streaming";

/**
 * Appends tokens, and gives what `take` says of the logits of the last one: nobody else can have used the engine in between. A
 * promise only where something had to go first.
 * @throws ThimbleError context_length_exceeded, out_of_memory, over_budget
 */
export function extend(
  cache: SessionCache,
  ids: readonly number[],
  { pages, thinning }: CacheRules,
  pass: PassHost,
  take: (() => Sampled) | undefined,
): Sampled | undefined | Promise<Sampled | undefined> {
  if (thinning !== undefined && !hasRoom(cache.engine, cache.address, thinning, ids.length)) {
    return extendThinned(cache, ids, thinning, pass, take);
  }
  try {
    append(cache, ids, take !== undefined, pages.overflow === "evict" && thinning === undefined ? pages : undefined);
  } catch (error) {
    if (thinning === undefined || fullOf(error) !== "budget") throw error;
    return extendThinned(cache, ids, thinning, pass, take);
  }
  return take?.();
}

async function extendThinned(
  cache: SessionCache,
  ids: readonly number[],
  thinning: ThinningRule,
  pass: PassHost,
  take: (() => Sampled) | undefined,
): Promise<Sampled | undefined> {
  const { engine } = cache;
  let rule = thinning;
  for (let at = 0; at < ids.length; ) {
    const { rows, ...thinned } = await makeRoom(engine, cache.address, rule, cache.pins, cache.ids, pass);
    note(cache, rule, thinned);
    const part = ids.slice(at, at + rows);
    const isLast = at + part.length >= ids.length;
    try {
      append(cache, part, isLast && take !== undefined);
    } catch (error) {
      const fewer = fullOf(error) === "budget" ? narrower(engine, cache.address, rule) : undefined;
      if (fewer === undefined) throw error;
      rule = fewer;
      cache.shrinkTo(pagesOf(fewer));
      continue;
    }
    at += part.length;
    if (isLast) return take?.();
  }
  return undefined;
}

/** Writes down what a policy has let go. */
function note(
  cache: SessionCache,
  { policy }: ThinningRule,
  { spans, repeatedTokens }: { readonly spans: readonly EvictedSpan[]; readonly repeatedTokens: number },
): void {
  cache.add([], spans, policy.name);
  cache.repeatedTokens += repeatedTokens;
}

/** The same in one call; where memory has no more and `rule` is given, whole pages go from here on. */
function append(cache: SessionCache, ids: readonly number[], wantLogits: boolean, rule?: EvictionRule): void {
  const { engine, address } = cache;
  const position = cache.ids.length;
  const rows = ids.map((input, i) => ({
    session: address,
    input,
    position: position + i,
    logits: wantLogits && i === ids.length - 1,
  }));
  try {
    engine.forward(rows);
  } catch (error) {
    if (rule === undefined || fullOf(error) !== "budget") throw error;
    shrink(cache, rule, error);
    engine.forward(rows);
  }
  cache.add(ids, evictedSpans(engine, address), POLICY);
}

/** Memory has no more: the session makes do with the pages it has, if they are enough to evict from. */
function shrink(cache: SessionCache, rule: EvictionRule, cause: unknown): void {
  const { engine, address } = cache;
  const maxPages = Math.ceil(engine.runtime.exports.sessionSlots(address) / Size.PAGE_SLOTS);
  if (maxPages === 0 || maxPages >= cache.rules().pages.maxPages) throw cause; // nothing to make do with, or as much as before
  try {
    setEviction(engine, address, { ...rule, maxPages }, cache.pins);
  } catch {
    throw cause;
  }
  cache.shrinkTo(maxPages);
}

/** A prompt ends, all tokens being `ids`: what the session does not keep of it goes. */
export async function endTurnsPrompt(
  cache: SessionCache,
  ids: readonly number[],
  { thinning }: CacheRules,
  pass: PassHost,
): Promise<void> {
  const { engine, promptRule } = cache;
  const { policy } = engine.sizes.cache;
  if (promptRule === undefined || policy === undefined) return;
  const { keep } = promptRule;
  if (thinning !== undefined) {
    if (!("share" in keep)) return;
    const rule = atPromptEnd(engine, cache.address, thinning, keep.share);
    note(cache, rule, await thin(engine, cache.address, rule, cache.pins, cache.ids, pass));
    return;
  }
  const ended = await endPrompt(engine, cache.address, { ...promptRule, pins: cache.pins }, ids, pass);
  cache.add([], ended.spans, policy.name);
  cache.repeatedTokens += ended.repeatedTokens;
}

/** Whether the next `rows` tokens, which end a prompt, go layer by layer. */
export function growsByLayers(cache: SessionCache, rows: number, { pages, thinning }: CacheRules): boolean {
  const { engine, promptRule } = cache;
  if (promptRule === undefined || thinning !== undefined) return false;
  return goesByLayers(engine, cache.address, promptRule, rows, pages);
}

/**
 * Computes the rest of a prompt layer by layer, in a fork that takes the session's place when it is done: until then the session
 * is as it was. False where memory has no room for it: a short prompt behind much that is held may do with less in chunks.
 */
export async function growByLayers(cache: SessionCache, ids: readonly number[], pass: LayersPass): Promise<boolean> {
  const { engine } = cache;
  let fork = 0;
  let spans: readonly EvictedSpan[];
  try {
    fork = engine.forkSession(cache.address);
    spans = await computeByLayers(engine, fork, ids, cache.ids.length, cache.promptRule!, pass);
    pass.check();
  } catch (error) {
    if (fork !== 0) engine.runtime.exports.sessionClose(fork);
    if (fullOf(error) === "budget") return false;
    throw error;
  }
  cache.moveTo(fork);
  cache.add(ids.slice(cache.ids.length), spans, engine.sizes.cache.policy!.name);
  return true;
}

/** What is full, where an error says that something is. */
export function fullOf(error: unknown): "context" | "budget" | undefined {
  const { code } = error as ThimbleError;
  if (code === "context_length_exceeded") return "context";
  return code === "over_budget" || code === "out_of_memory" ? "budget" : undefined;
}
