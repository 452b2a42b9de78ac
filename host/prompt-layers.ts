/**
 * A prompt layer by layer, where only a part of it stays: all its rows go through one layer, the layer is evicted, then they go
 * through the next one (assembly/model/forward-layer.ts). What stays, the pages and the logits are those that the prompt gives in
 * chunks; only one layer at a time holds all of it.
 *
 *   chunks:  for each chunk, for each layer: compute      then evict all layers
 *   layers:  for each layer: for each chunk: compute,     evict it
 *
 * The host pauses after every chunk of a layer. Meanwhile the session is half done: callers give a fork, and throw it away where
 * the prompt is not completed. The rows lie in memory of the model's, one prompt's at a time (`Engine.takeStream`).
 * @module
 */
import { Observed, Size } from "../assembly/memory/status.ts";
import type { PromptOrder } from "./budget.ts";
import type { Engine, RowRequest } from "./engine.ts";
import type { EvictionRule } from "./evictor.ts";
import { pooledPages } from "./kv-cache.ts";
import type { EvictedSpan } from "./ledger.ts";
import type { PolicySpec } from "./policy.ts";
import {
  beginPrompt,
  type Ending,
  endingOf,
  evictLayers,
  goneSpans,
  heldPositions,
  NEVER,
  type PromptRule,
} from "./prompt-end.ts";
import { heldAfter, longestAfter } from "./prompt-slots.ts";
import type { PassHost } from "./repeat.ts";

/** By name, and what a load makes of its options: with "auto" layers where a budget has no room for chunks. */
export const PROMPT_ORDERS = ["auto", "chunks", "layers"] as const satisfies readonly (PromptOrder | "auto")[];

/** Whether a policy can do with one layer at a time: not where it reads the prompt once more, or deals by the scores of all. */
export function canGoByLayers({ observed, dealing }: PolicySpec): boolean {
  return observed !== Observed.LARGEST && dealing !== "overall";
}

/**
 * Whether the next `rows` tokens of a session go layer by layer: the model was loaded for it, some of what is held goes at their
 * end, and nothing has to go before.
 */
export function goesByLayers(
  engine: Engine,
  session: number,
  rule: PromptRule,
  rows: number,
  { overflow, maxPages }: Pick<EvictionRule, "overflow" | "maxPages">,
): boolean {
  const { config, sizes, runtime } = engine;
  if (sizes.prompts !== "layers" || config.queryGrouping === "key_norm") return false;
  if (config.layers.every(({ window }) => window !== 0)) return false;
  const slots = runtime.exports.sessionSlots(session) + rows;
  if (slots > sizes.contextLength || (overflow === "evict" && slots >= maxPages * Size.PAGE_SLOTS)) return false;
  return endingOf(engine, rule, longestAfter(engine, session, rows)) !== undefined;
}

/** What a caller does meanwhile. */
export interface LayersPass extends PassHost {
  /** Called after every chunk of a layer. */
  readonly onStep?: (done: number, total: number) => void;
  /** Called when output 0 has the logits of the last row, until the next call of the engine; without it there are none. */
  readonly onLogits?: (() => void) | undefined;
}

/**
 * Computes tokens `from` .. of `ids` behind those that a session holds, and ends the prompt. Where it throws, the session is to
 * be closed. Returns what went.
 *
 * @throws ThimbleError out_of_memory, over_budget; invalid_option where the policy cannot serve; what `check` throws
 */
export async function computeByLayers(
  engine: Engine,
  session: number,
  ids: readonly number[],
  from: number,
  rule: PromptRule,
  { host, check, onStep, onLogits }: LayersPass,
): Promise<EvictedSpan[]> {
  const { maxRows } = engine.sizes;
  const { nLayers } = engine.config;
  const { exports } = engine.runtime;
  const rows = ids.length - from;
  const ending = endingOf(engine, rule, longestAfter(engine, session, rows))!;
  const before = heldPositions(engine, session);
  engine.reservePages(mostPages(engine, session, rows, ending));
  const total = nLayers * Math.ceil(rows / maxRows);
  let done = 0;
  beginPrompt(engine, session, from);
  for (let layer = 0; layer < nLayers; ++layer) {
    engine.reservePages(
      exports.layerPagesNeeded(session, layer, rows) + exports.promptPages(session, layer, layer + 1),
    );
    for (let at = 0; at < rows; at += maxRows) {
      const isLast = at + maxRows >= rows;
      engine.forwardLayer(
        layer,
        at,
        rowsOf(session, ids, from + at, maxRows, layer === nLayers - 1 && onLogits !== undefined),
      );
      if (isLast && layer === nLayers - 1) onLogits?.();
      if (isLast) evictLayers(engine, session, rule, ending, undefined, layer, layer + 1);
      done += 1;
      onStep?.(done, total);
      await host.pause();
      check();
    }
  }
  exports.observeRows(session, NEVER);
  exports.collectQueries(session, NEVER);
  return goneSpans(engine, session, heldAfter(engine, session, before, from, ids.length));
}

function rowsOf(session: number, ids: readonly number[], at: number, maxRows: number, logits: boolean): RowRequest[] {
  return ids.slice(at, at + maxRows).map((input, i) => {
    return { session, input, position: at + i, logits: logits && at + i === ids.length - 1 };
  });
}

/** Free pages that a prompt of `rows` tokens needs: what stays of the layers before, and the layer under way. */
function mostPages({ runtime, config, sizes }: Engine, session: number, rows: number, { budgets }: Ending): number {
  const { exports } = runtime;
  let before = 0;
  let most = 0;
  config.layers.forEach(({ window }, layer) => {
    const whole = exports.layerPagesNeeded(session, layer, rows);
    most = Math.max(most, before + whole + exports.promptPages(session, layer, layer + 1));
    const own = budgets.slice(layer * config.nKvHeads, (layer + 1) * config.nKvHeads);
    const packed = (slots: number) => pooledPages(sizes.cache, Math.ceil(slots / Size.PAGE_SLOTS) * Size.PAGE_SLOTS);
    before += window !== 0 ? whole : own.reduce((sum, slots) => sum + packed(slots), 0);
  });
  return most;
}
