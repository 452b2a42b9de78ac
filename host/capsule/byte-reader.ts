/**
 * Exact reads from a capsule that comes as a stream, bytes or a Blob, whatever pieces it comes in.
 * @module
 */
import { ThimbleError } from "../errors.ts";
import { wrongOption } from "../options.ts";
import { malformed } from "./format.ts";

/** What a capsule is restored from. */
export type CapsuleSource = ReadableStream<Uint8Array> | Uint8Array | ArrayBuffer | Blob;

export class ByteReader {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  readonly #signal: AbortSignal | undefined;
  readonly #abort = (): void => void this.#reader?.cancel(this.#signal?.reason).catch(() => {});
  /** Bytes that came and were not read. */
  #rest: Uint8Array;
  #isEnd: boolean;

  /** @throws ThimbleError invalid_option for what is no source, source_unreadable for a stream that has a reader */
  constructor(source: CapsuleSource, signal: AbortSignal | undefined) {
    this.#signal = signal;
    if (source instanceof Uint8Array || source instanceof ArrayBuffer) {
      this.#rest = source instanceof ArrayBuffer ? new Uint8Array(source) : source;
      this.#isEnd = true;
      return;
    }
    this.#rest = new Uint8Array(0);
    this.#isEnd = false;
    this.#reader = readerOf(source);
    signal?.addEventListener("abort", this.#abort, { once: true });
  }

  /** Fills `bytes`. @throws ThimbleError capsule_malformed at the end, source_unreadable; the signal's reason */
  async read<T extends Uint8Array>(bytes: T): Promise<T> {
    for (let at = 0; at < bytes.byteLength; ) {
      if (this.#rest.byteLength === 0 && (await this.isEnd())) throw malformed("it ends early");
      const piece = this.#rest.subarray(0, bytes.byteLength - at);
      bytes.set(piece, at);
      at += piece.byteLength;
      this.#rest = this.#rest.subarray(piece.byteLength);
    }
    return bytes;
  }

  /** No byte follows. @throws ThimbleError source_unreadable; the signal's reason */
  async isEnd(): Promise<boolean> {
    while (this.#rest.byteLength === 0 && !this.#isEnd) await this.#pull();
    return this.#rest.byteLength === 0;
  }

  /** Lets the source go. */
  async close(): Promise<void> {
    this.#signal?.removeEventListener("abort", this.#abort);
    this.#rest = new Uint8Array(0);
    await this.#reader?.cancel().catch(() => {});
    this.#reader?.releaseLock();
  }

  async #pull(): Promise<void> {
    this.#signal?.throwIfAborted();
    const { done, value } = await this.#reader!.read().catch((cause: unknown) => {
      this.#signal?.throwIfAborted();
      if (cause instanceof ThimbleError) throw cause;
      throw new ThimbleError("source_unreadable", `the capsule could not be read: ${String(cause)}`, { cause });
    });
    this.#signal?.throwIfAborted();
    this.#isEnd = done;
    if (done) return;
    if (!(value instanceof Uint8Array)) throw notASource();
    this.#rest = value;
  }
}

function notASource(): ThimbleError {
  const message = "a capsule must be a ReadableStream of bytes, a Uint8Array, an ArrayBuffer or a Blob";
  return wrongOption("source", message);
}

function readerOf(source: ReadableStream<Uint8Array> | Blob): ReadableStreamDefaultReader<Uint8Array> {
  // JavaScript callers pass anything.
  if (typeof source !== "object" || source === null) throw notASource();
  const stream = "stream" in source && typeof source.stream === "function" ? source.stream() : source;
  if (!("getReader" in stream)) throw notASource();
  try {
    return stream.getReader();
  } catch (cause) {
    throw new ThimbleError("source_unreadable", "the capsule's stream has a reader already", { cause });
  }
}
