/**
 * Where a model's bytes come from. One interface for a file, a Blob, bytes, and a one-way stream: positioned reads into
 * a caller's buffer, so that the loader can read straight into WebAssembly memory without a second copy.
 * @module
 */

/** A positioned reader over a model file. */
export interface ByteSource {
  /** Shown in errors: path, URL or a label. */
  readonly name: string;
  /** Size in bytes; undefined when it is not known before the end (a stream). */
  readonly size: number | undefined;
  /**
   * True when reads must ask for ever higher offsets (a stream). The header of such a source may be read again until
   * the first `release`.
   */
  readonly sequential: boolean;
  /**
   * Reads bytes from `offset` on into `target` and returns how many were read: `target.byteLength`, or fewer at the end
   * of the source only.
   * @throws ThimbleError source_unreadable
   */
  read(target: Uint8Array, offset: number, signal?: AbortSignal): Promise<number>;
  /** For a sequential source: bytes before `offset` will not be asked for again. */
  release?(offset: number): void;
  close(): Promise<void>;
}

/** What `loadModel` accepts on every host; bindings add paths and URLs. */
export type ModelSource = Uint8Array | ArrayBuffer | Blob | ReadableStream<Uint8Array> | ByteSource;
