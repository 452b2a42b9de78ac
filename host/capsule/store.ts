/**
 * Places to keep capsules: any storage of `unstorage` (files, memory, Redis, S3, HTTP, IndexedDB ... by its drivers;
 * docs/capsule.md). These keep whole values, so a capsule is cut into parts, and neither side ever has all of it in memory:
 *
 *   <name>:index                     JSON: a full capsule and those that continue it, each with its parts and identifier
 *   <name>:<generation>-<number>     1 MiB each, raw bytes
 *
 * The index is written last: until then readers find what was there before, and a writer that dies leaves it whole. What
 * is in a store is checked by `model.restore`, and needs no trust here.
 * @module
 */
import { ThimbleError } from "../errors.ts";
import { wrongOption } from "../options.ts";
import type { Session } from "../session.ts";
import { mismatch, toHex } from "./format.ts";
import type { SaveOptions } from "./save.ts";
import { CapsuleScanner } from "./scan.ts";

/** What a store needs of a storage of `unstorage`, or of one's own: what was set is what one gets. */
export interface CapsuleStorage {
  getItem(key: string): Promise<unknown>;
  setItem(key: string, value: string): Promise<void>;
  getItemRaw(key: string): Promise<unknown>;
  setItemRaw(key: string, value: Uint8Array): Promise<void>;
  removeItem(key: string): Promise<void>;
  getKeys(base?: string): Promise<string[]>;
}

export interface CapsuleStore {
  /**
   * Keeps a capsule. A full one takes the place of what the name had; one that continues the newest of the name
   * (`session.save({ since })`) is kept behind it.
   * @throws ThimbleError invalid_option for the name, source_unreadable where the storage fails, capsule_mismatch for one
   * that continues another capsule, capsule_malformed for one of those that is not whole; what the stream throws
   */
  put(name: string, capsule: ReadableStream<Uint8Array> | Uint8Array): Promise<void>;
  /**
   * What `model.restore` takes, or undefined: the capsule, those that continue it before it.
   * @throws ThimbleError as `put`, capsule_malformed for a store that holds something else
   */
  get(name: string): Promise<ReadableStream<Uint8Array> | undefined>;
  /** Removes a capsule, if there is one. @throws ThimbleError as `put` */
  delete(name: string): Promise<void>;
  /** All names, sorted. @throws ThimbleError source_unreadable */
  list(): Promise<string[]>;
}

/** A capsule in parts. */
interface Kept {
  readonly generation: string;
  readonly parts: number;
  /** Empty where the bytes were no capsule. */
  readonly id: string;
}

const PART_BYTES = 1 << 20;
const MAX_PARTS = 1 << 14;
const MAX_KEPT = 1 << 12;
const INDEX = ":index";
/** Names that mean the same on every storage: no separators, nothing hidden, no "..". */
const NAME = /^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}(?<!\.)$/;

/** Capsules in a storage of `unstorage`; give it a mount or prefix of its own. */
export function capsuleStore(storage: CapsuleStorage): CapsuleStore {
  return {
    async put(name, capsule) {
      checkName(name);
      const before = (await readIndex(storage, name).catch(() => undefined)) ?? []; // what is broken is replaced
      const kept = await keepParts(storage, name, capsule, before);
      const links = kept.continues ? [...before, kept.kept] : [kept.kept];
      try {
        await tried(() => storage.setItem(name + INDEX, JSON.stringify({ links })));
      } catch (error) {
        await removeParts(storage, name, kept.kept).catch(() => {});
        throw error;
      }
      if (!kept.continues) for (const old of before) await removeParts(storage, name, old);
    },
    async get(name) {
      checkName(name);
      const links = await readIndex(storage, name);
      return links && streamParts(storage, name, links);
    },
    async delete(name) {
      checkName(name);
      await tried(() => storage.removeItem(name + INDEX));
      for (const key of await tried(() => storage.getKeys(name))) {
        if (key.startsWith(`${name}:`)) await tried(() => storage.removeItem(key));
      }
    },
    async list() {
      const keys = await tried(() => storage.getKeys());
      const names = keys.filter((key) => key.endsWith(INDEX)).map((key) => key.slice(0, -INDEX.length));
      return names.filter((name) => NAME.test(name)).sort();
    },
  };
}

export interface KeepOptions extends Pick<SaveOptions, "key"> {
  /** Capsules that a session may consist of before all of it is written anew. Default 16. */
  readonly links?: number | undefined;
}

/**
 * Saves a session into a store: what has changed since it was last saved there or restored from there; all of it where
 * the store has something else, or the capsules that continue one another have become many.
 * @throws ThimbleError as `CapsuleStore.put` and `Session.save`
 */
export async function keepSession(
  store: CapsuleStore,
  name: string,
  session: Session,
  { key, links = 16 }: KeepOptions = {},
): Promise<void> {
  const { saved } = session;
  if (saved !== undefined && saved.links < links) {
    try {
      return await store.put(name, session.save({ key, since: saved.id }));
    } catch (error) {
      if (!(error instanceof ThimbleError) || error.code !== "capsule_mismatch") throw error;
    }
  }
  await store.put(name, session.save({ key }));
}

