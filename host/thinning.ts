/**
 * A session that streams under a policy: whenever its heads hold as many slots as they may, the policy the model was loaded with
 * chooses among all of them, and an eighth goes. What a prompt's end does once (prompt-end.ts) is done again and again, at
 * lengths of the cache that do not depend on how rows are cut into calls.
 *
 *   slots of all heads:  | held ........ | room |      when less than a page of room is left: held = 7/8 of all
 *
 * Heads may hold different numbers of slots; together they hold no more than `slots` each.
 * @module
 */
import { Observed, Policy, Size } from "../assembly/memory/status.ts";
import type { Engine } from "./engine.ts";
import { ThimbleError } from "./errors.ts";
import { type EvictionRule, tooMuchStays } from "./evictor.ts";
import { streamingSlots } from "./head-budgets.ts";
import type { EvictedSpan } from "./ledger.ts";
import { wrongOption } from "./options.ts";
import type { PolicySpec } from "./policy.ts";
import { evictPrompt, NEVER, type PromptRule } from "./prompt-end.ts";
import type { PassHost } from "./repeat.ts";
import type { Pin } from "./token-turn.ts";

const PAGE = Size.PAGE_SLOTS;
/** Slots of the context that a second reading of what came since the last time needs besides. */
const REPEATED = 224;
/** Of so many parts one goes. */
const PARTS = 8;

export interface ThinningRule {
  readonly policy: PolicySpec;
  /** Most slots of a KV head, on average; a multiple of 32. */
  readonly slots: number;
  /** What is left of them each time. */
  readonly target: number;
  /** First and newest tokens that stay in any case. */
  readonly sinks: number;
  readonly window: number;
}

/**
 * How a session with `overflow: "evict"` streams; undefined: whole pages go, oldest first (evictor.ts).
 * @throws ThimbleError invalid_option
 */
export function thinningRule(
  engine: Engine,
  rule: EvictionRule,
  keep: PromptRule | undefined,
): ThinningRule | undefined {
  const { policy } = engine.sizes.cache;
  if (rule.overflow !== "evict" || policy === undefined || policy.name === "streaming") return undefined;
  if (policy.policy === Policy.SIMLAYER) {
    const message = "simlayerkv cannot hold a session to a size: it keeps whole layers";
    throw wrongOption("overflow", `${message} policy, or another overflow`);
  }
  if (policy.dealing === "heads" && engine.headScores === undefined) {
    throw wrongOption("headScores", "the policy deals by heads: load the model with headScores");
  }
  const most = Math.min(mostSlots(engine, policy), rule.maxPages * PAGE - spareSlots(policy));
  const wanted = keep !== undefined && "slots" in keep.keep ? keep.keep.slots : most;
  return ruleOf(policy, Math.min(wanted, most), rule);
}

/** Slots of the context that a session leaves free. */
function spareSlots({ observed }: PolicySpec): number {
  return PAGE + (observed === Observed.LARGEST ? REPEATED : 0);
}

/** Slots that a head can have, where heads have different numbers of them. */
function mostSlots({ sizes }: Engine, policy: PolicySpec): number {
  return sizes.contextLength - spareSlots(policy);
}

/** Slots that a head has at most when a session has been thinned. */
function mostLeft(engine: Engine, policy: PolicySpec): number {
  const most = mostSlots(engine, policy);
  return Math.max(
    PAGE,
    Math.min(Math.floor((most * (PARTS - 1)) / PARTS / PAGE) * PAGE, Math.floor(most / PAGE) * PAGE - 2 * PAGE),
  );
}

/** Pages of a head in an `EvictionRule` that gives this rule again. */
export function pagesOf({ policy, slots }: ThinningRule): number {
  return (slots + spareSlots(policy)) / PAGE;
}

/** The same rule for a session that has to do with fewer slots. */
export function narrower(engine: Engine, session: number, rule: ThinningRule): ThinningRule | undefined {
  const { heads, total } = heldSlots(engine, session);
  const slots = Math.floor(total / heads);
  if (slots >= rule.slots) return undefined;
  try {
    return ruleOf(rule.policy, slots, rule);
  } catch {
    return undefined; // too few to choose from: it is memory that is full
  }
}

function ruleOf(
  policy: PolicySpec,
  wanted: number,
  of:
    | { readonly sinkPages: number; readonly windowPages: number }
    | { readonly sinks: number; readonly window: number },
): ThinningRule {
  const sinks = "sinks" in of ? of.sinks : of.sinkPages * PAGE;
  const window = "window" in of ? of.window : of.windowPages * PAGE;
  const slots = Math.floor(wanted / PAGE) * PAGE;
  const target = Math.min(Math.floor((slots * (PARTS - 1)) / PARTS / PAGE) * PAGE, slots - 2 * PAGE);
  const least = Math.max(sinks + window, policy.dealing === "heads" ? streamingSlots(policy, slots) : 0) + PAGE;
  if (target >= least) return { policy, slots, target, sinks, window };
  const needed = Math.ceil((least * PARTS) / (PARTS - 1) / PAGE + 2) * PAGE;
  throw wrongOption(
    "keep",
    `${slots} tokens a KV head are too few to choose from: first and newest tokens, and a page of ${PAGE}, take ${least} of the ${target} left each time; give it ${needed}, or protect fewer`,
    needed,
    slots,
  );
}

