/**
 * Pages as they stand in a capsule: a record says whose page it is and what form it has, then come its contents, of a
 * closed page the bytes behind its header as they lie in memory, of the open one its slots in use, key and value each, f32.
 *
 *   | u32 head | u32 number of the page | u32 words of contents | u32 forms and slots as in the page's header, bit 31: open |
 *   | u32 1 where a value was not finite | u32 first position | u32 low, u32 high of the checksum | contents |
 *
 * The checksum is that of assembly/kernels/checksum.ts over the contents, its seed made of the six words before it; over
 * an open page slot by slot, low ^ high being the seed for the next.
 * @module
 */
import { Size } from "../../assembly/memory/status.ts";
import type { Engine } from "../engine.ts";
import type { Sum } from "./page-sums.ts";

export const OPEN = 0x80000000;

/** A page's place, and what its record says before the checksum. */
export interface PageRecord {
  readonly head: number;
  readonly index: number;
  readonly words: number;
  /** Forms of keys and values, empty slots, 1 where slots have positions, one byte each; with OPEN for the open page. */
  readonly forms: number;
  readonly broken: number;
  /** Position of the first slot. */
  readonly position: number;
}

/** Address of a page's contents; slots of the open page have none, they go through scratch. */
export interface PlacedPage extends PageRecord {
  readonly page: number;
}

/** The page number `index` of a head of a session; `first` is the number of the head's first page. */
export function pageOf(engine: Engine, session: number, head: number, first: number, index: number): PlacedPage {
  const { runtime, config } = engine;
  const { exports } = runtime;
  const page = exports.headPage(session, head, index - first) >>> 0;
  const [, forms, broken, position] = runtime.words(page, Size.PAGE_HEADER / 4);
  const slots = exports.headSlots(session, head) - (index - first) * Size.PAGE_SLOTS;
  const isOpen = slots < Size.PAGE_SLOTS;
  const words = isOpen ? slots * (config.keyDim + config.valueDim) : (exports.pageSize(page) - Size.PAGE_HEADER) / 4;
  return {
    head,
    index,
    words,
    forms: (isOpen ? forms! | OPEN : forms!) >>> 0,
    broken: broken! & 0xffff, // the gaps above it follow from the positions
    position: position!,
    page,
  };
}

/** Words before the checksum, as one. */
function seedOf({ head, index, words, forms, broken, position }: PageRecord): number {
  let seed = 0;
  for (const word of [head, index, words, forms, broken, position]) {
    seed = Math.imul(seed ^ word, 0x9e3779b1);
    seed ^= seed >>> 15;
  }
  return seed >>> 0;
}

/** The checksum of a closed page's contents in memory. */
export function sumOfPage({ runtime }: Engine, record: PlacedPage): Sum {
  const { exports } = runtime;
  const out = exports.scratchAddress() >>> 0;
  exports.checksum(out, record.page + Size.PAGE_HEADER, record.words, seedOf(record));
  const [low, high] = runtime.words(out, 2);
  return [low!, high!];
}

/** Reads the slots of a session's open page into `contents`; gives their checksum. */
export function readOpenPage(engine: Engine, session: number, record: PageRecord, contents: Uint32Array): Sum {
  const { exports } = engine.runtime;
  return eachSlot(engine, record, (slot, dims) => {
    const address = exports.slotRead(session, record.head, slot) >>> 0;
    contents.set(engine.runtime.words(address, dims), slot * dims);
    return address;
  });
}

/** Writes `contents` into the slots of a session's open page; gives their checksum. */
export function writeOpenPage(engine: Engine, session: number, record: PageRecord, contents: Uint32Array): Sum {
  const { exports } = engine.runtime;
  return eachSlot(engine, record, (slot, dims) => {
    const address = exports.slotAddress() >>> 0;
    engine.runtime.words(address, dims).set(contents.subarray(slot * dims, (slot + 1) * dims));
    exports.slotWrite(session, record.head, slot);
    return address;
  });
}

function eachSlot({ runtime, config }: Engine, record: PageRecord, visit: (slot: number, dims: number) => number): Sum {
  const { exports } = runtime;
  const dims = config.keyDim + config.valueDim;
  const out = exports.scratchAddress() >>> 0;
  let sum: Sum = [seedOf(record), 0];
  for (let slot = 0; slot * dims < record.words; ++slot) {
    const address = visit(slot, dims);
    exports.checksum(out, address, dims, (sum[0] ^ sum[1]) >>> 0);
    const [low, high] = runtime.words(out, 2);
    sum = [low!, high!];
  }
  return sum;
}
