/**
 * The books of an engine, checked from outside by reading its memory: what the free lists and the page tables of all open
 * sessions say must be one account, whatever was done before.
 *
 *   pool   = free pages + distinct pages of the pool that tables name       none is both, none is missing; for both sizes
 *   page   : references = tables that name it; a free one has no byte but the link to the next
 *   region : open or free, never both; a free one has no byte in its pages and journal
 *   head   : slots = tokens + lead; positions of its pages' slots go up, those of a head that has lost none without a hole
 *   memory : within the limit; regions and pages lie in the arena, apart from each other
 *
 * Layouts are those of assembly/memory/records.ts and assembly/cache/page.ts.
 * @module
 */
import { Size } from "../../assembly/memory/status.ts";
import type { MemoryPlan } from "../../host/budget.ts";
import type { Engine } from "../../host/engine.ts";
import type { EngineExports } from "../../host/exports.ts";
import { ownBytes } from "../../host/kv-cache.ts";
import { HEAD_BYTES, SESSION_BYTES } from "./engine.ts";

/** Exports of the `test` build only. */
interface FreeLists {
  firstFreePage(isWide: boolean, head: number): number;
  firstFreeSession(): number;
}

/** What the audit needs to know of an engine. */
export interface Audited {
  readonly engine: Engine;
  readonly plan: MemoryPlan;
  /** Most bytes of WebAssembly memory. */
  readonly limit: number;
  /** Regions that are open; `watchSessions` keeps them. */
  readonly open: ReadonlySet<number>;
}

/** Addresses of the sessions that are open from here on, whoever opens and closes them. */
export function watchSessions({ runtime }: Engine): ReadonlySet<number> {
  const open = new Set<number>();
  const exports = runtime.exports as { -readonly [Name in keyof EngineExports]: EngineExports[Name] };
  const { sessionOpen, sessionFork, sessionClose } = exports;
  const opened = (address: number): number => {
    if (address !== 0) open.add(address >>> 0);
    return address;
  };
  exports.sessionOpen = () => opened(sessionOpen());
  exports.sessionFork = (from) => opened(sessionFork(from));
  exports.sessionClose = (address) => {
    if (!open.delete(address >>> 0)) throw new Error(`session ${address} is closed, and it was not open`);
    sessionClose(address);
  };
  return open;
}

/** @throws Error that says what does not add up */
export function audit(audited: Audited): void {
  const { engine, plan, limit, open } = audited;
  const { runtime } = engine;
  const bytes = runtime.memoryBytes();
  if (bytes > limit) throw new Error(`memory has ${bytes} bytes, ${bytes - limit} more than allowed`);
  const memory = new Uint32Array(runtime.exports.memory.buffer);
  const named = [new Map<number, number>(), new Map<number, number>()] as const;
  for (const session of open) {
    for (const { page, wide } of tableOf(audited, memory, session)) {
      named[wide].set(page, (named[wide].get(page) ?? 0) + 1);
    }
  }
  const regions = [...open, ...freeRegions(audited, memory)];
  checkPlaces(audited, [
    ...regions.map((at) => ({ at, bytes: plan.session - Size.ALIGN })),
    ...checkPool(audited, memory, named[0], false).map((at) => ({ at, bytes: plan.page })),
    ...checkPool(audited, memory, named[1], true).map((at) => ({ at, bytes: plan.widePage })),
  ]);
}

/** All pages of one size. */
function checkPool(
  audited: Audited,
  memory: Uint32Array,
  named: ReadonlyMap<number, number>,
  isWide: boolean,
): number[] {
  for (const [page, tables] of named) {
    const references = memory[page / 4];
    if (references !== tables)
      throw new Error(`page ${page} counts ${references} references, ${tables} tables name it`);
  }
  const free = freePages(audited, memory, isWide);
  const both = free.find((page) => named.has(page));
  if (both !== undefined) throw new Error(`page ${both} is free and in a table`);
  const all = audited.engine.runtime.exports.poolPages(isWide);
  if (free.length + named.size !== all) {
    throw new Error(`${free.length} free pages and ${named.size} in tables are not the pool's ${all}`);
  }
  return [...free, ...named.keys()];
}

/** Every page of the pool is free and no region open: what must be left when everything is closed. */
export function auditEmpty(audited: Audited): void {
  audit(audited);
  const { exports } = audited.engine.runtime;
  const inUse = (isWide: boolean): number => exports.poolPages(isWide) - exports.poolFreePages(isWide);
  const lost = inUse(false) + inUse(true);
  if (audited.open.size > 0) throw new Error(`${audited.open.size} sessions are still open`);
  if (lost > 0) throw new Error(`${lost} pages are in use and no session is open`);
}

/** A page of the pool, and 1 where it is of the wide ones. */
interface PooledPage {
  readonly page: number;
  readonly wide: 0 | 1;
}

