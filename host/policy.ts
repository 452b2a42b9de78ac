/**
 * How the slots that stay at the end of a prompt are chosen, by name and parameters, as assembly/policy computes it; and how
 * many each KV head keeps.
 * @module
 */
import { Observed, Policy, Size } from "../assembly/memory/status.ts";
import type { ThimbleError } from "./errors.ts";
import { wrongOption } from "./options.ts";

/**
 * How a budget is dealt: every head the same, more to lower layers, by score among the heads of a layer, or all to some heads
 * and little to others, or by score among the heads of all layers (head-budgets.ts).
 */
export type Dealing = "uniform" | "pyramid" | "adaptive" | "heads" | "overall";

interface HeadDims {
  readonly keyDim: number;
  readonly valueDim: number;
}

interface QueryHeads {
  readonly nLayers: number;
  readonly nHeads: number;
  readonly keyDim: number;
}

interface PolicyEntry {
  readonly policy: Policy;
  /** Default: uniform. */
  readonly dealing?: Dealing;
  /** What it needs of a prompt's queries before RoPE: sums, or products too (assembly/cache/query-statistics.ts). */
  readonly countsQueries?: boolean;
  /** It takes filters that were computed beforehand (host/filters.ts). */
  readonly needsFilters?: boolean;
  /** A second stage chooses by what slots can change (assembly/policy/criticalkv.ts); `first` and `epsilon` are its. */
  readonly isCritical?: boolean;
  /** Name, default, least and most of each parameter; the first ones go to the engine in this order. */
  readonly parameters: readonly (readonly [name: string, usual: number, least: number, most: number])[];
  /** How many of them the engine takes. */
  readonly taken: number;
  /** What the engine takes where that is not the first parameters. */
  readonly take?: (values: ReadonlyMap<string, number>) => readonly number[];
  /** What is added up over all rows of a prompt. Default: nothing. */
  readonly observed?: Observed;
}

const WINDOW = ["window", 64, 1, 1024] as const;
const KERNEL = ["kernel", 5, 1, 63] as const;
const SKETCH = ["sketch", 48, 1, 1024] as const;
const CHUNK = ["chunk", 256, 16, 1024] as const;
const SAFEGUARD = ["safeguard", 0.2, 0, 1] as const;
const EXPECTED = [
  ["sinks", 4, 0, 65_536],
  ["future", 512, 1, 65_536],
  ["covariance", 1, 0, 1],
] as const;
/** Parameters that are 0 or 1. */
const SWITCHES: readonly string[] = ["covariance", "vnorm"];
const VNORM = ["vnorm", 1, 0, 1] as const;
const CRITICAL = [
  ["first", 0.5, 0, 1],
  ["epsilon", 1e-4, 0, 1],
] as const;

const KVZIP = {
  policy: Policy.KVZIP,
  parameters: [
    ["sinks", 4, 0, 65_536],
    ["chunk", 2048, 32, 65_536],
  ],
  taken: 1,
  observed: Observed.LARGEST,
} as const;

