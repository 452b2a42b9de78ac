/**
 * What is compared: forms of pages, and within each of them policies that keep a share of a prompt.
 *
 *   FORMAT: KEYS[:VALUES[:GROUP[:WINDOW[:ROTATION[:KVFORMAT]]]]], + between the names of a kvFormat;
 *           "exact" is f32 pages and f32 activations
 *   POLICY: a policy's text, and +sSINKSrWINDOW for tokens that stay in any case: snapkv, key-diff+s4r64
 * @module
 */
import { Observed, Policy } from "../../assembly/memory/status.ts";
import { ThimbleError } from "../../host/errors.ts";
import type { HeadScores } from "../../host/head-scores.ts";
import { type CacheOptions, cacheConfig, type KvFormName } from "../../host/kv-cache.ts";
import type { PlanOptions } from "../../host/plan.ts";
import { describePolicy, POLICY_NAMES, type PolicySpec, parsePolicy } from "../../host/policy.ts";
import type { PromptRule } from "../../host/prompt-end.ts";

/** The whole prompt stays. */
export const FULL = "full";

export interface Variant {
  /** "full", "snapkv@0.5", "key-diff+s4r64@0.75". */
  readonly name: string;
  /** Undefined: all stays. */
  readonly rule: PromptRule | undefined;
  readonly policy: PolicySpec | undefined;
}

export interface Format {
  readonly name: string;
  readonly options: CacheOptions & Pick<PlanOptions, "activations">;
}

/** @throws ThimbleError invalid_option */
export function parseFormat(name: string): Format {
  if (name === "exact") return { name, options: { keys: "f32", values: "f32", activations: "f32" } };
  const [keys, values, group, window, rotation, ...rest] = name.split(":");
  const options: CacheOptions = {
    keys: keys as KvFormName,
    values: (values ?? keys) as KvFormName,
    ...(group === undefined ? {} : { kvGroup: Number(group) }),
    ...(window === undefined ? {} : { kvWindow: Number(window) }),
    ...(rotation === undefined || rotation === "" ? {} : { kvRotation: rotation === "on" }),
    ...(rest.length === 0 ? {} : { kvFormat: rest.join(":").replaceAll("+", ",") }),
  };
  cacheConfig(options);
  return { name, options };
}

/** Files that some policies choose by, as `thimble calibrate` and `thimble calibrate-heads` write them. */
export interface PolicyFiles {
  readonly filters?: Uint8Array | undefined;
  readonly headScores?: string | undefined;
}

/** Policies that need nothing but the model, the prompt and these files. */
export function measuredWith(files: PolicyFiles): string[] {
  return POLICY_NAMES.filter((name) => lackedBy(parsePolicy(name), files) === undefined);
}

/** The option for a file that a policy needs and does not have. */
function lackedBy({ name, dealing, needsFilters }: PolicySpec, files: PolicyFiles): string | undefined {
  if (needsFilters && files.filters === undefined) return "--filters";
  if (dealing !== "heads") return undefined;
  const { kind } = JSON.parse(files.headScores ?? "{}") as Partial<HeadScores>;
  return kind === (name === "razor" ? "razor" : "duo") ? undefined : "--head-scores";
}

/** Those of the files that a model is loaded with. */
export function filesFor(policy: string | undefined, { filters, headScores }: PolicyFiles): PolicyFiles {
  if (policy === undefined) return {};
  const { needsFilters, dealing } = parsePolicy(policy);
  return { ...(needsFilters ? { filters } : {}), ...(dealing === "heads" ? { headScores } : {}) };
}

/** Whether a policy needs of a prefill no more than the queries of its last rows. */
export function isPlain({ values, observed, queryStatistics, needsFilters, dealing }: PolicySpec): boolean {
  if (needsFilters || dealing === "heads") return false;
  return queryStatistics === 0 && observed === Observed.NOTHING && !values.has("sketch");
}

/** What a policy needs of a prefill and of the load: one serves all policies that need the same. */
function sightOf(spec: PolicySpec | undefined): string {
  if (spec === undefined || isPlain(spec)) return "rows";
  const { name, values, observed, queryStatistics, needsFilters, dealing, sinks } = spec;
  if (dealing === "heads") return `heads ${name}`;
  if (needsFilters) return "filters";
  if (queryStatistics > 0) return `queries ${queryStatistics} ${sinks}`;
  if (observed === Observed.ATTENTION) return "attention";
  if (observed === Observed.LARGEST) return `largest ${values.get("chunk")} ${values.get("sinks")}`;
  return describePolicy(spec);
}

/** Variants that a prefill serves together, the whole prompt among the first. */
export function groupVariants(variants: readonly Variant[]): Variant[][] {
  const groups = new Map<string, Variant[]>();
  for (const variant of variants) {
    const key = sightOf(variant.policy);
    groups.set(key, [...(groups.get(key) ?? []), variant]);
  }
  return [...groups.values()];
}

/** Every policy at every ratio (the share that goes), and the whole prompt. @throws ThimbleError invalid_option */
export function variantsOf(policies: readonly string[], ratios: readonly number[], files: PolicyFiles = {}): Variant[] {
  const full: Variant = { name: FULL, rule: undefined, policy: undefined };
  const choosing = policies.flatMap((text): Variant[] => {
    const { policy, sinks, window } = parseProtected(text, files);
    return ratios.map((ratio) => ({
      name: `${text}@${ratio}`,
      rule: { keep: { share: 1 - ratio }, sinks, window },
      policy,
    }));
  });
  return [full, ...choosing];
}

function parseProtected(text: string, files: PolicyFiles): { policy: PolicySpec; sinks: number; window: number } {
  const [, name, sinks = "0", window = "0"] = /^(.*?)(?:\+s(\d+)r(\d+))?$/.exec(text)!;
  const policy = parsePolicy(name);
  const lacked = lackedBy(policy, files);
  if (lacked !== undefined) {
    throw new ThimbleError("invalid_option", `${name} needs ${lacked} FILE`, { name: "policies" });
  }
  return { policy, sinks: Number(sinks), window: Number(window) };
}

/** "snapkv:window=32,kernel=7,key-diff+s4r64": a comma before NAME= belongs to the policy. */
export function splitPolicies(list: string): string[] {
  return list.split(/,(?![a-z]+=)/).filter(Boolean);
}

/**
 * Options to load a model with, so that every variant can be made of one prefill: the policy that looks at most rows and, of
 * those, one with a second stage, which needs room of its own. The whole prompt alone is held under a policy too, since what
 * pages are by default depends on whether there is one. Formats whose pages go as a whole have no policies, and only the full
 * cache remains.
 */
export function loadOptionsOf(
  format: Format,
  variants: readonly Variant[],
): { options: Format["options"]; variants: Variant[] } {
  const asked = variants.flatMap(({ policy }) => policy ?? []);
  const specs = asked.length === 0 ? [parsePolicy("streaming")] : asked;
  const rank = ({ observeRows, policy }: PolicySpec): number =>
    2 * observeRows + ((policy & Policy.CRITICAL) === 0 ? 0 : 1);
  const most = specs.reduce((a, b) => (rank(b) > rank(a) ? b : a));
  const options = { ...format.options, policy: describePolicy(most) };
  try {
    cacheConfig(options);
  } catch {
    return { options: format.options, variants: variants.filter(({ policy }) => policy === undefined) };
  }
  return { options, variants: [...variants] };
}
