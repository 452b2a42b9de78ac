/**
 * What a model will take, and what fits a budget, from the header alone: before a weight is read or fetched. The same
 * sums decide what `loadModel` does with a budget.
 *
 *   WebAssembly memory:  engine | weights | run state | sessions: tables, own pages, journal | pages of the pool
 *
 * Keys and values give up precision along a declared ladder, f32 -> q8 -> q8 keys with q4 values -> q4 -> q3, and the
 * first rung on which the wanted context fits is the best that the budget can have.
 * @module
 */
import { type Architecture, describeModel } from "./architecture.ts";
import {
  ENGINE_BYTES,
  type MemoryPlan,
  type PromptOrder,
  planMemory,
  type RunSizes,
  WASM_PAGE_BYTES,
} from "./budget.ts";
import { type ByteSize, parseByteSize } from "./byte-size.ts";
import { ThimbleError } from "./errors.ts";
import type { GgufHeader } from "./header.ts";
import { readKeep, wrongKeep } from "./keep.ts";
import { type CacheOptions, cacheConfig, formNames, type KvFormName } from "./kv-cache.ts";
import { checkHeads } from "./kv-format.ts";
import type { MemoryLimit } from "./memory-limit.ts";
import { checkChoice, checkInteger, wrongOption } from "./options.ts";
import { DEFAULT_POLICY } from "./policy.ts";
import { canGoByLayers, PROMPT_ORDERS } from "./prompt-layers.ts";
import type { Keep } from "./token-turn.ts";
import type { ActivationMode } from "./weight-form.ts";
import { checkTypes } from "./weights.ts";

/** What decides how much memory a model takes. */
export interface PlanOptions extends CacheOptions {
  /** Most tokens of a session. Default: what the model was trained for. Pages are taken as a session grows. */
  readonly contextLength?: number;
  /** Tokens of a prefill chunk: more need more run state and are a little faster. Default 64, 1 to 4096. */
  readonly chunk?: number;
  /** Most rows of one `forward` call that can have logits. Default 8, 1 to `chunk`. */
  readonly maxOutputs?: number;
  /** "f32" keeps activations unquantized: a slow oracle that needs up to 7 times the memory. Default "int8". */
  readonly activations?: ActivationMode;
  /** Threads that compute; 1 where memory cannot be shared with workers (`stats.threads` says). Default 1. */
  readonly threads?: number;
  /**
   * Sessions, each with a full context, that memory is planned for; with a budget, that are sure to fit. More can be opened
   * while there is room. Default 1.
   */
  readonly sessions?: number;
  /**
   * What sessions will keep of their prompts (`SessionOptions.keep`, which they say themselves): memory can then be planned for
   * that, see `prompts`. It counts what a KV head holds when the next prompt begins, so answers besides. Default: all stays.
   */
  readonly keep?: Keep;
  /**
   * How prompts of which a part is kept are computed: "chunks", all layers of them, so that all layers hold the whole prompt
   * before anything goes; or "layers", one layer after the other, so that one does, and a residual stream of the whole prompt is
   * held besides. The tokens are the same. "layers" needs `policy` and `keep`, and not a policy that reads prompts twice (kvzip).
   * Default "auto": "layers" where a `budget` has no room for the context otherwise.
   */
  readonly prompts?: PromptOrder | "auto";
  /**
   * Most bytes of WebAssembly memory, as a number or as a text: "128MB" (10^6), "1.5GiB" (2^30). Weights, run state,
   * sessions and pages stay within it, and so do `sessions` with a full context. Without `keys` and `values` the best
   * forms that fit are taken, q8 first (`LADDER`); without `contextLength` the context becomes what fits. Default: none.
   */
  readonly budget?: ByteSize;
}

/** Forms of keys and values, the most precise first. */
export const LADDER = [
  { keys: "f32", values: "f32" },
  { keys: "q8", values: "q8" },
  { keys: "q8", values: "q4" },
  { keys: "q4", values: "q4" },
  { keys: "q3", values: "q3" },
] as const satisfies readonly { readonly keys: KvFormName; readonly values: KvFormName }[];

/** Rungs that a budget chooses from by itself: f32 only on request, as q8 is as good and a quarter of it. */
const CHOICES = LADDER.slice(1);

/** Most bytes that 32-bit WebAssembly memory can have here: 64 KiB below 4 GiB. */
const MOST_BYTES = 2 ** 32 - WASM_PAGE_BYTES;
/** Sessions that can be planned for: more than any memory holds. */
const MOST_SESSIONS = 65_536;
/** The shortest context that a budget makes of a longer one by itself, in tokens. */
const SHORTEST_CONTEXT = 32;

