/** Markdown of a part's figures. @module */
import type { CaseResult, StoredPart } from "../lib/results.ts";
import { median } from "../lib/statistics.ts";
import { BARS, type Bar, barOf, compare, isMet, measuredFor } from "./bars.ts";

export const OURS = ["simd", "relaxed"];

export function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  const rule = head.map((_, i) => (i === 0 ? "---" : "---:"));
  return [line(head), line(rule), ...rows.map(line)].join("\n");
}

/** A case and variant a row: ours, each peer, the bar, and the ratio to the fastest of its peers, else of `against`. */
export function comparisonTable(
  part: StoredPart,
  peers: readonly string[],
  against: readonly string[],
  ours = OURS,
): string {
  const hasTimes = part.cases.some(({ cpu }) => Object.keys(cpu).length > 0);
  const head = ["", "ours", ...peers, "ratio (range)", ...(hasTimes ? ["by processor time"] : []), "bar", ""];
  const rows: string[][] = [];
  for (const each of part.cases) {
    for (const side of ours) {
      const bar = barOf(part.part, each.case, side);
      const compared = compare(each, side, bar?.against ?? against);
      if (compared === undefined) continue;
      const { ratio, byProcessorTime } = compared;
      rows.push([
        `${each.case}, ${side}`,
        figure(each, side),
        ...peers.map((peer) => figure(each, peer)),
        `${digits(ratio.median)} (${digits(ratio.low)}-${digits(ratio.high)})`,
        ...(hasTimes ? [byProcessorTime === undefined ? "" : digits(byProcessorTime)] : []),
        ...verdict(bar, ratio.median),
      ]);
    }
  }
  return markdownTable(head, rows);
}

/** A case a row, its sides as columns, and a bar for each side that has one. */
export function plainTable(part: StoredPart, cases: readonly CaseResult[], sides: readonly string[]): string {
  const present = sides.filter((side) => cases.some((each) => each.samples[side] !== undefined));
  const rows = cases.map((each) => [
    each.case,
    ...present.map((side) => {
      const samples = each.samples[side];
      const bar = barOf(part.part, each.case, side);
      const [wanted, met] = samples === undefined ? ["", ""] : verdict(bar, median(samples));
      return bar === undefined ? figure(each, side) : `${figure(each, side)} (bar ${wanted}: ${met})`;
    }),
    each.unit,
  ]);
  return markdownTable(["", ...present, ""], rows);
}

export function barsTable(parts: readonly StoredPart[]): string {
  const rows = BARS.map((bar) => {
    const value = measuredFor(bar, parts);
    const [wanted, met] = value === undefined ? [target(bar), "not measured"] : verdict(bar, value);
    const peers = bar.against?.join(" or ") ?? "";
    const label = `${bar.case}, ${bar.side}${peers === "" ? "" : ` / ${peers}`}`;
    return [label, value === undefined ? "" : digits(value), wanted!, met!];
  });
  return markdownTable(["", "measured", "bar", ""], rows);
}

function target({ atLeast, atMost, against }: Bar): string {
  if (atLeast !== undefined) return `${atLeast}`;
  return against === undefined ? `at most ${atMost}` : `below ${atMost}`;
}

function verdict(bar: Bar | undefined, value: number): [string, string] {
  return bar === undefined ? ["", ""] : [target(bar), isMet(bar, value) ? "met" : "**missed**"];
}

function figure(each: CaseResult, side: string): string {
  const samples = each.samples[side];
  return samples === undefined ? "" : digits(median(samples));
}

/** Three digits, and all of a count. */
export function digits(value: number): string {
  if (value >= 1000) return Math.round(value).toLocaleString("en-US");
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}
