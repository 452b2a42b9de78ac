/** Which figures are drawn: quality over the bytes of the cache. @module */
import { type Estimate, estimate } from "../lib/statistics.ts";
import type { CurvePoint, Curves } from "../report/svg-curves.ts";
import { BASE, bytesShare, caseNames, found, nllPercent, variantNames } from "./figures.ts";
import type { Cases } from "./store.ts";
import { FULL } from "./variants.ts";

const X_LABEL = "bytes of the prompt's keys and values, of those in 8-bit pages";
/** Losses beyond it are all too much. */
const WORST = 20;

const TITLES: Readonly<Record<string, string>> = {
  "recall/A": "Values found, the question unknown when the prompt is cut (A)",
  "recall/B": "Values found, the question known (B)",
  "turns/A": "Turns answered right, no question known (A)",
  "turns/B": "Turns answered right, the first question known (B)",
  "turns/C": "Turns answered right, cut again at every question (C)",
};

/** By the end of the file's name: change of nats, a mean over all lengths; what is found, over all kinds and lengths. */
export function curvesOf(cases: Cases): Readonly<Record<string, Curves>> {
  const names = caseNames(cases);
  const nats = curves(cases, (name) => meanPercent(cases, name));
  const most = Math.max(...nats.flatMap(({ points }) => points.map(({ y, error }) => y + (error || 0))));
  const plots: [string, Curves][] = [
    ["nll", { ...frame("Change of nats, %", 0), curves: nats, yMost: Math.min(WORST, Math.max(1, most)) }],
  ];
  for (const [key, title] of Object.entries(TITLES)) {
    const asked = names.filter(({ measure, mode }) => key === `${measure}/${mode}`);
    const whole = found(cases, asked, BASE)?.mean ?? 1;
    const all = curves(cases, (name) => found(cases, asked, name));
    plots.push([key.replace("/", "-"), { ...frame(title, whole), curves: all, yMost: 1 }]);
  }
  return Object.fromEntries(plots.filter(([, plot]) => plot.curves.flatMap(({ points }) => points).length > 1));
}

function frame(title: string, whole: number): Omit<Curves, "curves" | "yMost"> {
  return { title, xLabel: X_LABEL, yLabel: title.split(",")[0]!, reference: { value: whole, label: "all, q8" } };
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
function curves(cases: Cases, figure: (name: string) => Estimate | undefined): Curves["curves"] {
  const curves = new Map<string, CurvePoint[]>();
  for (const { name, format, policy } of variantNames(cases)) {
    const value = figure(name);
    const x = bytesShare(cases, name);
    if (value === undefined || Number.isNaN(x)) continue;
    const curve = policy === FULL ? "all, by pages" : format === "q8" ? policy : `${policy}, ${format}`;
    curves.set(curve, [...(curves.get(curve) ?? []), { x, y: value.mean, error: value.error }]);
  }
  return [...curves].map(([name, points]) => ({ name, points }));
}
