/**
 * The books of an engine, checked from outside by reading its memory: what the free lists and the page tables of all open
 * sessions say must be one account, whatever was done before.
 *
 *   pool   = free pages + distinct pages of the pool that tables name       none is both, none is missing
 *   page   : references = tables that name it; a free one has no byte but the link to the next
 *   region : open or free, never both; a free one has no byte in its pages and journal
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
  firstFreePage(): number;
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
  const named = new Map<number, number>();
  for (const session of open) {
    for (const page of tableOf(audited, memory, session)) named.set(page, (named.get(page) ?? 0) + 1);
  }
  for (const [page, tables] of named) {
    const references = memory[page / 4];
    if (references !== tables)
      throw new Error(`page ${page} counts ${references} references, ${tables} tables name it`);
  }
  const free = freePages(audited, memory);
  const both = free.find((page) => named.has(page));
  if (both !== undefined) throw new Error(`page ${both} is free and in a table`);
  if (free.length + named.size !== runtime.exports.poolPages()) {
    const all = runtime.exports.poolPages();
    throw new Error(`${free.length} free pages and ${named.size} in tables are not the pool's ${all}`);
  }
  const regions = [...open, ...freeRegions(audited, memory)];
  checkPlaces(audited, [
    ...regions.map((at) => ({ at, bytes: plan.session - Size.ALIGN })),
    ...[...free, ...named.keys()].map((at) => ({ at, bytes: plan.page })),
  ]);
}

/** Every page of the pool is free and no region open: what must be left when everything is closed. */
export function auditEmpty(audited: Audited): void {
  audit(audited);
  const { exports } = audited.engine.runtime;
  const lost = exports.poolPages() - exports.poolFreePages();
  if (audited.open.size > 0) throw new Error(`${audited.open.size} sessions are still open`);
  if (lost > 0) throw new Error(`${lost} pages are in use and no session is open`);
}

/** The pages of the pool that a session's heads name. */
function tableOf({ engine }: Audited, memory: Uint32Array, session: number): number[] {
  const { config, sizes } = engine;
  const own = ownBytes(sizes.cache, config);
  const [position, capacity] = memory.subarray(session / 4);
  if (position! > capacity!) throw new Error(`session ${session} has ${position} tokens of ${capacity}`);
  const pages: number[] = [];
  for (let i = 0; i < config.nLayers * config.nKvHeads; ++i) {
    const head = (session + SESSION_BYTES + i * HEAD_BYTES) / 4;
    const [length, base, nPages, table, , firstOwn] = memory.subarray(head) as unknown as number[];
    const held = Math.ceil((length! - base!) / Size.PAGE_SLOTS);
    if (length !== position || nPages !== held) {
      throw new Error(`head ${i} has ${nPages} pages for slots ${base} to ${length} of ${position} tokens`);
    }
    for (const page of memory.subarray(table! / 4, table! / 4 + nPages)) {
      if (page < firstOwn! || page >= firstOwn! + own) pages.push(page);
      else if (memory[page / 4] !== 0) throw new Error(`head ${i}'s own page ${page} counts references`);
    }
  }
  return pages;
}

function freePages({ engine, plan }: Audited, memory: Uint32Array): number[] {
  const exports = engine.runtime.exports as EngineExports & FreeLists;
  const expected = exports.poolFreePages();
  const pages: number[] = [];
  for (let page = exports.firstFreePage() >>> 0; page !== 0; page = memory[page / 4]!) {
    pages.push(page);
    if (pages.length > expected) throw new Error(`the list of free pages has more than the ${expected} that count`);
    if (!isZero(memory, page + 4, plan.page - 4)) throw new Error(`the free page ${page} is not zero`);
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

/** Words of Session.nextFree and HeadView.open. */
const NEXT_FREE = 4;
const OPEN = 5;

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