/** @throws ThimbleError context_length_exceeded where pins leave nothing to choose from */
export function checkPins({ sinks, window, target }: ThinningRule, pins: readonly Pin[]): void {
  const pinned = pins.reduce((sum, { first, end }) => sum + Math.max(0, end - Math.max(first, sinks)), 0);
  const needed = sinks + window + pinned + PAGE;
  if (pinned === 0 || needed <= target) return;
  throw tooMuchStays(needed, target);
}

interface HeldSlots {
  /** KV heads that see everything. */
  readonly heads: number;
  /** Slots of all of them, empty ones included, and of the one that has most. */
  readonly total: number;
  readonly longest: number;
}

function heldSlots({ config, runtime }: Engine, session: number): HeldSlots {
  let [heads, total, longest] = [0, 0, 0];
  config.layers.forEach(({ window }, layer) => {
    if (window !== 0) return;
    for (let kv = 0; kv < config.nKvHeads; ++kv) {
      const slots = runtime.exports.headSlots(session, layer * config.nKvHeads + kv);
      heads += 1;
      total += slots;
      longest = Math.max(longest, slots);
    }
  });
  return { heads, total, longest };
}

/** Rows that a session can take before it has to be thinned; 0: none. They end with a page. */
export function rowsBefore(engine: Engine, session: number, { slots, policy }: ThinningRule): number {
  const { heads, total, longest } = heldSlots(engine, session);
  if (heads === 0) return Number.POSITIVE_INFINITY;
  const open = longest % PAGE;
  const room = Math.min((slots * heads - total) / heads, mostSlots(engine, policy) - longest);
  const untilClosed = open > 0 ? Math.min(PAGE - open, engine.sizes.contextLength - longest) : 0;
  return Math.max(0, untilClosed, Math.floor((room + open) / PAGE) * PAGE - open);
}

/** Whether a session takes so many rows without being thinned first. */
export function hasRoom(engine: Engine, session: number, rule: ThinningRule, rows: number): boolean {
  const slots = engine.runtime.exports.sessionSlots(session);
  const open = slots % PAGE;
  // A page that is open takes what is left of it: no need to count the slots of all heads for every token.
  if (open > 0 && rows <= Math.min(PAGE - open, engine.sizes.contextLength - slots)) return true;
  return rowsBefore(engine, session, rule) >= rows;
}

/** A session is to be thinned whenever it is full: what policies look at counts from its first token on. */
export function beginThinning(engine: Engine, session: number, { policy }: ThinningRule): void {
  const { exports } = engine.runtime;
  if (policy.observed !== Observed.LARGEST) exports.observeRows(session, exports.sessionLength(session));
  if (policy.queryStatistics > 0)
    exports.collectQueries(session, Math.max(exports.sessionLength(session), policy.sinks));
}

/** Whether `beginThinning` was called, or need not be. */
export function isObserving({ runtime }: Engine, session: number, { policy }: ThinningRule): boolean {
  return policy.observed === Observed.LARGEST || runtime.exports.observedStart(session) >>> 0 !== NEVER;
}

interface Thinned {
  /** What went. */
  readonly spans: readonly EvictedSpan[];
  /** Tokens that were read once more. */
  readonly repeatedTokens: number;
}

/**
 * Thins a session, `ids` being all its tokens.
 * @throws ThimbleError out_of_memory, over_budget; what the pass throws
 */
export async function thin(
  engine: Engine,
  session: number,
  rule: ThinningRule,
  pins: readonly Pin[],
  ids: readonly number[],
  pass: PassHost,
): Promise<Thinned> {
  const { exports } = engine.runtime;
  const { policy, sinks, window, target } = rule;
  let repeatedTokens = 0;
  let recent = 0;
  if (policy.observed === Observed.LARGEST) {
    const from = exports.observedStart(session) >>> 0;
    const span = { start: from === NEVER ? 0 : from, end: ids.length - window };
    const { repeatContext } = await import("./repeat.ts");
    ({ tokens: repeatedTokens, recent } = await repeatContext(engine, session, ids, policy, pass, span));
  }
  const spans = evictPrompt(
    engine,
    session,
    { keep: { slots: target }, sinks, window, pins, most: mostLeft(engine, policy) },
    policy,
    recent,
  );
  // Attention within chunks is scored and gone: the chunks that come are others.
  if (policy.observed === Observed.CHUNKS) exports.observeRows(session, ids.length);
  return { spans, repeatedTokens };
}

/**
 * Makes room where a session has none.
 * @returns rows that it takes now; what `thin` gives
 * @throws ThimbleError context_length_exceeded where nothing could go; what `thin` throws
 */
export async function makeRoom(
  engine: Engine,
  session: number,
  rule: ThinningRule,
  pins: readonly Pin[],
  ids: readonly number[],
  pass: PassHost,
): Promise<{ readonly rows: number } & Thinned> {
  const rows = rowsBefore(engine, session, rule);
  if (rows > 0) return { rows, spans: [], repeatedTokens: 0 };
  const thinned = await thin(engine, session, rule, pins, ids, pass);
  const room = rowsBefore(engine, session, rule);
  if (room > 0) return { rows: room, ...thinned };
  throw new ThimbleError("context_length_exceeded", "the policy found nothing to evict; pin less, or keep more", {
    needed: rule.slots + 1,
    available: rule.slots,
  });
}

/** What `rule` leaves at a prompt's end of which a share stays. */
export function atPromptEnd(engine: Engine, session: number, rule: ThinningRule, share: number): ThinningRule {
  const { heads, total } = heldSlots(engine, session);
  return { ...rule, target: Math.max(1, Math.floor((total / heads) * share)) };
}