/** One step of the ladder. */
export interface Rung {
  readonly keys: KvFormName;
  readonly values: KvFormName;
  /** Bytes of one token's keys and values in all layers, once they are no longer recent. */
  readonly perToken: number;
  /** WebAssembly memory with all sessions, their contexts full. */
  readonly total: number;
  /** `total` is within what memory may have. */
  readonly fits: boolean;
  /** Most tokens of each session that fit, up to what the model was trained for; 0: not one. */
  readonly largestContext: number;
  /** How prompts go. */
  readonly prompts: PromptOrder;
}

/** WebAssembly memory by how prompts go; undefined: they cannot go so. */
export interface Peaks {
  readonly chunks: number;
  readonly layers: number | undefined;
}

/** What a load makes of its options. */
export interface PlannedLoad {
  readonly prompts: PromptOrder;
  readonly peaks: Peaks;
  readonly keys: KvFormName;
  readonly values: KvFormName;
  readonly contextLength: number;
  readonly memory: MemoryPlan;
}

/** What `plan` says. All amounts in bytes but contexts, which are tokens. */
export interface Plan {
  readonly file: string;
  /** Context that was asked for, else what the model was trained for. */
  readonly contextLength: number;
  readonly trainedContext: number;
  /** Forms that were asked for, else q8. */
  readonly keys: KvFormName;
  readonly values: KvFormName;
  /** How prompts go in these forms: as asked for, else layer by layer where only that fits. */
  readonly prompts: PromptOrder;
  /** `memory.total` of either way. */
  readonly peaks: Peaks;
  /** By part; `total` of it is all WebAssembly memory with `sessions` whose contexts are full. */
  readonly memory: MemoryPlan;
  /** Static data and records of the engine, at most. */
  readonly engine: number;
  /** The budget asked for. */
  readonly budget: number | undefined;
  /** What memory may have: the budget down to 64 KiB, and less than 4 GiB. */
  readonly available: number;
  /** The context, in the forms above, is within `available`. */
  readonly fits: boolean;
  /** Most tokens of a session that fit in these forms, up to what the model was trained for; 0: not one. */
  readonly largestContext: number;
  /** The same for all forms. */
  readonly ladder: readonly Rung[];
  /** The first rung on which the context fits; undefined: none. */
  readonly firstFit: Rung | undefined;
  /** What `loadModel` makes of these options; undefined: it refuses them with `over_budget`. */
  readonly load: PlannedLoad | undefined;
}

/** Threads included. */
type Sizes = Required<RunSizes>;

/** What a load goes by. */
export interface ResolvedOptions {
  readonly activations: ActivationMode;
  readonly sizes: Sizes;
  /** How prompts may go, the first way that fits before the next. */
  readonly orders: readonly PromptOrder[];
  /** Undefined without a budget. */
  readonly limit: MemoryLimit | undefined;
}

/**
 * The plan of a file whose header is read.
 * @throws ThimbleError invalid_option; unsupported_architecture, unsupported_type, missing_metadata, missing_tensor,
 * malformed_file where the file cannot run at all
 */
export function planHeader(header: GgufHeader, options: PlanOptions = {}): Plan {
  const model = describeModel(header, { contextLength: options.contextLength });
  checkTypes(header, model);
  const asked = readOptions(model, options);
  const { limit, orders } = asked;
  const measured: Measured = { header, model, activations: asked.activations, available: available(limit) };
  const rungs = LADDER.map((forms) => rung(measured, options, asked, forms));
  const sizes = inOrder(measured, asked.sizes, orders);
  const { contextLength } = sizes;
  const memory = planMemory(header, model, asked.activations, sizes);
  const resolved = limit === undefined ? asked.sizes : chooseSizes(measured, options, asked);
  const canGo = orders.includes("layers");
  return {
    file: header.file,
    contextLength,
    trainedContext: model.config.trainedContext,
    ...formsOf(sizes),
    prompts: sizes.prompts,
    peaks: peaksOf(measured, sizes, canGo),
    memory,
    engine: ENGINE_BYTES,
    budget: limit?.budget,
    available: measured.available,
    fits: memory.total <= measured.available,
    largestContext: mostTokens(measured, sizes, orders),
    ladder: rungs,
    firstFit: rungs.find(({ fits }) => fits),
    load: resolved && {
      ...formsOf(resolved),
      prompts: resolved.prompts,
      peaks: peaksOf(measured, resolved, canGo),
      contextLength: resolved.contextLength,
      memory: planMemory(header, model, asked.activations, resolved),
    },
  };
}

/**
 * What a load with these options goes by: the options themselves, or with a budget what it makes of them.
 * @throws ThimbleError invalid_option; over_budget, with what was needed and what would fit
 */
