/**
 * Model files that a browser keeps, so that they are downloaded once: in the origin's private file system where there is one
 * that pages can write to, else as answers in a cache. A file appears when all of it has arrived, and never before; browsers
 * may evict it at any time, and it is downloaded again then.
 * @module
 */
import { ThimbleError } from "../../host/errors.ts";
import { CACHE, cachePlace } from "./cache-place.ts";
import { hasOpfs, opfsPlace } from "./opfs-place.ts";

/** Where files are kept, by address. */
export interface KeepPlace {
  find(url: string): Promise<Blob | undefined>;
  /** Keeps all of a stream, or nothing. */
  write(url: string, stream: ReadableStream<Uint8Array>, bytes: number | undefined): Promise<void>;
  remove(url: string): Promise<boolean>;
}

export interface KeepOptions {
  /** "auto": OPFS where pages can write to it, else the Cache API. */
  readonly place?: "auto" | "opfs" | "cache";
  readonly signal?: AbortSignal;
  /** Bytes so far, and in all where the server says how many. */
  readonly onProgress?: (progress: { readonly loaded: number; readonly total: number | undefined }) => void;
}

/**
 * The file at an address, from what is kept or downloaded and kept first: what `loadModel` and `loadInWorker` take. Ask for
 * `navigator.storage.persist()` beforehand where it must not be evicted.
 * @throws ThimbleError disk_full with needed and available bytes (load from the address then: that keeps nothing),
 * source_unreadable, truncated_file, unsupported_runtime where the browser keeps nothing; the signal's reason
 */
export async function keptModel(url: string | URL, options: KeepOptions = {}): Promise<Blob> {
  const address = new URL(url, globalThis.location?.href).href;
  const place = await placeOf(options.place);
  const found = await place.find(address);
  if (found !== undefined) return found;
  const { signal, onProgress } = options;
  const unreadable = (message: string, cause?: unknown): never => {
    signal?.throwIfAborted();
    throw new ThimbleError("source_unreadable", message, { file: address, cause });
  };
  const response = await fetch(address, signal === undefined ? {} : { signal }).catch((cause) =>
    unreadable("there was no answer, and the file is not kept here; check the address and the network", cause),
  );
  if (!response.ok || response.body === null) return unreadable(`the server answered ${response.status}`);
  const isPlain = (response.headers.get("content-encoding") ?? "identity") === "identity";
  const length = isPlain ? Number(response.headers.get("content-length") ?? Number.NaN) : Number.NaN;
  const total = Number.isSafeInteger(length) ? length : undefined;
  let loaded = 0;
  const counted = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      loaded += chunk.byteLength;
      onProgress?.({ loaded, total });
      controller.enqueue(chunk);
    },
    flush(controller) {
      if (total === undefined || loaded === total) return;
      const details = { file: address, needed: total, available: loaded };
      controller.error(new ThimbleError("truncated_file", "the download ended early; try again", details));
    },
  });
  try {
    await place.write(address, response.body.pipeThrough(counted), total);
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof ThimbleError) throw error;
    if ((error as Error).name === "QuotaExceededError") throw await full(address, total);
    return unreadable("the file was not kept: the download or the browser's storage failed", error);
  }
  return (await place.find(address)) ?? unreadable("the browser evicted the file as soon as it was kept");
}

/** Removes a kept file. Returns whether there was one. */
export async function removeKept(url: string | URL, options: Pick<KeepOptions, "place"> = {}): Promise<boolean> {
  return (await placeOf(options.place)).remove(new URL(url, globalThis.location?.href).href);
}

async function placeOf(place: KeepOptions["place"] = "auto"): Promise<KeepPlace> {
  const canOpfs = place !== "cache" && (await hasOpfs());
  if (canOpfs) return opfsPlace;
  if (place !== "opfs" && typeof caches !== "undefined") return cachePlace;
  const what =
    place === "opfs" ? "no private file system that pages can write to" : `no ${CACHE} (is it a secure context?)`;
  throw new ThimbleError("unsupported_runtime", `this browser has ${what}; load from the address instead`);
}

async function full(file: string, needed: number | undefined): Promise<ThimbleError> {
  const { quota = 0, usage = 0 } = (await navigator.storage?.estimate().catch(() => undefined)) ?? {};
  const message = "the browser gives no more room; remove kept models, or load from the address, which keeps nothing";
  const available = Math.max(0, quota - usage);
  return new ThimbleError("disk_full", message, { file, available, ...(needed === undefined ? {} : { needed }) });
}
