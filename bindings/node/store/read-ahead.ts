/**
 * A body as it comes in, a little ahead of its consumer. What `fetch` still holds of a body when the connection breaks is
 * lost; what is read here is not, so that every connection gets a download further.
 * @module
 */

const AHEAD_BYTES = 4 << 20;

export interface ReadAhead {
  /** The next piece; undefined at the end. @throws what the stream fails with, after the last piece */
  next(): Promise<Uint8Array | undefined>;
  cancel(): void;
}

/** Begins to read at once. */
export function readAhead(body: ReadableStream<Uint8Array>): ReadAhead {
  const reader = body.getReader();
  const pieces: Uint8Array[] = [];
  let ahead = 0;
  let end: { error?: unknown } | undefined;
  let wakeConsumer = (): void => {};
  let wakeReader = (): void => {};
  const read = async (): Promise<void> => {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      pieces.push(value);
      ahead += value.byteLength;
      wakeConsumer();
      if (ahead >= AHEAD_BYTES) {
        await new Promise<void>((resolve) => {
          wakeReader = resolve;
        });
      }
    }
  };
  read().then(
    () => {
      end = {};
      wakeConsumer();
    },
    (error: unknown) => {
      end = { error };
      wakeConsumer();
    },
  );
  return {
    async next() {
      for (;;) {
        const piece = pieces.shift();
        if (piece !== undefined) {
          ahead -= piece.byteLength;
          if (ahead < AHEAD_BYTES) wakeReader();
          return piece;
        }
        if (end !== undefined && "error" in end) throw end.error;
        if (end !== undefined) return undefined;
        await new Promise<void>((resolve) => {
          wakeConsumer = resolve;
        });
      }
    },
    cancel() {
      wakeReader();
      reader.cancel().catch(() => {});
    },
  };
}