/** By name; papers and formulas are in assembly/policy. Defaults are those of kvpress. */
const POLICIES = {
  streaming: { policy: Policy.STREAMING, parameters: [["sinks", 4, 0, 65_536]], taken: 0 },
  "duo-attention": {
    policy: Policy.STREAMING,
    dealing: "heads",
    parameters: [
      ["sinks", 128, 0, 65_536],
      ["recent", 256, 1, 65_536],
      ["heads", 0, 0, 1],
    ],
    taken: 0,
  },
  razor: {
    policy: Policy.STREAMING,
    dealing: "heads",
    parameters: [
      ["sinks", 4, 0, 65_536],
      ["recent", 4000, 1, 65_536],
      ["buffer", 0.2, 0, 1],
      ["heads", 0, 0, 1],
    ],
    taken: 0,
  },
  "key-norm": { policy: Policy.KEY_NORM, parameters: [], taken: 0 },
  "key-diff": { policy: Policy.KEY_DIFF, parameters: [], taken: 0 },
  snapkv: { policy: Policy.SNAPKV, parameters: [KERNEL, WINDOW], taken: 1 },
  pyramidkv: {
    policy: Policy.SNAPKV,
    dealing: "pyramid",
    parameters: [KERNEL, WINDOW, ["beta", 20, 1, 1000]],
    taken: 1,
  },
  adakv: {
    policy: Policy.SNAPKV,
    dealing: "adaptive",
    parameters: [KERNEL, WINDOW, SAFEGUARD],
    taken: 1,
  },
  criticalkv: {
    policy: Policy.SNAPKV,
    isCritical: true,
    parameters: [KERNEL, WINDOW, ...CRITICAL],
    taken: 1,
  },
  criticaladakv: {
    policy: Policy.SNAPKV,
    dealing: "adaptive",
    isCritical: true,
    parameters: [KERNEL, WINDOW, SAFEGUARD, ...CRITICAL],
    taken: 1,
  },
  "expected-attention": {
    policy: Policy.EXPECTED,
    countsQueries: true,
    parameters: [...EXPECTED, VNORM, ["epsilon", 0, 0, 1]],
    taken: 5,
  },
  "adakv-expected": {
    policy: Policy.EXPECTED,
    dealing: "adaptive",
    countsQueries: true,
    parameters: [...EXPECTED, VNORM, ["epsilon", 0.01, 0, 1], SAFEGUARD],
    taken: 5,
  },
  "criticalkv-expected": {
    policy: Policy.EXPECTED,
    countsQueries: true,
    isCritical: true,
    parameters: [...EXPECTED, ...CRITICAL],
    taken: 3,
  },
  "q-filter": { policy: Policy.Q_FILTER, needsFilters: true, parameters: [], taken: 0 },
  simlayerkv: {
    policy: Policy.SIMLAYER,
    parameters: [
      ["threshold", 0.9, 0, 1],
      ["window", 1, 1, 1024],
      ["sinks", 4, 0, 65_536],
    ],
    taken: 2,
  },
  finch: { policy: Policy.FINCH, parameters: [WINDOW], taken: 0 },
  chunkkv: {
    policy: Policy.CHUNKKV,
    parameters: [KERNEL, ["chunk", 20, 1, 1024], WINDOW],
    taken: 2,
  },
  "observed-attention": {
    policy: Policy.OBSERVED,
    parameters: [["recent", 0, 0, 1]],
    taken: 1,
    observed: Observed.ATTENTION,
  },
  kvzip: { ...KVZIP, dealing: "overall" },
  "kvzip-layerwise": { ...KVZIP, dealing: "adaptive" },
  compactor: {
    policy: Policy.COMPACTOR,
    parameters: [["sinks", 8, 0, 1024], ["recent", 4, 0, 1024], ["blend", 0, 0, 1], SKETCH, CHUNK],
    taken: 0,
    take: (values: ReadonlyMap<string, number>): readonly number[] => [
      values.get("sinks")!,
      values.get("recent")!,
      values.get("blend")!,
      1,
    ],
    observed: Observed.CHUNKS,
  },
  leverage: {
    policy: Policy.COMPACTOR,
    parameters: [SKETCH],
    taken: 0,
    take: (): readonly number[] => [0, 0, 1, 0],
  },
  "non-causal-attention": {
    policy: Policy.COMPACTOR,
    parameters: [CHUNK],
    taken: 0,
    take: (): readonly number[] => [0, 0, 0, 1],
    observed: Observed.CHUNKS,
  },
  h2o: {
    policy: Policy.H2O,
    parameters: [["recent", 0.5, 0, 1]],
    taken: 1,
    observed: Observed.ATTENTION,
  },
  tova: { policy: Policy.TOVA, parameters: [], taken: 0 },
  lagkv: {
    policy: Policy.LAGKV,
    parameters: [
      ["sinks", 4, 0, 65_536],
      ["lag", 128, 2, 65_536],
    ],
    taken: 2,
  },
} as const satisfies Record<string, PolicyEntry>;

export type PolicyName = keyof typeof POLICIES;
export const POLICY_NAMES = Object.keys(POLICIES) as readonly PolicyName[];

export interface PolicySpec {
  readonly name: PolicyName;
  /** As the engine counts them, with CRITICAL where there is a second stage. */
  readonly policy: number;
  readonly dealing: Dealing;
  readonly values: ReadonlyMap<string, number>;
  /** What the engine takes, in its order. */
  readonly taken: readonly number[];
  /** Last rows of a prompt whose queries are kept for it. */
  readonly observeRows: number;
  /** What is added up over all rows of a prompt. */
  readonly observed: Observed;
  /** What sessions keep of a prompt's queries: 0 nothing, 1 sums, 2 products too. */
  readonly queryStatistics: number;
  readonly needsFilters: boolean;
  /** First positions that it never lets go. */
  readonly sinks: number;
}

/** Policies whose parameter `sinks` is what stays in any case; others count with it. */
const PROTECTING: readonly Policy[] = [Policy.STREAMING, Policy.EXPECTED, Policy.SIMLAYER];

/** What keeps most text and most values found at the same bytes (docs/quality.md); it reads each prompt once more. */
export const DEFAULT_POLICY: PolicyName = "kvzip";

