/**
 * What stays of a prompt, as a caller says it: a share that goes, slots, or bytes.
 * @module
 */
import { Size } from "../assembly/memory/status.ts";
import type { ThimbleError } from "./errors.ts";
import { type CacheConfig, pageSizes } from "./kv-cache.ts";
import type { ModelConfig } from "./model-config.ts";
import { checkInteger, wrongOption } from "./options.ts";
import type { Keep } from "./token-turn.ts";

/** Share of the held slots that stays, or slots of each KV head. */
export type Kept = { readonly share: number } | { readonly slots: number };

const KINDS: readonly string[] = ["ratio", "slots", "bytes"] satisfies (keyof Keep)[];

/** @throws ThimbleError invalid_option */
export function readKeep(keep: Keep, cache: CacheConfig, config: ModelConfig): Kept {
  const given = Object.entries(keep ?? {}).filter(([, amount]) => amount !== undefined);
  const [kind, value] = given[0] ?? [];
  if (given.length !== 1 || !KINDS.includes(kind!)) {
    const message =
      "keep is one of { ratio }, the share that goes, { slots } of each KV head, and { bytes } of all of them";
    throw wrongKeep(message);
  }
  if (kind === "ratio") {
    if (typeof value === "number" && value >= 0 && value < 1) return { share: 1 - value };
    throw wrongKeep(`keep.ratio is ${String(value)}; it is the share that goes: a number from 0 on, below 1`);
  }
  const slots = kind === "bytes" ? slotsOf(cache, config, checkInteger("keep.bytes", value, 1, 2 ** 32)) : value;
  if (Number.isSafeInteger(slots) && slots >= 1) return { slots };
  throw wrongKeep(`keep leaves ${String(slots)} tokens a KV head; it must be an integer from 1 on`);
}

/** Slots that each KV head can have in so many bytes of aged pages. */
function slotsOf(cache: CacheConfig, config: ModelConfig, bytes: number): number {
  const { aged } = pageSizes(cache, config);
  return Math.floor(bytes / (config.nLayers * config.nKvHeads * aged)) * Size.PAGE_SLOTS;
}

export function wrongKeep(message: string, needed?: number, available?: number): ThimbleError {
  return wrongOption("keep", message, needed, available);
}