/** Writes the parts; none are left where that fails. */
async function keepParts(
  storage: CapsuleStorage,
  name: string,
  capsule: ReadableStream<Uint8Array> | Uint8Array,
  before: readonly Kept[],
): Promise<{ kept: Kept; continues: boolean }> {
  const generation = randomName();
  const scanner = new CapsuleScanner();
  let parts = 0;
  try {
    for await (const part of partsOf(capsule)) {
      scanner.push(part);
      if (parts === 0) checkBase(name, scanner, before);
      await tried(() => storage.setItemRaw(partKey(name, generation, parts), part));
      parts += 1;
      if (parts > MAX_PARTS) throw new ThimbleError("invalid_option", `a capsule exceeds ${MAX_PARTS} MiB`);
    }
    const scanned = await scanner.end();
    const continues = (scanner.header?.links ?? 1) > 1;
    if (continues && scanned === undefined) throw new ThimbleError("capsule_malformed", "the capsule is not whole");
    return { kept: { generation, parts, id: scanned?.id ?? "" }, continues };
  } catch (error) {
    await removeParts(storage, name, { generation, parts: parts + 1 }).catch(() => {});
    throw error;
  }
}

/** @throws ThimbleError capsule_mismatch */
function checkBase(name: string, { header }: CapsuleScanner, before: readonly Kept[]): void {
  if (header === undefined || header.links === 1) return;
  if (before.length < MAX_KEPT && before.at(-1)?.id === toHex(header.base)) return;
  throw mismatch("base", `the capsule does not continue the newest one of "${name}"; save the whole session`);
}

function checkName(name: string): void {
  if (typeof name === "string" && NAME.test(name) && !name.includes("..")) return;
  const message = `"${String(name)}" cannot name a capsule: up to 128 of A-Z a-z 0-9 _ - and single dots inside`;
  throw wrongOption("name", message);
}

function partKey(name: string, generation: string, part: number): string {
  return `${name}:${generation}-${String(part).padStart(5, "0")}`;
}

/** Whatever a driver throws, as one error. */
async function tried<T>(run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (cause) {
    throw new ThimbleError("source_unreadable", `the capsule store failed: ${String(cause)}`, { cause });
  }
}

/** The oldest first. */
async function readIndex(storage: CapsuleStorage, name: string): Promise<readonly Kept[] | undefined> {
  const stored: unknown = await tried(() => storage.getItem(name + INDEX));
  if (stored === null || stored === undefined) return undefined;
  const { links } = parsed(stored) as { links?: unknown };
  if (Array.isArray(links) && links.length > 0 && links.length <= MAX_KEPT && links.every(isKept)) return links;
  throw new ThimbleError("capsule_malformed", `the store's index of "${name}" is not one`);
}

/** unstorage has parsed the JSON; a storage of one's own need not. */
function parsed(stored: unknown): unknown {
  if (typeof stored !== "string") return stored;
  try {
    return JSON.parse(stored) ?? {};
  } catch {
    return {};
  }
}

function isKept(value: unknown): value is Kept {
  if (typeof value !== "object" || value === null) return false;
  const { generation, parts, id } = value as Record<string, unknown>;
  const isCount = Number.isInteger(parts) && (parts as number) >= 0 && (parts as number) <= MAX_PARTS;
  return isCount && /^[0-9a-f]{32}$/.test(String(generation)) && /^([0-9a-f]{64})?$/.test(String(id));
}

/** 16 random bytes. */
function randomName(): string {
  return toHex(globalThis.crypto.getRandomValues(new Uint8Array(16)));
}

type Parts = Pick<Kept, "generation" | "parts">;

async function removeParts(storage: CapsuleStorage, name: string, { generation, parts }: Parts): Promise<void> {
  for (let part = 0; part < parts; ++part) await tried(() => storage.removeItem(partKey(name, generation, part)));
}

/** Pieces of any size as parts of 1 MiB, each with a buffer of its own. */
async function* partsOf(capsule: ReadableStream<Uint8Array> | Uint8Array): AsyncGenerator<Uint8Array, void> {
  let part = new Uint8Array(PART_BYTES);
  let filled = 0;
  for await (const piece of capsule instanceof Uint8Array ? [capsule] : piecesOf(capsule)) {
    for (let at = 0; at < piece.byteLength; ) {
      const taken = piece.subarray(at, at + PART_BYTES - filled);
      part.set(taken, filled);
      filled += taken.byteLength;
      at += taken.byteLength;
      if (filled < PART_BYTES) continue;
      yield part;
      part = new Uint8Array(PART_BYTES);
      filled = 0;
    }
  }
  if (filled > 0) yield part.slice(0, filled);
}

/** Not every engine iterates over streams (WebKit). */
async function* piecesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array, void> {
  const reader = stream.getReader();
  let isOver = false;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      isOver = done;
      if (done) return;
      yield value;
    }
  } finally {
    if (!isOver) await reader.cancel().catch(() => {}); // a failed stream rejects with what the read threw
  }
}

/** The newest first, as `model.restore` reads them. */
function streamParts(storage: CapsuleStorage, name: string, links: readonly Kept[]): ReadableStream<Uint8Array> {
  const keys = function* (): Generator<string, void> {
    for (const { generation, parts } of [...links].reverse()) {
      for (let part = 0; part < parts; ++part) yield partKey(name, generation, part);
    }
  };
  const rest = keys();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { done, value: key } = rest.next();
        if (done) return controller.close();
        const value: unknown = await tried(() => storage.getItemRaw(key));
        // Drivers give Buffers, ArrayBuffers or nothing.
        if (value instanceof Uint8Array) return controller.enqueue(value);
        if (value instanceof ArrayBuffer) return controller.enqueue(new Uint8Array(value));
        throw new ThimbleError("source_unreadable", `"${name}" was replaced or removed while it was read`);
      },
    },
    { highWaterMark: 0 },
  );
}
