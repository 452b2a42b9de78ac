/** Figures from results: each with its standard error, each paired with the full cache of the same item. @module */
import { type Estimate, estimate } from "../lib/statistics.ts";
import type { Measure } from "./items.ts";
import type { Cases } from "./store.ts";
import { FULL } from "./variants.ts";

/** What losses are counted from: the whole prompt in 8-bit pages, the default. */
export const BASE = `q8 ${FULL}`;

export interface CaseName {
  readonly of: string;
  readonly measure: Measure;
  readonly kind: string;
  readonly tokens: number;
  /** A, B, C; nll has none. */
  readonly mode: string | undefined;
}

export function caseNames(cases: Cases): CaseName[] {
  return Object.keys(cases).map((of) => {
    const [measure, kind = "", tokens, mode] = of.split("/");
    return { of, measure: measure as Measure, kind, tokens: Number(tokens), mode };
  });
}

export interface VariantName {
  /** As in the results: "q8 snapkv@0.5". */
  readonly name: string;
  readonly format: string;
  readonly policy: string;
  /** Share that goes; 0 of the full cache. */
  readonly ratio: number;
}

/** All variants of the results, by ratio, then format, then policy. */
export function variantNames(cases: Cases): VariantName[] {
  const names = new Set(Object.values(cases).flatMap((variants) => Object.keys(variants)));
  const all = [...names].map((name) => {
    const [format = "", rest = ""] = name.split(" ");
    const [policy = "", ratio = "0"] = rest.split("@");
    return { name, format, policy, ratio: Number(ratio) };
  });
  return all.sort((a, b) => a.ratio - b.ratio || order(a.format, b.format) || order(a.policy, b.policy));
}

function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Differences of an item's figure from another variant's, where both have the item. */
function paired(cases: Cases, of: string, name: string, base: string, figure: (each: number[]) => number): number[] {
  const [own, other] = [cases[of]?.[name] ?? {}, cases[of]?.[base] ?? {}];
  return Object.entries(own).flatMap(([item, each]) =>
    other[item] === undefined ? [] : [figure(each) - figure(other[item])],
  );
}

const nllOf = (figures: readonly number[]): number => figures[1]!;

/** Mean change of nats a token; undefined: no item has both. */
export function nllChange(cases: Cases, of: string, name: string, base = BASE): Estimate | undefined {
  const changes = paired(cases, of, name, base, nllOf);
  return changes.length === 0 ? undefined : estimate(changes);
}

/** The same in per cent of the base's nats on the same items. */
export function nllPercent(cases: Cases, of: string, name: string): Estimate | undefined {
  const change = nllChange(cases, of, name);
  if (change === undefined) return undefined;
  const base = Object.entries(cases[of]![BASE]!).filter(([item]) => cases[of]![name]![item] !== undefined);
  const scale = 100 / estimate(base.map(([, figures]) => nllOf(figures))).mean;
  return { mean: change.mean * scale, error: change.error * scale, n: change.n };
}

export function nllOfCase(cases: Cases, of: string, name: string): Estimate | undefined {
  const values = Object.values(cases[of]?.[name] ?? {}).map(nllOf);
  return values.length === 0 ? undefined : estimate(values);
}

interface FoundOptions {
  /** Of turns, those that count. Default all. */
  readonly turn?: ((index: number) => boolean) | undefined;
  /** Only items that this variant has as well. */
  readonly like?: string;
}

/** What is found of all that is asked: of a value all or nothing, of turns the share. */
export function found(
  cases: Cases,
  names: readonly CaseName[],
  variant: string,
  { turn = () => true, like = variant }: FoundOptions = {},
): Estimate | undefined {
  const shares = names.flatMap(({ of, measure }) =>
    Object.entries(cases[of]?.[variant] ?? {}).flatMap(([item, figures]) => {
      if (cases[of]?.[like]?.[item] === undefined) return [];
      const hits = measure === "recall" ? figures.slice(1, 2) : figures.slice(1).filter((_, i) => turn(i));
      return [hits.reduce((a, b) => a + b, 0) / hits.length];
    }),
  );
  return shares.length === 0 ? undefined : estimate(shares);
}

/** Bytes at the prompt's end as a share of the base's, mean over all items of all cases. */
export function bytesShare(cases: Cases, variant: string): number {
  const shares = Object.values(cases).flatMap((variants) =>
    Object.entries(variants[variant] ?? {}).flatMap(([item, [bytes]]) => {
      const base = variants[BASE]?.[item]?.[0];
      return base === undefined ? [] : [bytes! / base];
    }),
  );
  return shares.length === 0 ? Number.NaN : estimate(shares).mean;
}

/**
 * What is left of quality, by text and retrieval together: the share of a token's probability, e^-change, times the share of
 * values found, each against the full cache on the same
 * items; over all lengths, kinds and modes alike.
 */
export function kept(cases: Cases, variant: string): number | undefined {
  const names = caseNames(cases);
  const changes = names.flatMap(({ of, measure }) => (measure === "nll" ? (nllChange(cases, of, variant) ?? []) : []));
  const asked = names.filter(({ measure }) => measure !== "nll");
  const own = found(cases, asked, variant, { like: BASE });
  const full = found(cases, asked, BASE, { like: variant });
  if (changes.length === 0 || own === undefined || full === undefined || full.mean === 0) return undefined;
  return Math.exp(-estimate(changes.map(({ mean }) => mean)).mean) * (own.mean / full.mean);
}
