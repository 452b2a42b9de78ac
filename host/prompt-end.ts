/**
 * What stays of a prompt when it ends: the policy the model was loaded with scores the slots, and each KV head keeps its
 * budget (assembly/policy/prompt-end.ts).
 * @module
 */
import { Observed, Policy, Size, Status } from "../assembly/memory/status.ts";
import { shareOf } from "./cache-pages.ts";
import type { Engine } from "./engine.ts";
import { boundedBudgets, headBudgets, overallBudgets, streamingSlots } from "./head-budgets.ts";
import { type Kept, readKeep, wrongKeep } from "./keep.ts";
import { pageSizes } from "./kv-cache.ts";
import type { EvictedSpan } from "./ledger.ts";
import { wrongOption } from "./options.ts";
import { DEFAULT_POLICY, layerBudgets, type PolicySpec } from "./policy.ts";
import type { PassHost } from "./repeat.ts";
import type { Pin, SessionOptions } from "./token-turn.ts";

export interface PromptRule {
  readonly keep: Kept;
  /** First and newest tokens that stay in any case. */
  readonly sinks: number;
  readonly window: number;
  readonly pins?: readonly Pin[];
  /** Slots that no head may exceed, where what stays is thinned again and again (thinning.ts). */
  readonly most?: number;
}

/** Budgets above 1 deal nothing: each head has its own. */
const OWN = 2;

/** What a session keeps of its prompts; undefined: all. @throws ThimbleError invalid_option */
export function promptRule(engine: Engine, { keep, sinks, window }: SessionOptions): PromptRule | undefined {
  if (keep === undefined) return undefined;
  if (engine.sizes.cache.policy === undefined) {
    throw wrongOption(
      "policy",
      `keep needs a policy that chooses: load the model with one, as policy: "${DEFAULT_POLICY}"`,
    );
  }
  if (engine.sizes.cache.policy.dealing === "heads" && engine.headScores === undefined) {
    throw wrongOption("headScores", "the policy deals by heads: load the model with headScores");
  }
  if (engine.config.queryGrouping === "key_norm") {
    const message = "query heads follow the norms of all keys: no part of a prompt can go; leave keep out";
    throw wrongOption("keep", message);
  }
  const kept = readKeep(keep, engine.sizes.cache, engine.config);
  if (keep.bytes !== undefined && engine.sizes.cache.policy.policy === Policy.SIMLAYER) {
    throw wrongKeep("keep.bytes holds for all layers, simlayerkv decides for lazy ones; say keep.slots or keep.ratio");
  }
  if ("share" in kept) return { keep: kept, sinks: sinks ?? 0, window: window ?? 0 };
  const { slots } = kept;
  const rule = { sinks: sinks ?? 32, window: window ?? 64 };
  const { policy } = engine.sizes.cache;
  const streaming = policy.dealing === "heads" ? streamingSlots(policy, engine.sizes.contextLength) : 0;
  const fewest = Math.max(rule.sinks + rule.window + Size.PAGE_SLOTS, streaming);
  if (!Number.isInteger(slots) || slots < fewest) {
    const parts =
      streaming === fewest ? "what a streaming head keeps" : `sinks, window and a page of ${Size.PAGE_SLOTS}`;
    const what = `${parts} are ${fewest} tokens`;
    throw wrongKeep(
      `keep leaves ${String(slots)} tokens a KV head; ${what}: keep more, or protect fewer`,
      fewest,
      slots,
    );
  }
  return { keep: kept, ...rule };
}

/** Rows at the end of a prompt that a policy looks at, and which a session must compute itself. */
export function observedRows({ sizes }: Engine): number {
  const { observed = Observed.NOTHING, observeRows = 0 } = sizes.cache.policy ?? {};
  return observed === Observed.ATTENTION || observed === Observed.CHUNKS ? sizes.contextLength : observeRows;
}

/**
 * Evicts at the end of a prompt, `ids` being all tokens of the session; where the policy reads the prompt once more, it does so
 * first. Else nothing is awaited before it is done.
 *
 * @returns what went, and the tokens that were computed for it
 * @throws ThimbleError as `evictPrompt` and `repeatContext`
 */
export async function endPrompt(
  engine: Engine,
  session: number,
  rule: PromptRule,
  ids: readonly number[],
  pass: PassHost,
): Promise<{ readonly spans: readonly EvictedSpan[]; readonly repeatedTokens: number }> {
  const policy = engine.sizes.cache.policy!;
  const { exports } = engine.runtime;
  if (policy.policy !== Policy.KVZIP) {
    const spans = evictPrompt(engine, session, rule, policy);
    exports.observeRows(session, NEVER);
    exports.collectQueries(session, NEVER);
    return { spans, repeatedTokens: 0 };
  }
  if (shareOf(rule.keep, longest(heldPositions(engine, session))) >= 1) return { spans: [], repeatedTokens: 0 };
  try {
    const { repeatContext } = await import("./repeat.ts");
    const { tokens, recent } = await repeatContext(engine, session, ids, policy, pass);
    return { spans: evictPrompt(engine, session, rule, policy, recent), repeatedTokens: tokens };
  } finally {
    exports.observeRows(session, NEVER);
  }
}