export function resolveOptions(header: GgufHeader, model: Architecture, options: PlanOptions): ResolvedOptions {
  const asked = readOptions(model, options);
  if (asked.limit === undefined) return asked;
  const measured: Measured = { header, model, activations: asked.activations, available: available(asked.limit) };
  const sizes = chooseSizes(measured, options, asked);
  if (sizes === undefined) throw overBudget(measured, options, asked);
  return { ...asked, sizes };
}

/** Names of the forms that a cache has. */
export function formsOf({ cache }: Pick<RunSizes, "cache">): { keys: KvFormName; values: KvFormName } {
  return formNames(cache);
}

/** A model to measure with several sizes. */
interface Measured {
  readonly header: GgufHeader;
  readonly model: Architecture;
  readonly activations: ActivationMode;
  readonly available: number;
}

function readOptions({ config }: Architecture, options: PlanOptions): ResolvedOptions {
  const trained = config.trainedContext;
  const maxRows = checkInteger("chunk", options.chunk ?? 64, 1, 4096);
  const activations = checkChoice("activations", options.activations ?? "int8", ["int8", "f32"]);
  const cache = cacheConfig(options, activations === "f32" ? "f32" : "q8");
  const orders = promptOrders(options, cache);
  const sizes = {
    contextLength: checkInteger("contextLength", options.contextLength ?? trained, 1, trained),
    maxRows,
    maxOutputs: checkInteger("maxOutputs", options.maxOutputs ?? Math.min(8, maxRows), 1, maxRows),
    threads: checkInteger("threads", options.threads ?? 1, 1, 64),
    sessions: checkInteger("sessions", options.sessions ?? 1, 1, MOST_SESSIONS),
    cache,
    keep: options.keep && readKeep(options.keep, cache, config),
    prompts: orders[0]!,
  };
  checkHeads(sizes.cache.wideHeads, config.nLayers, config.nKvHeads);
  if (options.budget === undefined) return { activations, sizes, orders, limit: undefined };
  const budget = parseByteSize("budget", options.budget);
  return { activations, sizes, orders, limit: { budget, bytes: limitBytes(budget) } };
}

/** The ways that prompts may go, the one to be preferred first. */
function promptOrders(options: PlanOptions, { policy }: Sizes["cache"]): readonly PromptOrder[] {
  const order = checkChoice("prompts", options.prompts ?? "auto", PROMPT_ORDERS);
  if (options.keep !== undefined && policy === undefined) {
    throw wrongKeep(`keep needs a policy that chooses: load the model with one, as policy: "${DEFAULT_POLICY}"`);
  }
  const canGo = policy !== undefined && options.keep !== undefined && canGoByLayers(policy);
  if (order === "auto") return canGo ? ["chunks", "layers"] : ["chunks"];
  if (order === "chunks" || canGo) return [order];
  const why =
    policy === undefined || options.keep === undefined
      ? "what goes is decided with policy and keep: load the model with both"
      : `policy ${policy.name} looks at all layers, or reads them twice, before anything goes: take another one, or prompts: "chunks"`;
  throw wrongOption("prompts", `prompts cannot go layer by layer: ${why}`);
}

/** What WebAssembly memory can have within a budget: it grows by 64 KiB. */
function limitBytes(budget: number): number {
  return Math.min(Math.floor(budget / WASM_PAGE_BYTES) * WASM_PAGE_BYTES, MOST_BYTES);
}

function available(limit: MemoryLimit | undefined): number {
  return limit?.bytes ?? MOST_BYTES;
}

function totalBytes({ header, model, activations }: Measured, sizes: RunSizes): number {
  return planMemory(header, model, activations, sizes).total;
}

/** With the first way of prompts in which the context fits, else the one that takes least. */
function inOrder(measured: Measured, sizes: Sizes, orders: readonly PromptOrder[]): Sizes {
  const ways = orders.map((prompts) => ({ ...sizes, prompts }));
  const totals = ways.map((way) => totalBytes(measured, way));
  const first = totals.findIndex((total) => total <= measured.available);
  return ways[first >= 0 ? first : totals.indexOf(Math.min(...totals))]!;
}

function peaksOf(measured: Measured, sizes: Sizes, canGo: boolean): Peaks {
  const of = (prompts: PromptOrder): number => totalBytes(measured, { ...sizes, prompts });
  return { chunks: of("chunks"), layers: canGo ? of("layers") : undefined };
}

/** The most tokens of a session whichever way prompts go. */
function mostTokens(measured: Measured, sizes: Sizes, orders: readonly PromptOrder[]): number {
  return Math.max(...orders.map((prompts) => largestContext(measured, { ...sizes, prompts })));
}