/** The pages of the pool that a session's heads name. */
function tableOf({ engine }: Audited, memory: Uint32Array, session: number): PooledPage[] {
  const { config, sizes } = engine;
  const own = ownBytes(sizes.cache, config);
  const [position, capacity] = memory.subarray(session / 4) as unknown as [number, number];
  const pages: PooledPage[] = [];
  for (let i = 0; i < config.nLayers * config.nKvHeads; ++i) {
    const head = (session + SESSION_BYTES + i * HEAD_BYTES) / 4;
    const [length, base, nPages, table, window, firstOwn, , lead] = memory.subarray(head) as unknown as number[];
    const held = Math.ceil((length! - base!) / Size.PAGE_SLOTS);
    if ((length! - lead!) >>> 0 !== position || nPages !== held) {
      throw new Error(
        `head ${i} has ${nPages} pages for slots ${base} to ${length} of ${position} tokens, lead ${lead! | 0}`,
      );
    }
    if (window === 0 && (length! > capacity || base !== 0)) {
      throw new Error(`head ${i} has slots ${base} to ${length} in a context of ${capacity}`);
    }
    const wide = (memory[head + WIDE]! & 0xffff) as 0 | 1;
    const inTable = memory.subarray(table! / 4, table! / 4 + nPages);
    for (const page of inTable) {
      if (page < firstOwn! || page >= firstOwn! + own) pages.push({ page, wide });
      else if (memory[page / 4] !== 0) throw new Error(`head ${i}'s own page ${page} counts references`);
    }
    checkPositions(
      engine,
      memory,
      { pages: inTable, length: length!, base: base!, position, lead: lead! },
      `head ${i}`,
    );
  }
  return pages;
}

/** A head's pages, and what it says of their slots. */
interface HeadPages {
  readonly pages: Uint32Array;
  readonly length: number;
  readonly base: number;
  readonly position: number;
  readonly lead: number;
}

/** Positions go up, and none is missing where nothing has gone. */
function checkPositions({ runtime }: Engine, memory: Uint32Array, head: HeadPages, what: string): void {
  const { pages, length, base, position, lead } = head;
  let last = -1;
  pages.forEach((page, index) => {
    const slots = Math.min(Size.PAGE_SLOTS, length - base - index * Size.PAGE_SLOTS);
    const [marks, first] = [memory[page / 4 + 1]!, memory[page / 4 + 3]!];
    const [empty, hasPositions] = [(marks >>> 16) & 255, marks >>> 24 !== 0];
    if (lead === 0 && !hasPositions && first !== base + index * Size.PAGE_SLOTS) {
      throw new Error(`page ${index} of ${what} begins with position ${first}, and nothing has gone`);
    }
    const end = page + runtime.exports.pageSize(page);
    const distances = new Uint16Array(memory.buffer, end - Size.POSITIONS, Size.PAGE_SLOTS);
    for (let slot = 0; slot < Math.min(slots, Size.PAGE_SLOTS - empty); ++slot) {
      const at = first + (hasPositions ? distances[slot]! : slot);
      if (at <= last || at >= position) {
        throw new Error(
          `slot ${slot} of page ${index} of ${what} has position ${at} after ${last}, of ${position} tokens`,
        );
      }
      last = at;
    }
  });
}

function freePages({ engine, plan }: Audited, memory: Uint32Array, isWide: boolean): number[] {
  const exports = engine.runtime.exports as EngineExports & FreeLists;
  const expected = exports.poolFreePages(isWide);
  const bytes = isWide ? plan.widePage : plan.page;
  const pages: number[] = [];
  for (let head = 0; head < engine.config.nLayers * engine.config.nKvHeads; ++head) {
    for (let page = exports.firstFreePage(isWide, head) >>> 0; page !== 0; page = memory[page / 4]!) {
      pages.push(page);
      if (pages.length > expected) throw new Error(`the lists of free pages have more than the ${expected} that count`);
      if (!isZero(memory, page + 4, bytes - 4)) throw new Error(`the free page ${page} is not zero`);
    }
  }
  if (pages.length !== expected) throw new Error(`${pages.length} free pages where ${expected} count`);
  return pages;
}

function freeRegions({ engine, plan, open }: Audited, memory: Uint32Array): number[] {
  const exports = engine.runtime.exports as EngineExports & FreeLists;
  const { config, sizes } = engine;
  const regions: number[] = [];
  for (let session = exports.firstFreeSession() >>> 0; session !== 0; session = memory[session / 4 + NEXT_FREE]!) {
    if (open.has(session) || regions.includes(session)) throw new Error(`region ${session} is free and in use`);
    regions.push(session);
    const firstOwn = memory[(session + SESSION_BYTES) / 4 + OPEN]!;
    const own = config.nLayers * config.nKvHeads * ownBytes(sizes.cache, config);
    if (!isZero(memory, firstOwn, own + plan.journal)) throw new Error(`the free region ${session} is not zero`);
  }
  return regions;
}

/** Words of Session.nextFree, HeadView.open and HeadView.wide. */
const NEXT_FREE = 4;
const OPEN = 5;
const WIDE = 13;

function checkPlaces({ engine }: Audited, places: { readonly at: number; readonly bytes: number }[]): void {
  places.sort((a, b) => a.at - b.at);
  let end = engine.runtime.exports.scratchAddress() >>> 0;
  for (const { at, bytes } of places) {
    if (at < end) throw new Error(`what lies at ${at} begins before ${end}, where the one before it ends`);
    end = at + bytes;
  }
  if (end > engine.runtime.exports.arenaBytes() >>> 0) throw new Error(`${end} is past the arena`);
}

/** Compared in one go: a loop over every byte of the pool would be most of a run. */
function isZero(memory: Uint32Array, address: number, bytes: number): boolean {
  while (zeros.byteLength < bytes) zeros = Buffer.alloc(2 * zeros.byteLength);
  return Buffer.from(memory.buffer, address, bytes).equals(zeros.subarray(0, bytes));
}

let zeros: Buffer = Buffer.alloc(1 << 16);