/** "snapkv" or "snapkv:window=32,kernel=7". @throws ThimbleError invalid_option */
export function parsePolicy(text: unknown): PolicySpec {
  const [name = "", rest] = typeof text === "string" ? text.split(/:(.*)/s) : [];
  if (!Object.hasOwn(POLICIES, name)) {
    throw refuse(`there is no policy ${JSON.stringify(text)}; there are ${POLICY_NAMES.join(", ")}`);
  }
  const entry: PolicyEntry = POLICIES[name as PolicyName];
  const values = new Map(entry.parameters.map(([parameter, usual]) => [parameter as string, usual as number]));
  for (const piece of rest === undefined ? [] : rest.split(",")) {
    const [, key = "", number = ""] = /^([\w-]+)=(.+)$/.exec(piece) ?? [];
    const found = entry.parameters.find(([parameter]) => parameter === key);
    const known = entry.parameters.map(([parameter]) => parameter).join(", ") || "none";
    if (found === undefined) throw refuse(`${name} takes no ${JSON.stringify(piece)}; its parameters are ${known}`);
    const [, usual, least, most] = found;
    const value = Number(number);
    const isWhole = Number.isInteger(usual) && (most > 1 || SWITCHES.includes(key));
    if (number.trim() === "" || !(value >= least && value <= most) || (isWhole && !Number.isInteger(value))) {
      throw refuse(
        `${key} of ${name} is ${number}; it must be ${isWhole ? "an integer" : "a number"} from ${least} to ${most}`,
      );
    }
    values.set(key, value);
  }
  const first = entry.parameters.slice(0, entry.taken).map(([parameter]) => values.get(parameter)!);
  const taken = [...(entry.take?.(values) ?? first)];
  if (entry.isCritical) {
    taken.length = 8;
    taken.fill(0, entry.taken).splice(6, 2, values.get("first")!, values.get("epsilon")!);
  }
  const policy = entry.policy | (entry.isCritical ? Policy.CRITICAL : 0);
  const chunkRows = entry.observed === Observed.CHUNKS ? values.get("chunk")! + (values.get("recent") ?? 0) : 0;
  const observeRows = values.get("window") ?? (entry.policy === Policy.TOVA ? 1 : chunkRows);
  const queryStatistics = entry.countsQueries ? 1 + values.get("covariance")! : 0;
  const sinks = PROTECTING.includes(entry.policy) ? values.get("sinks")! : 0;
  const { dealing = "uniform", needsFilters = false, observed = Observed.NOTHING } = entry;
  const needs = { observeRows, observed, queryStatistics, needsFilters, sinks };
  return { name: name as PolicyName, policy, dealing, values, taken, ...needs };
}

/** The policy with all its parameters. */
export function describePolicy({ name, values }: PolicySpec): string {
  const parameters = [...values].map(([key, value]) => `${key}=${value}`).join(",");
  return parameters === "" ? name : `${name}:${parameters}`;
}

/** Bytes that the policy's own steps work in, as their files in assembly/policy draw them. */
export function policyScratch({ policy, queryStatistics }: PolicySpec, { keyDim, valueDim }: HeadDims): number {
  const critical = policy & Policy.CRITICAL ? 64 + 128 + valueDim * 32 + (valueDim + 64) * 4 : 0;
  const expected = queryStatistics > 0 ? 16 + keyDim * 20 + (queryStatistics > 1 ? keyDim * keyDim * 4 : 0) : 0;
  return Math.max(critical, expected);
}

/** Bytes of a session's sums over queries, as assembly/cache/query-statistics.ts draws them. */
function statisticsBytes({ queryStatistics }: PolicySpec, { nLayers, nHeads, keyDim }: QueryHeads): number {
  if (queryStatistics === 0) return 0;
  const products = queryStatistics > 1 ? (keyDim * (keyDim + 2)) / 2 : 0;
  return 16 + nLayers * nHeads * (keyDim + products) * 8;
}

/** Whether a policy looks at rows that a session must have computed itself. */
export function looksAtRows({ observed, observeRows, queryStatistics }: PolicySpec): boolean {
  return observeRows > 0 || queryStatistics > 0 || observed === Observed.ATTENTION || observed === Observed.CHUNKS;
}

/** Bytes of what a policy has of a session's rows, as assembly/cache/observation.ts draws it, with the copy. */
export function rowBytes(
  policy: PolicySpec | undefined,
  dims: QueryHeads & { readonly nKvHeads: number },
  contextLength: number,
): number {
  if (policy === undefined) return 0;
  const { nLayers, nHeads, nKvHeads, keyDim } = dims;
  const sums = policy.observed === Observed.NOTHING ? 0 : nLayers * nKvHeads * (contextLength + Size.PAGE_SLOTS) * 4;
  const bytes = statisticsBytes(policy, dims) + sums + nLayers * policy.observeRows * nHeads * keyDim * 4;
  return looksAtRows(policy) ? 2 * bytes : bytes;
}

function refuse(message: string): ThimbleError {
  return wrongOption("policy", message);
}

/**
 * Slots that each KV head of a layer keeps of `n`, when `share` of all may stay.
 *
 * Pyramid (https://arxiv.org/abs/2406.02069): from most in the first layer to least in the last, in equal steps, with
 * most + least = 2 n share and least = n share / beta; where that cannot be, all alike.
 */
export function layerBudgets({ dealing, values }: PolicySpec, nLayers: number, n: number, share: number): number[] {
  const uniform = Math.floor(n * share + 1e-9);
  if (dealing !== "pyramid") return Array<number>(nLayers).fill(uniform);
  const window = values.get("window")!;
  let least = (n * share) / values.get("beta")!;
  let most = n * share * 2 - least;
  if (most >= n - window) {
    most = n - window;
    least = n * share * 2 - most;
  }
  if (!(n >= most && most >= least && least >= window))
    return Array<number>(nLayers).fill(Math.max(1, Math.round(n * share)));
  const step = nLayers > 1 ? (most - least) / (nLayers - 1) : 0;
  return Array.from({ length: nLayers }, (_, layer) => Math.round(most - layer * step));
}
