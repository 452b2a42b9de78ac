/**
 * A session's cache to be looked at: where the pages of each KV head stand in the conversation, how full they are and in
 * which form. Of numbers alone, page by page, so that it may be asked for while a turn is under way and sent to a page.
 * @module
 */
import { pageOf } from "./capsule/records.ts";
import type { Engine } from "./engine.ts";

/**
 * Pages head after head, layer after layer, in the order of positions: head `h` of layer `l` has `counts[l * nKvHeads + h]`.
 * What a head has not, of positions [0, nTokens), it has forgotten; in a page of a policy's choice there may be gaps too.
 */
export interface CacheMap {
  readonly nLayers: number;
  readonly nKvHeads: number;
  /** Positions so far. */
  readonly nTokens: number;
  /** Pages of each head [nLayers][nKvHeads]. */
  readonly counts: Uint32Array<ArrayBuffer>;
  /** Position of each page's first slot, and behind that of its last one. */
  readonly firsts: Uint32Array<ArrayBuffer>;
  readonly ends: Uint32Array<ArrayBuffer>;
  /** Slots in use of each page, of 32. */
  readonly slots: Uint8Array<ArrayBuffer>;
  /** Forms of each page's keys and values: indices into `MAP_FORMS`. */
  readonly keys: Uint8Array<ArrayBuffer>;
  readonly values: Uint8Array<ArrayBuffer>;
}

/** Forms by the numbers of a map, most bits first. */
export const MAP_FORMS = ["f32", "q8", "q4", "q3"] as const;

const PAGE = 32;
/** By KvForm: planes and channels are ways to lay out codes of as many bits. */
const FORM = [0, 1, 2, 3, 1, 2, 3] as const;

/** @param session - address of one that is open, between forward calls */
export function mapCache(engine: Engine, session: number): CacheMap {
  const { runtime, config } = engine;
  const { exports } = runtime;
  const { nLayers, nKvHeads } = config;
  const nHeads = exports.imageHeads();
  const counts = Uint32Array.from({ length: nHeads }, (_, head) => Math.ceil(exports.headSlots(session, head) / PAGE));
  const nPages = counts.reduce((sum, count) => sum + count, 0);
  const [firsts, ends] = [new Uint32Array(nPages), new Uint32Array(nPages)];
  const [slots, keys, values] = [new Uint8Array(nPages), new Uint8Array(nPages), new Uint8Array(nPages)];
  let at = 0;
  for (let head = 0; head < nHeads; ++head) {
    const held = exports.headSlots(session, head);
    for (let index = 0; index < counts[head]!; ++index, ++at) {
      const { forms, position } = pageOf(engine, session, head, 0, index);
      const used = Math.min(PAGE, held - index * PAGE) - ((forms >>> 16) & 0xff);
      firsts[at] = position;
      ends[at] = used === 0 ? position : exports.slotPosition(session, head, index * PAGE + used - 1) + 1;
      slots[at] = used;
      keys[at] = FORM[forms & 0xff]!;
      values[at] = FORM[(forms >>> 8) & 0xff]!;
    }
  }
  return { nLayers, nKvHeads, nTokens: exports.sessionLength(session), counts, firsts, ends, slots, keys, values };
}