/** The most tokens of a session with these sizes, the context's apart; 0: not even one. */
function largestContext(measured: Measured, sizes: RunSizes): number {
  let fits = 0;
  let tooLong = measured.model.config.trainedContext + 1;
  while (tooLong - fits > 1) {
    const contextLength = Math.floor((fits + tooLong) / 2);
    if (totalBytes(measured, { ...sizes, contextLength }) <= measured.available) fits = contextLength;
    else tooLong = contextLength;
  }
  return fits;
}

type Forms = Readonly<Record<"keys" | "values", KvFormName>>;

/** Whether the budget may choose the forms: none was named, and float activations want float pages. */
function choosesForms({ keys, values, activations }: PlanOptions): boolean {
  return keys === undefined && values === undefined && activations !== "f32";
}

function withForms({ model }: Measured, options: PlanOptions, sizes: Sizes, forms: Forms): Sizes {
  const cache = cacheConfig({ ...options, ...forms });
  return { ...sizes, cache, keep: options.keep && readKeep(options.keep, cache, model.config) };
}

function rung(measured: Measured, options: PlanOptions, { sizes: asked, orders }: ResolvedOptions, forms: Forms): Rung {
  const sizes = inOrder(measured, withForms(measured, options, asked, forms), orders);
  const { perToken, total } = planMemory(measured.header, measured.model, measured.activations, sizes);
  const fits = total <= measured.available;
  const { prompts } = sizes;
  return { ...forms, perToken, total, fits, largestContext: mostTokens(measured, sizes, orders), prompts };
}

/**
 * The sizes that a budget makes of those asked for: of the forms allowed, and of the ways that prompts may go in each, the first
 * in which the context fits, else, if no context was asked for, those in which the longest does. Undefined: none.
 */
function chooseSizes(
  measured: Measured,
  options: PlanOptions,
  { sizes: asked, orders }: ResolvedOptions,
): Sizes | undefined {
  const isOpen = choosesForms(options);
  const formed = isOpen ? CHOICES.map((forms) => withForms(measured, options, asked, forms)) : [asked];
  const allowed = formed.flatMap((sizes) => orders.map((prompts) => ({ ...sizes, prompts })));
  const first = allowed.find((sizes) => totalBytes(measured, sizes) <= measured.available);
  if (first !== undefined || options.contextLength !== undefined) return first;
  let best: Sizes | undefined;
  let contextLength = Math.min(SHORTEST_CONTEXT, asked.contextLength) - 1;
  for (const sizes of allowed) {
    const most = largestContext(measured, sizes);
    if (most <= contextLength) continue;
    contextLength = most;
    best = { ...sizes, contextLength };
  }
  return best;
}

/** Says what was needed at least, and the ways out. */
function overBudget(measured: Measured, options: PlanOptions, asked: ResolvedOptions): ThimbleError {
  const { header, available } = measured;
  const { sizes, limit, orders } = asked;
  const isOpen = choosesForms(options);
  const least = isOpen ? CHOICES : [formsOf(sizes)];
  const hasContext = options.contextLength !== undefined;
  const contextLength = hasContext ? sizes.contextLength : Math.min(SHORTEST_CONTEXT, sizes.contextLength);
  let needed = Number.POSITIVE_INFINITY;
  let longest = 0;
  for (const forms of least) {
    const formed = withForms(measured, options, sizes, forms);
    for (const prompts of orders) {
      needed = Math.min(needed, totalBytes(measured, { ...formed, contextLength, prompts }));
    }
    longest = Math.max(longest, mostTokens(measured, formed, orders));
  }
  const forms = isOpen
    ? "keys and values at their smallest"
    : `${formsOf(sizes).keys} keys, ${formsOf(sizes).values} values`;
  const advice = [
    ...(hasContext && longest > 0 ? [`ask for a context of at most ${longest} tokens`] : []),
    ...(!isOpen ? ["leave keys and values to the budget"] : []),
    ...(sizes.sessions > 1 ? ["plan for fewer sessions"] : []),
    ...(sizes.maxRows > 1 ? [`take a smaller chunk than ${sizes.maxRows}`] : []),
    needed <= MOST_BYTES ? `raise the budget to ${needed}` : "take a smaller model or context: memory ends at 4 GiB",
  ];
  const wanted = `${sizes.sessions === 1 ? "a context" : `${sizes.sessions} sessions with a context`} of ${contextLength} tokens`;
  return new ThimbleError(
    "over_budget",
    `${wanted} (${forms}) ${sizes.sessions === 1 ? "needs" : "need"} ${needed} bytes; the budget of ${limit?.budget} has ${available}; ${advice.join(", or ")}`,
    { file: header.file, needed, available, name: "budget" },
  );
}