/** Slots of the head that has most. */
function longest(held: readonly Uint32Array[]): number {
  return Math.max(...held.map(({ length }) => length));
}

/** Says that no row counts: NOBODY of assembly/cache/observation.ts. */
export const NEVER = 2 ** 32 - 1;

/**
 * A prompt begins, whose rows from position `from` on are still to be computed: they count for the policy until it ends
 * (`evictPrompt`). `true` says that the prompt is to be computed in one go.
 */
export function beginPrompt({ runtime, sizes }: Engine, session: number, from: number, keepsAll = false): boolean {
  const { policy } = sizes.cache;
  if (policy === undefined) return false;
  runtime.exports.observeRows(session, keepsAll || policy.observed === Observed.LARGEST ? NEVER : from);
  if (policy.queryStatistics > 0)
    runtime.exports.collectQueries(session, keepsAll ? NEVER : Math.max(from, policy.sinks));
  const addsUp = policy.observed === Observed.ATTENTION || policy.observed === Observed.CHUNKS;
  return !keepsAll && (policy.queryStatistics > 0 || addsUp);
}

/** Positions that each KV head holds, over all layers. */
export function heldPositions({ runtime }: Engine, session: number): Uint32Array[] {
  const { exports } = runtime;
  return Array.from({ length: exports.imageHeads() }, (_, head) => {
    const positions = Array.from({ length: exports.headSlots(session, head) }, (_, slot) =>
      exports.slotPosition(session, head, slot),
    );
    return Uint32Array.from(positions.filter((position) => position >= 0));
  });
}

/**
 * Evicts at the end of a prompt; returns what went, as spans of each head.
 * @throws ThimbleError out_of_memory, over_budget, before anything changed; invalid_option
 */
export function evictPrompt(
  engine: Engine,
  session: number,
  rule: PromptRule,
  policy = engine.sizes.cache.policy!,
  recent = 0,
): EvictedSpan[] {
  const { exports } = engine.runtime;
  const held = heldPositions(engine, session);
  const n = longest(held);
  const share = shareOf(rule.keep, n);
  if (share >= 1) return [];
  const taken = policy.policy === Policy.KVZIP ? [...policy.taken, recent] : takenOf(policy, share);
  const end = exports.sessionLength(session) - Math.max(recent, rule.window);
  const first = Math.max(rule.sinks, policy.sinks, policy.values.get("sinks") ?? 0);
  const isPinned = (at: number): boolean => rule.pins?.some((pin) => pin.first <= at && at < pin.end) ?? false;
  const stays = (at: number): boolean => at < first || at >= end || isPinned(at);
  const scored = policy.dealing === "overall" ? scoredSlots(engine, session, stays) : [];
  const budgets = budgetsOf(engine, policy, n, share, rule, scored);
  evictLayers(engine, session, rule, { budgets, taken }, policy);
  return goneSpans(engine, session, held);
}

/** What stays in each KV head, and what the policy takes. */
export interface Ending {
  readonly budgets: readonly number[];
  readonly taken: readonly number[];
}

/** How a prompt ends at which the longest head holds `n` slots; undefined: all stays. Not for budgets over all layers. */
export function endingOf(engine: Engine, rule: PromptRule, n: number): Ending | undefined {
  const policy = engine.sizes.cache.policy!;
  const share = shareOf(rule.keep, n);
  if (share >= 1) return undefined;
  return { budgets: budgetsOf(engine, policy, n, share, rule, []), taken: takenOf(policy, share) };
}

function takenOf({ name, taken }: PolicySpec, share: number): readonly number[] {
  return name === "compactor" && taken[2] === 0 ? taken.map((value, i) => (i === 2 ? 1 - share : value)) : taken;
}

/**
 * Evicts at the end of a prompt, in all layers or in those from `first` to `end`.
 * @throws ThimbleError as `evictPrompt`
 */
