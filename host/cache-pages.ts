/**
 * Pages of the pool that a session holds: of a context that is full, and of what a prompt's end leaves of one.
 * @module
 */
import { Policy, Size } from "../assembly/memory/status.ts";
import { headBudgets } from "./head-budgets.ts";
import type { Kept } from "./keep.ts";
import { type CacheConfig, pooledPages } from "./kv-cache.ts";
import { wideHeadsOf } from "./kv-format.ts";
import type { ModelConfig } from "./model-config.ts";
import { layerBudgets } from "./policy.ts";

/** Tokens that a layer with a sliding window can take back: SPARE of assembly/cache/window.ts. */
export const SPARE = 32;
/** Positions of a page are less than this apart: REACH of assembly/cache/slots.ts. */
const REACH = 65_536;

/** Pages of the pool that one session of `tokens` tokens needs, over all heads: aged ones, and those of heads that keep 8 bits. */
export interface PageCounts {
  readonly aged: number;
  readonly wide: number;
}

/** Pages of a head with this window; 0: no window. */
function headPages(cache: CacheConfig, tokens: number, window: number): number {
  const pooled = pooledPages(cache, tokens);
  return window === 0 ? pooled : Math.min(pooled, Math.floor((window + SPARE + 31) / 32));
}

export function cachePages(config: ModelConfig, cache: CacheConfig, tokens: number): PageCounts {
  const counts = { aged: 0, wide: 0 };
  config.layers.forEach(({ window }, layer) => {
    const pages = headPages(cache, tokens, window);
    const wide = wideHeadsOf(cache.wideHeads, layer);
    counts.aged += pages * (config.nKvHeads - wide);
    counts.wide += pages * wide;
  });
  return counts;
}

/** Pages of the layer that has most. */
export function layerPages({ layers, nKvHeads }: ModelConfig, cache: CacheConfig, tokens: number): number {
  return nKvHeads * Math.max(...layers.map(({ window }) => headPages(cache, tokens, window)));
}

/** Share of a head's `n` slots that stays. */
export function shareOf(keep: Kept, n: number): number {
  return "share" in keep ? keep.share : Math.min(1, keep.slots / n);
}

/**
 * Pages that stay at most of a context of `n` tokens, where neither sinks nor window nor pins hold more than the budget: packed
 * pages of each head's budget; where a layer's budget is dealt by score, of the sum, and one that is not full for each head.
 * Whether a layer is lazy is not known before: then all of them.
 */
export function keptPages(config: ModelConfig, cache: CacheConfig, n: number, keep: Kept): number {
  const { policy } = cache;
  const share = shareOf(keep, n);
  if (policy === undefined || policy.policy === Policy.SIMLAYER || share >= 1) return cachePages(config, cache, n).aged;
  const { layers, nKvHeads } = config;
  const more = policy.policy === Policy.CHUNKKV ? policy.values.get("chunk")! : 0; // the last chunk is counted as a whole one
  const short = Math.floor(n / REACH); // pages that end early, since positions are far apart
  const pagesOf = (budget: number): number => {
    const slots = Math.min(n, Math.max(budget + more, policy.sinks, 1));
    return pooledPages(cache, (Math.ceil(slots / Size.PAGE_SLOTS) + short) * Size.PAGE_SLOTS);
  };
  const scores = layers.flatMap(({ window }) => Array<number>(nKvHeads).fill(window === 0 ? 0 : Number.NaN));
  const budgets =
    policy.dealing === "heads"
      ? headBudgets(policy, scores, n, share)
      : layerBudgets(policy, layers.length, n, share).flatMap((slots) => Array<number>(nKvHeads).fill(slots));
  let pages = 0;
  layers.forEach(({ window }, layer) => {
    const own = budgets.slice(layer * nKvHeads, (layer + 1) * nKvHeads);
    if (window !== 0) pages += nKvHeads * headPages(cache, n, window);
    else if (policy.dealing !== "adaptive") pages += own.reduce((sum, budget) => sum + pagesOf(budget), 0);
    else pages += Math.ceil((nKvHeads * own[0]!) / Size.PAGE_SLOTS) + nKvHeads * (1 + short);
  });
  return pages;
}
