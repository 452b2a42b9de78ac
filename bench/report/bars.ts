/**
 * The bars that figures are held against, as data, and what was measured for each. A ratio is ours over the fastest of the
 * peers named, median of the rounds; a bar without a variant's name holds for every variant that was measured.
 * @module
 */
import type { CaseResult, StoredPart } from "../lib/results.ts";
import { median, type Ratio, ratioOf } from "../lib/statistics.ts";

export const NATIVE = ["node-llama-cpp", "llama-cpp-python"];
export const NATIVE_CACHES = ["native, f16 cache", "native, q8_0 cache"];
export const ORT_INT8 = ["int8 DynamicQuantizeMatMul"];

export interface Bar {
  readonly part: string;
  readonly case: string;
  /** "simd", "relaxed"; or what a case of bytes counts. */
  readonly side: string;
  /** Peers; none: the figure itself. */
  readonly against?: readonly string[];
  readonly atLeast?: number;
  /** For seconds and bytes; of peers: strictly below. */
  readonly atMost?: number;
}

const both = (bar: Omit<Bar, "side">): Bar[] => ["simd", "relaxed"].map((side) => ({ ...bar, side }));

function native(model: string, what: string, atLeast: Readonly<Record<string, number>>): Bar[] {
  return Object.entries(atLeast).map(([side, ratio]) => {
    return { part: "native", case: `${model} ${what}`, side, against: NATIVE, atLeast: ratio };
  });
}

export const BARS: readonly Bar[] = [
  ...native("Q4_0", "decode @128", { relaxed: 1.5, simd: 1.15 }),
  ...native("Q4_0", "prefill 512", { relaxed: 0.75, simd: 0.47 }),
  ...native("Q4_1", "decode @128", { relaxed: 2.3 }),
  ...native("Q4_1", "prefill 512", { relaxed: 1.8 }),
  ...native("Q8_0", "decode @128", { relaxed: 0.7 }),
  ...native("Q8_0", "prefill 512", { relaxed: 0.5 }),
  ...native("Q4_0", "decode @7168", { relaxed: 1.8, simd: 1.8 }),
  ...["relaxed, q8 pages", "relaxed, q4 pages"].map((side) => {
    return { part: "caches", case: "decode @7168", side, against: NATIVE_CACHES, atLeast: 2.5 };
  }),
  ...both({ part: "wllama", case: "decode @128", against: ["wllama 2.4.0"], atLeast: 8 }),
  ...both({ part: "wllama", case: "prefill 512", against: ["wllama 2.4.0"], atLeast: 12 }),
  ...both({ part: "wllama", case: "Blob to first token", against: ["wllama 2.4.0", "wllama 3.8.1"], atMost: 1 }),
  ...both({ part: "onnxruntime", case: "128 x 576 x 12288", against: ORT_INT8, atLeast: 1.1 }),
  ...both({ part: "onnxruntime", case: "1 x 576 x 12288", against: ORT_INT8, atLeast: 8 }),
  ...both({ part: "tokens", case: "decode @128, share of the roof", atLeast: 0.6 }),
  ...both({ part: "attention", case: "q8 pages, share of the roof", atLeast: 0.25 }),
  ...both({ part: "attention", case: "q4 pages, share of the roof", atLeast: 0.15 }),
  ...both({ part: "load", case: "process start to first token, file in the page cache", atMost: 0.5 }),
  ...both({ part: "load", case: "process start to first token, file dropped from the page cache", atMost: 0.5 }),
  ...["simd", "relaxed", "simd-threads", "relaxed-threads"].map((name) => {
    return { part: "load", case: `${name}.wasm`, side: "gzip", atMost: 40_000 };
  }),
];

export function barOf(part: string, label: string, side: string): Bar | undefined {
  return BARS.find((bar) => bar.part === part && bar.case === label && bar.side === side);
}

export function isMet(bar: Bar, value: number): boolean {
  if (bar.atLeast !== undefined) return value >= bar.atLeast;
  return bar.against === undefined ? value <= bar.atMost! : value < bar.atMost!;
}

/** Ours over the fastest of the peers that were measured; by processor time as well, where both sides know it. */
export interface Comparison {
  readonly peer: string;
  readonly ratio: Ratio;
  readonly byProcessorTime: number | undefined;
}

export function compare(each: CaseResult, side: string, against: readonly string[]): Comparison | undefined {
  const ours = each.samples[side];
  const rank = each.unit === "s" ? -1 : 1;
  const speed = (name: string): number => rank * median(each.samples[name]!);
  const [peer] = against.filter((name) => each.samples[name] !== undefined).sort((a, b) => speed(b) - speed(a));
  if (ours === undefined || peer === undefined) return undefined;
  const [cpu, peerCpu] = [each.cpu[side], each.cpu[peer]];
  const perCpu = (list: readonly number[], share: readonly number[]) => list.map((value, i) => value / share[i]!);
  const byProcessorTime =
    cpu === undefined || peerCpu === undefined
      ? undefined
      : ratioOf(perCpu(ours, cpu), perCpu(each.samples[peer]!, peerCpu)).median;
  return { peer, ratio: ratioOf(ours, each.samples[peer]!), byProcessorTime };
}

/** What was measured for a bar; undefined when it was not. */
export function measuredFor(bar: Bar, parts: readonly StoredPart[]): number | undefined {
  const cases = parts.find(({ part }) => part === bar.part)?.cases ?? [];
  const each = cases.find((one) => one.case === bar.case);
  if (each === undefined) return undefined;
  if (bar.against !== undefined) return compare(each, bar.side, bar.against)?.ratio.median;
  const samples = each.samples[bar.side];
  return samples === undefined ? undefined : median(samples);
}