export function evictLayers(
  engine: Engine,
  session: number,
  rule: PromptRule,
  { budgets, taken }: Ending,
  policy = engine.sizes.cache.policy!,
  first = 0,
  end = 0,
): void {
  const { runtime } = engine;
  const { exports } = runtime;
  const sinks = Math.max(rule.sinks, policy.sinks);
  engine.reservePages(exports.promptPages(session, first, end));
  runtime.words(exports.policyBudgetsAddress(), budgets.length).set(budgets);
  runtime.floats(exports.policyParametersAddress(), 8).set(taken);
  const safe =
    policy.dealing === "adaptive" ? (policy.values.get("safeguard") ?? 0) : policy.dealing === "overall" ? 0 : OWN;
  const most = rule.most ?? wholePages(engine.sizes.contextLength);
  const status = exports.promptEvict(session, policy.policy, sinks, rule.window, safe, first, end, most);
  if (status === Status.BAD_ARGUMENT) {
    throw wrongOption("policy", `policy ${policy.name} cannot serve this model's layers`);
  }
  runtime.check(status, "eviction at the end of a prompt");
}

/** Slots that a head may keep, since they end with a page, where the context does not; 0: any number. */
function wholePages(contextLength: number): number {
  return contextLength % Size.PAGE_SLOTS === 0 ? 0 : Math.floor(contextLength / Size.PAGE_SLOTS) * Size.PAGE_SLOTS;
}

/** What went of what was held, as spans of each head. */
export function goneSpans(engine: Engine, session: number, held: readonly Uint32Array[]): EvictedSpan[] {
  const slotBytes = pageSizes(engine.sizes.cache, engine.config).aged / Size.PAGE_SLOTS;
  return spansOf(held, heldPositions(engine, session), slotBytes);
}

/** What all rows have given the slots of each layer's heads; what stays in any case is above all. */
function scoredSlots(
  { runtime, config }: Engine,
  session: number,
  stays: (position: number) => boolean,
): Float32Array[] {
  const { exports } = runtime;
  return config.layers.map(({ window }, layer) => {
    if (window !== 0) return new Float32Array(0);
    const scores: number[] = [];
    for (let head = layer * config.nKvHeads; head < (layer + 1) * config.nKvHeads; ++head) {
      const slots = exports.headSlots(session, head);
      const sums = runtime.floats(exports.observedSumsAddress(session, head), slots);
      for (let slot = 0; slot < slots; ++slot) {
        const position = exports.slotPosition(session, head, slot);
        if (position >= 0) scores.push(stays(position) ? Number.POSITIVE_INFINITY : sums[slot]!);
      }
    }
    return Float32Array.from(scores);
  });
}

/** Slots that each KV head keeps, one at least. */
function budgetsOf(
  { config, headScores }: Engine,
  policy: PolicySpec,
  n: number,
  share: number,
  { keep, most }: PromptRule,
  scored: readonly Float32Array[],
): number[] {
  if (policy.dealing === "overall") {
    const slots = scored.reduce((sum, { length }) => sum + length, 0);
    const heads = config.nKvHeads * config.layers.filter(({ window }) => window === 0).length;
    const kept = "slots" in keep ? Math.min(slots, keep.slots * heads) : Math.floor(slots * share + 1e-9);
    return overallBudgets(scored, config.nKvHeads, kept).map(atLeastOne);
  }
  if (policy.dealing !== "heads") {
    return layerBudgets(policy, config.nLayers, n, share).flatMap((slots) =>
      Array<number>(config.nKvHeads).fill(atLeastOne(slots)),
    );
  }
  const scores = headScores!.map((score, head) => {
    return config.layers[Math.floor(head / config.nKvHeads)]!.window === 0 ? score : Number.NaN;
  });
  const budgets =
    most !== undefined && "slots" in keep
      ? boundedBudgets(policy, scores, keep.slots)
      : headBudgets(policy, scores, n, share);
  return budgets.map(atLeastOne);
}

function atLeastOne(slots: number): number {
  return Math.max(slots, 1);
}

/** Runs of positions that at least one head held and does not hold any more. */
function spansOf(held: readonly Uint32Array[], kept: readonly Uint32Array[], slotBytes: number): EvictedSpan[] {
  const heads = new Uint32Array(1 + Math.max(...held.map((positions) => positions.at(-1) ?? 0)));
  held.forEach((positions, head) => {
    let next = 0;
    for (const position of positions) {
      if (kept[head]![next] === position) next += 1;
      else heads[position]! += 1;
    }
  });
  const spans: EvictedSpan[] = [];
  heads.forEach((count, position) => {
    if (count === 0) return;
    const last = spans.at(-1);
    const bytes = Math.round(count * slotBytes);
    if (last === undefined || last.end !== position)
      spans.push({ first: position, end: position + 1, heads: count, bytes });
    else {
      const most = Math.max(last.heads, count);
      spans[spans.length - 1] = { first: last.first, end: position + 1, heads: most, bytes: last.bytes + bytes };
    }
  });
  return spans;
}
