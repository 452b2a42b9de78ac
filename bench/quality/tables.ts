/** Markdown of a model's results. @module */
import type { Estimate } from "../lib/statistics.ts";
import { estimate } from "../lib/statistics.ts";
import { markdownTable } from "../report/tables.ts";
import {
  BASE,
  bytesShare,
  type CaseName,
  caseNames,
  found,
  kept,
  nllChange,
  nllOfCase,
  nllPercent,
  type VariantName,
  variantNames,
} from "./figures.ts";
import type { Reference } from "./reference-items.ts";
import type { Cases, QualityResults } from "./store.ts";
import { FULL } from "./variants.ts";

/** What 100% of bytes are. */
export function bytesText(cases: Cases): string {
  const rates = caseNames(cases).flatMap(({ of, measure, tokens }) =>
    measure === "nll" ? Object.values(cases[of]?.[BASE] ?? {}).map(([bytes]) => bytes! / tokens) : [],
  );
  if (rates.length === 0) return "";
  const rate = Math.round(estimate(rates).mean).toLocaleString("en-US");
  return `100% of bytes are ${rate} for each token of the prompt, in all layers and heads.`;
}

/** All variants, all measures: what one reads to choose. */
export function overviewTable(results: QualityResults): string {
  const { cases, items } = results;
  const names = caseNames(cases);
  const lengths = unique(names.filter(({ measure }) => measure === "nll").map(({ of }) => of));
  const asked = (measure: string, mode: string): CaseName[] =>
    names.filter((each) => each.measure === measure && each.mode === mode);
  const columns = [
    ["found, A", asked("recall", "A")],
    ["found, B", asked("recall", "B")],
    ["turns, A", asked("turns", "A")],
    ["turns, B", asked("turns", "B")],
    ["turns, C", asked("turns", "C")],
  ] as const;
  const present = columns.filter(([, of]) => of.length > 0);
  const variants = rankedVariants(cases).filter(({ name }) =>
    Object.values(cases).some((each) => each[BASE] !== undefined && each[name] !== undefined),
  );
  return variantTable(variants, [
    { title: "bytes", all: 0, cell: ({ name }) => ({ text: percent(bytesShare(cases, name), 0), n: 0 }) },
    ...lengths.map((of) => ({
      title: `nats, ${nllLabel(of)}`,
      all: items[of]!,
      cell: ({ name }: VariantName) => nllCell(cases, of, name),
    })),
    ...present.map(([title, names]) => foundColumn(results, title, names)),
    { title: "kept", all: 0, cell: ({ name }) => ({ text: keptText(cases, name), n: 0 }) },
  ]);
}

interface Cell {
  readonly text: string;
  readonly n: number;
}

interface Column {
  readonly title: string;
  /** Items that a cell can be of. */
  readonly all: number;
  readonly cell: (variant: VariantName) => Cell | undefined;
}

/** A variant a row. Where items are missing, a column's title says how many it is of, or each cell where they differ. */
function variantTable(variants: readonly VariantName[], columns: readonly Column[]): string {
  const columnCells = columns.map(({ cell }) => variants.map(cell));
  const partly = (n: number, all: number): string => (n < all ? ` (${n} of ${all})` : "");
  const alike = columnCells.map((cells) => unique(cells.flatMap((cell) => cell?.n ?? [])).length === 1);
  const heads = columns.map(({ title, all }, i) => {
    const n = columnCells[i]!.find((cell) => cell !== undefined)?.n ?? 0;
    return alike[i] ? title + partly(n, all) : title;
  });
  const rows = variants.map((variant, row) => [
    label(variant),
    ...columns.map(({ all }, i) => {
      const cell = columnCells[i]![row];
      return cell === undefined ? "" : cell.text + (alike[i] ? "" : partly(cell.n, all));
    }),
  ]);
  return markdownTable(["pages, policy", ...heads], rows);
}

function foundColumn(
  { cases, items }: QualityResults,
  title: string,
  names: readonly CaseName[],
  turn?: (index: number) => boolean,
): Column {
  const cell = ({ name }: VariantName): Cell | undefined => {
    const value = found(cases, names, name, { turn });
    return value && { text: share(value), n: value.n };
  };
  return { title, all: sum(names.map(({ of }) => items[of]!)), cell };
}

function nllLabel(of: string): string {
  const [, source, tokens] = of.split("/");
  return source === "reference" ? `${tokens}` : `${tokens} (${source})`;
}

function keptText(cases: Cases, name: string): string {
  const value = kept(cases, name);
  return value === undefined ? "" : percent(value, 0);
}

/** Nats of the base, of others the change in per cent. */
function nllCell(cases: Cases, of: string, name: string): Cell | undefined {
  if (name === BASE) {
    const full = nllOfCase(cases, of, BASE);
    return full && { text: full.mean.toFixed(3), n: full.n };
  }
  const change = nllPercent(cases, of, name);
  return change && { text: `${signed(change.mean, 2)}%${spread(change.error, 2)}`, n: change.n };
}

