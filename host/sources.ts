/**
 * Byte sources every host has: bytes, Blob and a one-way stream. Each read copies straight into the caller's buffer,
 * which may be a view of WebAssembly memory; that memory must not grow while a read is under way (growing detaches the
 * view).
 * @module
 */

import { ThimbleError } from "./errors.ts";
import { wrongOption } from "./options.ts";
import type { ByteSource, ModelSource } from "./source.ts";

/** A Blob is read in pieces of this many bytes, so that a large target never needs a second copy of its size. */
const BLOB_PIECE_BYTES = 1 << 20;

/**
 * Makes a positioned reader out of anything `loadModel` accepts. A `ByteSource` is returned as it is.
 * @param name shown in errors; the default says what the source is
 * @throws ThimbleError invalid_option for anything else, source_unreadable for a stream that has a reader already
 */
export function openSource(source: ModelSource, name?: string): ByteSource {
  if (source instanceof Uint8Array) return bytesSource(source, name ?? "bytes");
  if (source instanceof ArrayBuffer) return bytesSource(new Uint8Array(source), name ?? "bytes");
  if (isObject(source)) {
    if ("getReader" in source) return new StreamSource(source, name ?? "stream");
    if ("arrayBuffer" in source && "slice" in source) return blobSource(source, name ?? blobName(source));
    // Not "read": a Node stream has that too.
    if ("sequential" in source) return source;
  }
  throw wrongOption(
    "source",
    "a model source must be a Uint8Array, an ArrayBuffer, a Blob, a ReadableStream of bytes or a ByteSource",
  );
}

// JavaScript callers pass anything; the type of ModelSource alone would let null through to `in`.
function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

function blobName(blob: Blob): string {
  return "name" in blob && typeof blob.name === "string" ? blob.name : "blob";
}

function bytesSource(bytes: Uint8Array, name: string): ByteSource {
  return {
    name,
    size: bytes.byteLength,
    sequential: false,
    async read(target, offset, signal) {
      signal?.throwIfAborted();
      const piece = bytes.subarray(offset, offset + target.byteLength);
      target.set(piece);
      return piece.byteLength;
    },
    async close() {},
  };
}

function blobSource(blob: Blob, name: string): ByteSource {
  return {
    name,
    size: blob.size,
    sequential: false,
    async read(target, offset, signal) {
      const count = Math.max(0, Math.min(target.byteLength, blob.size - offset));
      for (let done = 0; done < count; ) {
        signal?.throwIfAborted();
        const end = Math.min(count, done + BLOB_PIECE_BYTES);
        const piece = await blob
          .slice(offset + done, offset + end)
          .arrayBuffer()
          .catch((cause: unknown) => {
            throw unreadable("the Blob could not be read; the file behind it may have changed", name, cause);
          });
        target.set(new Uint8Array(piece), done);
        done = end;
      }
      signal?.throwIfAborted();
      return count;
    },
    async close() {},
  };
}

/** Bytes that arrived, and where in the file they begin. */
interface Chunk {
  readonly start: number;
  readonly bytes: Uint8Array;
}

/**
 * A one-way stream read by position. It keeps what arrived from the released offset on, and pulls when a read reaches
 * past that; one pull is under way at a time, and an aborted read leaves its pull for the next one.
 */
class StreamSource implements ByteSource {
  readonly sequential = true;
  readonly name: string;
  private readonly reader: ReadableStreamDefaultReader<Uint8Array>;
  private chunks: Chunk[] = [];
  /** Bytes received from the stream so far. */
  private arrived = 0;
  private released = 0;
  private ended = false;
  private closed = false;
  private pulling: Promise<void> | undefined;

  constructor(stream: ReadableStream<Uint8Array>, name: string) {
    this.name = name;
    try {
      this.reader = stream.getReader();
    } catch (cause) {
      throw unreadable("the stream is in use by another reader; pass one that nobody has read from", name, cause);
    }
  }

  get size(): number | undefined {
    return this.ended ? this.arrived : undefined;
  }

  async read(target: Uint8Array, offset: number, signal?: AbortSignal): Promise<number> {
    signal?.throwIfAborted();
    this.checkReadable(offset);
    const end = offset + target.byteLength;
    while (this.arrived < end && !this.ended) {
      this.pulling ??= this.pull().finally(() => {
        this.pulling = undefined;
      });
      await orAbort(this.pulling, signal);
      this.checkReadable(offset);
    }
    // Reads ask for what came last, so the search for the first chunk starts from the back.
    let index = this.chunks.length;
    while (index > 0 && this.chunks[index - 1]!.start + this.chunks[index - 1]!.bytes.byteLength > offset) index--;
    for (; index < this.chunks.length && this.chunks[index]!.start < end; index++) {
      const { start, bytes } = this.chunks[index]!;
      target.set(bytes.subarray(Math.max(0, offset - start), end - start), Math.max(0, start - offset));
    }
    return Math.max(0, Math.min(end, this.arrived) - offset);
  }

  release(offset: number): void {
    this.released = Math.max(this.released, offset);
    const kept = this.chunks.findIndex(({ start, bytes }) => start + bytes.byteLength > this.released);
    this.chunks.splice(0, kept < 0 ? this.chunks.length : kept);
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    this.chunks = [];
    this.released = this.arrived;
    // A stream that already failed rejects its cancel with the same error, which the read has reported.
    await this.reader.cancel().catch(() => {});
  }

  private checkReadable(offset: number): void {
    if (this.closed) throw new ThimbleError("closed", "the stream was read after it was closed", { file: this.name });
    if (offset >= this.released) return;
    const message = `read at byte ${offset} of a stream that is released up to byte ${this.released}`;
    throw new ThimbleError("internal", message, { file: this.name, needed: offset, available: this.released });
  }

  private async pull(): Promise<void> {
    const result = await this.reader.read().catch((cause: unknown) => {
      throw unreadable("the stream failed while it was read; start again with a new one", this.name, cause);
    });
    if (result.done) {
      this.ended = !this.closed;
      return;
    }
    const bytes: unknown = result.value;
    if (!(bytes instanceof Uint8Array)) {
      throw unreadable(`the stream must give Uint8Array chunks; it gave a ${typeof bytes}`, this.name);
    }
    const start = this.arrived;
    this.arrived += bytes.byteLength;
    if (!this.closed && bytes.byteLength > 0 && this.arrived > this.released) this.chunks.push({ start, bytes });
  }
}

/** Waits for `work` or for the signal, whichever comes first; the work itself goes on. */
async function orAbort(work: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  if (signal === undefined) return work;
  let onAbort = () => {};
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    await Promise.race([work, aborted]);
    signal.throwIfAborted();
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

function unreadable(message: string, file: string, cause?: unknown): ThimbleError {
  return new ThimbleError("source_unreadable", message, { file, cause });
}
