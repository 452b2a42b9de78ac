/**
 * Budgets of heads that differ: retrieval heads keep all slots, streaming heads the first and the newest ones. Which are which
 * says a calibration (head-scores.ts): the heads of lowest score stream.
 * https://arxiv.org/abs/2410.10819 (DuoAttention), https://arxiv.org/abs/2407.15891 (RazorAttention)
 * @module
 */
import type { PolicySpec } from "./policy.ts";

/** Slots that a streaming head keeps of n: sinks, and the newest `recent`, or a share `buffer` of all where that is more. */
export function streamingSlots({ values }: PolicySpec, n: number): number {
  const recent = Math.max(values.get("recent")!, Math.floor((values.get("buffer") ?? 0) * n + 1e-9));
  return Math.min(n, values.get("sinks")! + recent);
}

/** Heads that have a score, those that stream soonest first. */
function lowestFirst(scores: readonly number[]): number[] {
  const heads = scores.flatMap((score, head) => (Number.isNaN(score) ? [] : [head]));
  return heads.sort((a, b) => scores[a]! - scores[b]! || a - b);
}

/** The share of heads that streams where nothing says how many. */
const HALF = 0.5;

/**
 * Slots of each head where none may keep everything: the share `heads` of them streams, or half; the others have the same
 * number each, so that all together have `slots` on average, and keep their newest.
 */
export function boundedBudgets(spec: PolicySpec, scores: readonly number[], slots: number): number[] {
  const few = streamingSlots(spec, slots);
  const order = lowestFirst(scores);
  const streaming = Math.min(order.length - 1, Math.round(order.length * (spec.values.get("heads")! || HALF)));
  const others = Math.floor((order.length * slots - streaming * few) / (order.length - streaming));
  const budgets = scores.map(() => others);
  for (const head of order.slice(0, streaming)) budgets[head] = few;
  return budgets;
}

/**
 * Slots of each head, where the highest scores of all layers' heads stay: a layer's sum, shared out among its heads.
 *
 * @param scores of the slots of each layer's heads, one after the other
 * @param keep slots in all
 */
export function overallBudgets(scores: readonly Float32Array[], nKvHeads: number, keep: number): number[] {
  const all = new Float32Array(scores.reduce((sum, of) => sum + of.length, 0));
  let at = 0;
  for (const of of scores) {
    all.set(of, at);
    at += of.length;
  }
  all.sort();
  const threshold = all[Math.min(all.length - 1, Math.max(0, all.length - keep))] ?? 0;
  const above = scores.map((of) => of.reduce((n, score) => n + (score > threshold ? 1 : 0), 0));
  let ties = keep - above.reduce((sum, n) => sum + n, 0);
  return above.flatMap((n, layer) => {
    const equal = scores[layer]!.reduce((count, score) => count + (score === threshold ? 1 : 0), 0);
    const taken = Math.min(equal, Math.max(0, ties));
    ties -= taken;
    return Array.from({ length: nKvHeads }, (_, kv) => Math.floor((n + taken + kv) / nKvHeads));
  });
}

/**
 * Slots that each KV head keeps of n. The share `heads` of all heads stream or, where it is 0, as many as bring the sum down to
 * `share` of all slots; never more than all of them.
 *
 * @param scores of the heads, higher for those that need all slots; NaN: the head is none of ours, and keeps all
 */
export function headBudgets(spec: PolicySpec, scores: readonly number[], n: number, share: number): number[] {
  const few = streamingSlots(spec, n);
  const order = lowestFirst(scores);
  const wanted = spec.values.get("heads")!;
  const excess = order.length * n - Math.floor(order.length * n * share + 1e-9);
  const streaming = wanted > 0 ? Math.round(order.length * wanted) : n > few ? Math.ceil(excess / (n - few)) : 0;
  const budgets = scores.map(() => n);
  for (const head of order.slice(0, streaming)) budgets[head] = few;
  return budgets;
}
