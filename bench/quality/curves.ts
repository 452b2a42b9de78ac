/** Which figures are drawn: quality over the bytes of the cache. @module */
import { type Estimate, estimate } from "../lib/statistics.ts";
import type { CurvePoint, Curves } from "../report/svg-curves.ts";
import { BASE, bytesShare, caseNames, found, nllPercent, variantNames } from "./figures.ts";
import type { Cases } from "./store.ts";
import { FULL } from "./variants.ts";

const X_LABEL = "bytes of the prompt's keys and values, of those in 8-bit pages";
/** Losses beyond it are all too much. */
const WORST = 20;

/** Change of nats in per cent, a mean over all lengths; values found, over all kinds of one measure and mode. */
export function curvesOf(cases: Cases): Readonly<Record<string, Curves>> {
  const names = caseNames(cases);
  const asked = (measure: string, mode: string) =>
    names.filter((each) => each.measure === measure && each.mode === mode);
  const plots: [string, Curves | undefined][] = [
    [
      "nll",
      plot(
        cases,
        "Change of the text's nats, %",
        (name) => meanPercent(cases, name),
        { value: 0, label: "all, q8" },
        WORST,
      ),
    ],
    ...(["A", "B"] as const).map((mode): [string, Curves | undefined] => {
      const title =
        mode === "A" ? "Values found, question unknown when the prompt is cut (A)" : "Values found, question known (B)";
      return [
        `recall-${mode}`,
        plot(
          cases,
          title,
          (name) => found(cases, asked("recall", mode), name),
          fullOf(cases, asked("recall", mode)),
          1,
        ),
      ];
    }),
    ...(["A", "B", "C"] as const).map((mode): [string, Curves | undefined] => {
      const title = `Answers right over six turns (${mode})`;
      return [
        `turns-${mode}`,
        plot(cases, title, (name) => found(cases, asked("turns", mode), name), fullOf(cases, asked("turns", mode)), 1),
      ];
    }),
  ];
  return Object.fromEntries(plots.flatMap(([name, curves]) => (curves === undefined ? [] : [[name, curves]])));
}

function fullOf(cases: Cases, names: ReturnType<typeof caseNames>): Curves["reference"] {
  return { value: found(cases, names, BASE)?.mean ?? 1, label: "all, q8" };
}

function meanPercent(cases: Cases, name: string): Estimate | undefined {
  const changes = caseNames(cases).flatMap(({ of, measure }) =>
    measure === "nll" ? (nllPercent(cases, of, name) ?? []) : [],
  );
  if (changes.length === 0) return undefined;
  // Documents are the same at all lengths: their errors do not average out.
  const [mean, error] = (["mean", "error"] as const).map((key) => estimate(changes.map((each) => each[key])).mean);
  return { mean: mean!, error: error!, n: changes.length };
}

/** A curve for each format's policies, and one through the formats with nothing left out. */
function plot(
  cases: Cases,
  title: string,
  figure: (name: string) => Estimate | undefined,
  reference: Curves["reference"],
  yMost: number,
): Curves | undefined {
  const curves = new Map<string, CurvePoint[]>();
  for (const { name, format, policy } of variantNames(cases)) {
    const value = figure(name);
    const x = bytesShare(cases, name);
    if (value === undefined || Number.isNaN(x)) continue;
    const curve = policy === FULL ? "all, by pages" : format === "q8" ? policy : `${policy}, ${format}`;
    curves.set(curve, [...(curves.get(curve) ?? []), { x, y: value.mean, error: value.error }]);
  }
  if ([...curves.values()].flat().length < 2) return undefined;
  const list = [...curves].map(([name, points]) => ({ name, points }));
  return { title, xLabel: X_LABEL, yLabel: title.split(",")[0]!, curves: list, reference, yMost };
}