/** At each ratio, the best first: by what is kept, else by nats. */
function rankedVariants(cases: Cases): VariantName[] {
  const lengths = caseNames(cases).filter(({ measure }) => measure === "nll");
  const worth = ({ name }: VariantName): number => {
    const changes = lengths.flatMap(({ of }) => nllChange(cases, of, name)?.mean ?? []);
    return kept(cases, name) ?? (changes.length === 0 ? Number.NEGATIVE_INFINITY : -estimate(changes).mean);
  };
  const ranked = variantNames(cases).map((variant) => ({ variant, worth: worth(variant) }));
  return ranked
    .sort((a, b) => a.variant.ratio - b.variant.ratio || (b.worth === a.worth ? 0 : b.worth - a.worth))
    .map(({ variant }) => variant);
}

/** What is found, a kind a column. */
export function recallTable(results: QualityResults, mode: string): string {
  const names = caseNames(results.cases).filter((each) => each.measure === "recall" && each.mode === mode);
  const titles = unique(names.map(columnOf));
  const ofTitle = (title: string): CaseName[] => names.filter((each) => columnOf(each) === title);
  const columns = titles.map((title) => foundColumn(results, title, ofTitle(title)));
  return variantTable(askedVariants(results.cases, names), columns);
}

/** Variants that have any of the cases. */
function askedVariants(cases: Cases, names: readonly CaseName[]): VariantName[] {
  return rankedVariants(cases).filter(({ name }) => names.some(({ of }) => cases[of]?.[name] !== undefined));
}

/** Kinds of models/eval over all lengths; the reference's prompts by length. */
function columnOf({ kind, tokens }: CaseName): string {
  return kind.startsWith("reference_") ? `${kind.slice(10).replaceAll("_", " ")} ${tokens}` : kind.replaceAll("_", " ");
}

/** The first question, and the ones that follow. */
export function turnsTable(results: QualityResults): string {
  const names = caseNames(results.cases).filter(({ measure }) => measure === "turns");
  const groups = unique(names.map(({ kind, mode }) => `${kind}, ${mode}`));
  const columns = groups.flatMap((group) => {
    const own = names.filter(({ kind, mode }) => `${kind}, ${mode}` === group);
    return [
      foundColumn(results, `${group}: first`, own, (turn) => turn === 0),
      foundColumn(results, "later", own, (turn) => turn > 0),
    ];
  });
  return variantTable(askedVariants(results.cases, names), columns);
}

/** Bytes of a variant beyond the share asked for: policies of whole heads or layers may keep far more. */
const MOST_BEYOND = 0.1;

/** At each ratio, the policy that keeps most in about the bytes that were asked for. */
export function bestTable(cases: Cases): string {
  const ratios = unique(
    variantNames(cases)
      .filter(({ policy }) => policy !== FULL)
      .map(({ ratio }) => ratio),
  );
  const rows = ratios.flatMap((ratio) => {
    const candidates = variantNames(cases)
      .filter((each) => each.ratio === ratio && each.format === "q8")
      .filter(({ name }) => bytesShare(cases, name) <= 1 - ratio + MOST_BEYOND);
    const ranked = candidates
      .map((each) => ({ ...each, kept: kept(cases, each.name) }))
      .filter((each) => each.kept !== undefined)
      .sort((a, b) => b.kept! - a.kept!);
    if (ranked.length === 0) return [];
    return [[`${ratio}`, ...ranked.slice(0, 3).map((each) => `${each.policy} ${percent(each.kept!, 0)}`)]];
  });
  return rows.length === 0 ? "" : markdownTable(["share that goes", "best", "second", "third"], rows);
}

/** Of all variants, the one with the least bytes that keeps so much of quality. */
export function leastTable(cases: Cases): string {
  const all = variantNames(cases).flatMap((variant) => {
    const value = kept(cases, variant.name);
    return value === undefined ? [] : [{ variant, kept: value, bytes: bytesShare(cases, variant.name) }];
  });
  const rows = [0.99, 0.95, 0.9, 0.75, 0.5].flatMap((least) => {
    const [best] = all.filter((each) => each.kept >= least).sort((a, b) => a.bytes - b.bytes);
    return best === undefined
      ? []
      : [[percent(least, 0), label(best.variant), percent(best.bytes, 0), percent(best.kept, 0)]];
  });
  return all.length < 2 ? "" : markdownTable(["at least", "pages, policy", "bytes", "kept"], rows);
}

/** Cases of which items or all are missing in the whole prompt's own results. */
export function missingText({ cases, items }: QualityResults): string {
  const lacking = Object.entries(items).flatMap(([of, all]) => {
    const n = Object.keys(cases[of]?.[BASE] ?? {}).length;
    return n < all ? [`${of} (${n} of ${all})`] : [];
  });
  return lacking.length === 0 ? "Nothing is missing." : `Not measured, or in part: ${lacking.join(", ")}.`;
}

