/**
 * What stays of a prompt when it ends: the policy the model was loaded with scores the slots, and each KV head keeps its
 * budget (assembly/policy/prompt-end.ts).
 * @module
 */
import { Policy, Size, Status } from "../assembly/memory/status.ts";
import type { Engine } from "./engine.ts";
import { ThimbleError } from "./errors.ts";
import { pageSizes } from "./kv-cache.ts";
import type { EvictedSpan } from "./ledger.ts";
import { checkInteger } from "./options.ts";
import { layerBudgets } from "./policy.ts";
import type { Keep, SessionOptions } from "./token-turn.ts";

export interface PromptRule {
  /** Share of the held slots that stays, or slots of each KV head. */
  readonly keep: { readonly share: number } | { readonly slots: number };
  /** First and newest tokens that stay in any case. */
  readonly sinks: number;
  readonly window: number;
}

/** Budgets above 1 deal nothing: each head has its own. */
const OWN = 2;

/** What a session keeps of its prompts; undefined: all. @throws ThimbleError invalid_option */
export function promptRule(engine: Engine, { keep, sinks, window }: SessionOptions): PromptRule | undefined {
  if (keep === undefined) return undefined;
  if (engine.sizes.cache.policy === undefined) {
    throw new ThimbleError("invalid_option", "keep needs a policy that chooses: load the model with one", {
      name: "policy",
    });
  }
  const [kind, ...more] = Object.keys(keep) as (keyof Keep)[];
  const value = kind === undefined ? undefined : keep[kind];
  if (more.length > 0 || value === undefined) throw wrongKeep("keep is one of { ratio }, { slots } and { bytes }");
  if (kind === "bytes" && engine.sizes.cache.policy.policy === Policy.SIMLAYER) {
    throw wrongKeep(
      "keep.bytes holds for all layers, simlayerkv decides for lazy layers only; say keep.slots or keep.ratio",
    );
  }
  if (kind === "ratio") {
    if (typeof value !== "number" || !(value >= 0 && value < 1)) {
      throw wrongKeep(`keep.ratio is ${String(value)}; it is the share that goes: a number from 0 on, below 1`);
    }
    return { keep: { share: 1 - value }, sinks: sinks ?? 0, window: window ?? 0 };
  }
  const slots = kind === "bytes" ? slotsOf(engine, checkInteger("keep.bytes", value, 1, 2 ** 32)) : value;
  const rule = { sinks: sinks ?? 32, window: window ?? 64 };
  const fewest = rule.sinks + rule.window + Size.PAGE_SLOTS;
  if (!Number.isInteger(slots) || (slots as number) < fewest) {
    const what = `sinks, window and a page of ${Size.PAGE_SLOTS} are ${fewest} tokens`;
    throw wrongKeep(
      `keep leaves ${String(slots)} tokens a KV head; ${what}: keep more, or protect fewer`,
      fewest,
      slots,
    );
  }
  return { keep: { slots: slots as number }, ...rule };
}

function wrongKeep(message: string, needed?: number, available?: number): ThimbleError {
  const amounts = needed === undefined || available === undefined ? {} : { needed, available };
  return new ThimbleError("invalid_option", message, { name: "keep", ...amounts });
}

/** Slots that each KV head can have in so many bytes of aged pages. */
function slotsOf({ sizes, config }: Engine, bytes: number): number {
  const { aged } = pageSizes(sizes.cache, config);
  return Math.floor(bytes / (config.nLayers * config.nKvHeads * aged)) * Size.PAGE_SLOTS;
}

/** Rows at the end of a prompt that must be computed without another session in between. */
export function observedRows({ sizes }: Engine): number {
  return sizes.cache.policy?.observeRows ?? 0;
}

/** Says that no query counts. */
const NEVER = 2 ** 32 - 1;

/**
 * A prompt begins, whose rows from position `from` on are still to be computed: where the policy expects more queries of
 * their kind they are counted until it ends (`evictPrompt`), and `true` says that the prompt is to be computed in one go.
 */
export function beginPrompt({ runtime, sizes }: Engine, session: number, from: number, keepsAll = false): boolean {
  const { policy } = sizes.cache;
  if (policy === undefined || policy.queryStatistics === 0) return false;
  runtime.exports.collectQueries(session, keepsAll ? NEVER : Math.max(from, policy.sinks));
  return !keepsAll;
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
): EvictedSpan[] {
  const { runtime, sizes, config } = engine;
  const { exports } = runtime;
  const held = heldPositions(engine, session);
  const n = Math.max(...held.map(({ length }) => length));
  const share = "share" in rule.keep ? rule.keep.share : Math.min(1, rule.keep.slots / n);
  if (share >= 1) {
    exports.collectQueries(session, NEVER);
    return [];
  }
  const budgets = layerBudgets(policy, config.nLayers, n, share).map((slots) => Math.max(slots, 1));
  engine.reservePages(exports.promptPages(session));
  runtime.words(exports.policyBudgetsAddress(), config.nLayers).set(budgets);
  runtime.floats(exports.policyParametersAddress(), 8).set(policy.taken);
  const sinks = Math.max(rule.sinks, policy.sinks);
  const safe = policy.dealing === "adaptive" ? policy.values.get("safeguard")! : OWN;
  const status = exports.promptEvict(session, policy.policy, sinks, rule.window, safe);
  if (status === Status.BAD_ARGUMENT) {
    throw new ThimbleError("invalid_option", `policy ${policy.name} cannot serve this model's layers`, {
      name: "policy",
    });
  }
  runtime.check(status, "eviction at the end of a prompt");
  exports.collectQueries(session, NEVER);
  return spansOf(held, heldPositions(engine, session), pageSizes(sizes.cache, config).aged / Size.PAGE_SLOTS);
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
