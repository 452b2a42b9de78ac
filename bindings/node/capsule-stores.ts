/**
 * Places to keep capsules: any storage of `unstorage` (files, memory, Redis, S3, HTTP ... by its drivers; docs/capsule.md).
 * These keep whole values, so a capsule is cut into parts, and neither side ever has all of it in memory:
 *
 *   <name>:index                     JSON: which parts
 *   <name>:<generation>-<number>     1 MiB each, raw bytes
 *
 * The index is written last: until then readers find the capsule that was there before, and a writer that dies leaves it
 * whole. What is in a store is checked by `model.restore`, and needs no trust here.
 * @module
 */
import { randomUUID } from "node:crypto";
import { createStorage, type Storage } from "unstorage";
import fsDriver from "unstorage/drivers/fs";
import memoryDriver from "unstorage/drivers/memory";
import { ThimbleError } from "../../host/errors.ts";

export interface CapsuleStore {
  /**
   * Keeps a capsule, in place of the one of that name.
   * @throws ThimbleError invalid_option for the name, source_unreadable where the storage fails; what the stream throws
   */
  put(name: string, capsule: ReadableStream<Uint8Array> | Uint8Array): Promise<void>;
  /** The capsule, or undefined. @throws ThimbleError as `put`, capsule_malformed for a store that holds something else */
  get(name: string): Promise<ReadableStream<Uint8Array> | undefined>;
  /** Removes a capsule, if there is one. @throws ThimbleError as `put` */
  delete(name: string): Promise<void>;
  /** All names, sorted. @throws ThimbleError source_unreadable */
  list(): Promise<string[]>;
}

interface Index {
  readonly generation: string;
  readonly parts: number;
}

const PART_BYTES = 1 << 20;
const MAX_PARTS = 1 << 14;
const INDEX = ":index";
/** Names that mean the same on every storage: no separators, nothing hidden, no "..". */
const NAME = /^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}(?<!\.)$/;

/** Capsules in files below a folder, which is made when it is needed. */
export function fileCapsules(folder: string): CapsuleStore {
  return capsuleStore(createStorage({ driver: fsDriver({ base: folder }) }));
}

/** Capsules in this process's memory. */
export function memoryCapsules(): CapsuleStore {
  return capsuleStore(createStorage({ driver: memoryDriver() }));
}

/** Capsules in a storage of `unstorage`; give it a mount or prefix of its own. */
export function capsuleStore(storage: Storage): CapsuleStore {
  return {
    async put(name, capsule) {
      checkName(name);
      const before = await readIndex(storage, name).catch(() => undefined); // what is broken is replaced
      const generation = randomUUID();
      let parts = 0;
      try {
        for await (const part of partsOf(capsule)) {
          await tried(() => storage.setItemRaw(partKey(name, generation, parts), part));
          parts += 1;
          if (parts > MAX_PARTS) throw new ThimbleError("invalid_option", `a capsule exceeds ${MAX_PARTS} MiB`);
        }
        await tried(() => storage.setItem(name + INDEX, JSON.stringify({ generation, parts })));
      } catch (error) {
        await removeParts(storage, name, { generation, parts: parts + 1 }).catch(() => {});
        throw error;
      }
      if (before !== undefined) await removeParts(storage, name, before);
    },
    async get(name) {
      checkName(name);
      const index = await readIndex(storage, name);
      return index && streamParts(storage, name, index);
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

function checkName(name: string): void {
  if (typeof name === "string" && NAME.test(name) && !name.includes("..")) return;
  const message = `"${String(name)}" cannot name a capsule: up to 128 of A-Z a-z 0-9 _ - and single dots inside`;
  throw new ThimbleError("invalid_option", message, { name: "name" });
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

async function readIndex(storage: Storage, name: string): Promise<Index | undefined> {
  const value: unknown = await tried(() => storage.getItem(name + INDEX)); // unstorage has parsed the JSON
  if (value === null || value === undefined) return undefined;
  const { generation, parts } = value as { generation?: unknown; parts?: unknown };
  const isIndex = typeof generation === "string" && /^[0-9a-f-]{36}$/.test(generation);
  if (isIndex && Number.isInteger(parts) && (parts as number) >= 0 && (parts as number) <= MAX_PARTS) {
    return { generation, parts: parts as number };
  }
  throw new ThimbleError("capsule_malformed", `the store's index of "${name}" is not one`);
}

async function removeParts(storage: Storage, name: string, { generation, parts }: Index): Promise<void> {
  for (let part = 0; part < parts; ++part) await tried(() => storage.removeItem(partKey(name, generation, part)));
}

/** Pieces of any size as parts of 1 MiB, each with a buffer of its own. */
async function* partsOf(capsule: ReadableStream<Uint8Array> | Uint8Array): AsyncGenerator<Uint8Array, void> {
  let part = new Uint8Array(PART_BYTES);
  let filled = 0;
  for await (const piece of capsule instanceof Uint8Array ? [capsule] : capsule) {
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

function streamParts(storage: Storage, name: string, { generation, parts }: Index): ReadableStream<Uint8Array> {
  let part = 0;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        if (part === parts) return controller.close();
        const value: unknown = await tried(() => storage.getItemRaw(partKey(name, generation, part)));
        part += 1;
        // Drivers give Buffers, ArrayBuffers or nothing.
        if (value instanceof Uint8Array) return controller.enqueue(value);
        if (value instanceof ArrayBuffer) return controller.enqueue(new Uint8Array(value));
        throw new ThimbleError("source_unreadable", `"${name}" was replaced or removed while it was read`);
      },
    },
    { highWaterMark: 0 },
  );
}
