/**
 * One answer that brings the whole file, read as it comes: what is left when a server knows no ranges. Such a source
 * cannot be resumed after a cut.
 * @module
 */
import { ThimbleError } from "./errors.ts";
import { isEncoded } from "./http-answer.ts";
import type { ByteSource } from "./source.ts";
import { openSource } from "./sources.ts";
import { within } from "./waiting.ts";

export interface StreamOptions {
  /** Shown in errors. */
  readonly name: string;
  /** Longest silence of the connection, milliseconds. */
  readonly stallMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** @throws ThimbleError source_unreadable, while reading, when the connection ends before the announced length */
export function streamAnswer(response: Response, controller: AbortController, options: StreamOptions): ByteSource {
  const { name } = options;
  const stream = openSource(body(response, controller, options.stallMs), name);
  const length = response.headers.get("content-length");
  // Of a compressed answer it is the compressed length.
  const size = length === null || !/^\d+$/.test(length) || isEncoded(response) ? undefined : Number(length);
  return {
    name,
    get size() {
      return size ?? stream.size;
    },
    sequential: true,
    async read(target, offset, signal = options.signal) {
      const got = await stream.read(target, offset, signal);
      if (size === undefined || got >= Math.min(target.byteLength, size - offset)) return got;
      const message = `the connection ended at byte ${stream.size} of ${size}, and the server cannot continue it`;
      throw new ThimbleError("source_unreadable", `${message}; try again`, { file: name });
    },
    release: (offset) => stream.release?.(offset),
    async close() {
      await stream.close();
      controller.abort();
    },
  };
}

/** An answer's bytes, with an error when nothing comes for too long. */
function body(response: Response, controller: AbortController, stallMs: number): ReadableStream<Uint8Array> {
  const reader = response.body!.getReader();
  return new ReadableStream(
    {
      async pull(out) {
        const late = new Error(`the connection was silent for ${stallMs / 1000} s`);
        const { done, value } = await within(reader.read(), stallMs, late);
        if (done) out.close();
        else out.enqueue(value);
      },
      async cancel() {
        controller.abort();
      },
    },
    { highWaterMark: 0 },
  );
}
