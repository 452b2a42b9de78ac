/**
 * A model file on disk as a byte source: positioned reads straight into the caller's buffer, which may be a view of
 * WebAssembly memory. Only regular files: a pipe has no positions (pass it as a ReadableStream).
 * @module
 */

import { type FileHandle, open } from "node:fs/promises";
import { ThimbleError } from "../../host/errors.ts";
import type { ByteSource } from "../../host/source.ts";

/** Bytes asked for in one read: an abort is noticed between two of them. */
const READ_BYTES = 16 << 20;

/** What to do about the failures people meet. */
const ADVICE: Readonly<Record<string, string>> = {
  ENOENT: "there is no such file; check the path",
  ENOTDIR: "there is no such file: a part of the path is not a directory; check the path",
  EACCES: "reading is not permitted; check the file's permissions",
  EPERM: "reading is not permitted; check the file's permissions",
  EISDIR: "this is a directory; name the .gguf file in it",
  EMFILE: "too many files are open in this process; close some and try again",
};

/**
 * Opens a model file for reading. Close it after use.
 * @param path as the operating system knows it; shown in errors
 * @throws ThimbleError source_unreadable
 */
export async function openFile(path: string): Promise<ByteSource> {
  const handle = await open(path, "r").catch((cause: unknown) => {
    throw unreadable(path, cause);
  });
  try {
    const stat = await handle.stat();
    if (stat.isDirectory()) throw new ThimbleError("source_unreadable", ADVICE.EISDIR!, { file: path });
    if (!stat.isFile()) {
      const message = "this is not a regular file; pass its contents as a ReadableStream instead";
      throw new ThimbleError("source_unreadable", message, { file: path });
    }
    return fileSource(handle, path, stat.size);
  } catch (error) {
    await handle.close();
    throw error instanceof ThimbleError ? error : unreadable(path, error);
  }
}

function fileSource(handle: FileHandle, path: string, size: number): ByteSource {
  let closed = false;
  return {
    name: path,
    size,
    sequential: false,
    async read(target, offset, signal) {
      let done = 0;
      while (done < target.byteLength) {
        signal?.throwIfAborted();
        if (closed) throw new ThimbleError("closed", "the file was read after it was closed", { file: path });
        const length = Math.min(target.byteLength - done, READ_BYTES);
        const { bytesRead } = await handle.read(target, done, length, offset + done).catch((cause: unknown) => {
          throw unreadable(path, cause);
        });
        if (bytesRead === 0) break;
        done += bytesRead;
      }
      signal?.throwIfAborted();
      return done;
    },
    async close() {
      if (closed) return;
      closed = true;
      await handle.close();
    },
  };
}

function unreadable(path: string, cause: unknown): ThimbleError {
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
  const message = ADVICE[code] ?? `the file could not be read${code === "" ? "" : ` (${code})`}`;
  return new ThimbleError("source_unreadable", message, { file: path, cause });
}