/**
 * Ours beside the reference's: the change against one's own full cache, document by document, and whether the mean of the
 * differences is within two of its standard errors of 0.
 */
export function referenceTable(cases: Cases, reference: Reference["nll"]): string {
  const lengths = Object.keys(reference).filter((tokens) => cases[`nll/reference/${tokens}`] !== undefined);
  const rows = variantNames(cases).flatMap((variant) => {
    const compared = lengths.map((tokens) =>
      comparedWith(cases[`nll/reference/${tokens}`]!, reference[tokens]!, variant),
    );
    return compared.every((each) => each === undefined) ? [] : [{ variant, compared }];
  });
  if (rows.length === 0) return "";
  const all = rows.flatMap(({ compared }) => compared.flatMap((each) => (each && each.difference.n > 1 ? [each] : [])));
  const within = all.filter(isWithin).length;
  const counts = `${within} of ${all.length} differences are within two standard errors.`;
  const most = Math.max(...all.map(({ difference }) => difference.n));
  const body = rows.map(({ variant, compared }) => [label(variant), ...compared.map((each) => comparison(each, most))]);
  return `${counts}\n\n${markdownTable(["pages, policy", ...lengths.map((tokens) => `${tokens} tokens`)], body)}`;
}

interface Comparison {
  readonly ours: Estimate;
  readonly theirs: Estimate;
  /** Of the changes, document by document. */
  readonly difference: Estimate;
}

/** On the documents that both have; undefined: there are none. */
function comparedWith(
  own: Cases[string],
  theirs: Reference["nll"][string],
  { name, format, policy, ratio }: VariantName,
): Comparison | undefined {
  const [cut, full] = [own[name] ?? {}, own[`${format} ${FULL}`] ?? {}];
  const other = policy === FULL ? {} : (theirs[`${policy}@${ratio}`] ?? {});
  const items = Object.keys(cut).filter((item) => full[item] !== undefined && other[item] !== undefined);
  if (items.length === 0) return undefined;
  const ourChange = items.map((item) => cut[item]![1]! - full[item]![1]!);
  const theirChange = items.map((item) => other[item]! - theirs[FULL]![item]!);
  const difference = estimate(ourChange.map((change, i) => change - theirChange[i]!));
  return { ours: estimate(ourChange), theirs: estimate(theirChange), difference };
}

function isWithin({ difference: { mean, error } }: Comparison): boolean {
  return Math.abs(mean) <= 2 * error;
}

/** @param most documents that others have */
function comparison(each: Comparison | undefined, most: number): string {
  if (each === undefined) return "";
  const { ours, theirs, difference } = each;
  const text = `${signed(ours.mean, 4)}, ${signed(theirs.mean, 4)}: ${nats(difference)}`;
  const marked = difference.n < 2 || isWithin(each) ? text : `**${text}**`;
  return difference.n < most ? `${marked} (${difference.n})` : marked;
}

/** The share found, ours and the reference's. The samples are not the same ones: errors of both count. */
export function referenceRecallTable(cases: Cases, reference: Reference["recall"]): string {
  const names = caseNames(cases).filter(({ kind }) => kind.startsWith("reference_"));
  const rows = names.flatMap((each) =>
    variantNames(cases).flatMap((variant) => {
      const { name, policy, ratio } = variant;
      const theirs = reference[`${each.tokens}/${each.mode}`]?.[policy === FULL ? FULL : `${policy}@${ratio}`];
      const ours = found(cases, [each], name);
      if (theirs === undefined || ours === undefined) return [];
      const [mean, error] = theirs;
      const isWithin = Math.abs(ours.mean - mean) <= 2 * Math.hypot(ours.error, error);
      const verdict = ours.n < 2 ? "" : isWithin ? "yes" : "**no**";
      const own = [`${each.tokens}, ${each.mode}`, label(variant), share(ours), share({ mean, error, n: 0 })];
      return [[...own, verdict, `${ours.n}`]];
    }),
  );
  if (rows.length === 0) return "";
  return markdownTable(["tokens, mode", "pages, policy", "ours", "reference", "within 2 errors", "prompts"], rows);
}

function nats({ mean, error }: Estimate): string {
  return `${signed(mean, 4)}${spread(error, 4)}`;
}

function label({ format, policy, ratio }: VariantName): string {
  return policy === FULL ? `${format}, all` : `${format}, ${policy} ${ratio}`;
}

function share(value: Estimate | undefined): string {
  return value === undefined ? "" : `${value.mean.toFixed(2)}${spread(value.error, 2)}`;
}

function spread(error: number, places: number): string {
  return Number.isNaN(error) ? "" : ` ± ${error.toFixed(places)}`;
}

function signed(value: number, places: number): string {
  return `${value >= 0 ? "+" : ""}${value.toFixed(places)}`;
}

export function percent(value: number, places: number): string {
  return Number.isNaN(value) ? "" : `${(100 * value).toFixed(places)}%`;
}

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0);
}

function unique<T>(values: readonly T[]): T[] {
  return [...new Set(values)];
}
