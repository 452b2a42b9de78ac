/** Which figures of a part are drawn. @module */
import type { StoredPart } from "../lib/results.ts";
import { median } from "../lib/statistics.ts";
import { barOf, compare, NATIVE } from "./bars.ts";
import type { Plot, PlotBar } from "./svg-bars.ts";
import { OURS } from "./tables.ts";

/** Bars of ratios to the fastest of `peers`, with the bars to reach as marks. */
function ratios(part: StoredPart, title: string, peers: readonly string[], reference: string): Plot {
  const groups = part.cases
    .filter(({ unit }) => unit !== "s")
    .map((each) => ({
      label: each.case,
      bars: OURS.flatMap((side): PlotBar[] => {
        const compared = compare(each, side, peers);
        if (compared === undefined) return [];
        const target = barOf(part.part, each.case, side)?.atLeast;
        return [{ name: side, value: compared.ratio.median, ...(target === undefined ? {} : { target }) }];
      }),
    }));
  return { title, groups, reference: { value: 1, label: reference } };
}

/** Bars of medians, of the cases whose label ends with `ending`, which is left out. */
function medians(part: StoredPart, title: string, ending = ""): Plot {
  const groups = part.cases
    .filter((each) => each.case.endsWith(ending))
    .map((each) => ({
      label: each.case.slice(0, each.case.length - ending.length),
      bars: Object.entries(each.samples).map(([name, samples]) => ({ name, value: median(samples) })),
    }));
  return { title, groups };
}

export const PLOTS: Readonly<Record<string, (part: StoredPart) => Plot>> = {
  native: (part) => ratios(part, "Speed over llama.cpp native (AVX2), one thread; red: the bar", NATIVE, "llama.cpp"),
  wllama: (part) => ratios(part, "Speed over wllama 2.4.0 in Chromium; red: the bar", ["wllama 2.4.0"], "wllama"),
  onnxruntime: (part) => medians(part, "One linear layer beside onnxruntime-web, GMAC/s"),
  kernels: (part) => medians(part, "Linear kernels, 1536 x 576, from cache, GMAC/s", ", 1536 x 576, from cache"),
};
