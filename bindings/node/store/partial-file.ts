/**
 * A file on its way: `NAME.incomplete` holds the first bytes of it, `NAME.incomplete.json` beside it says of which file
 * (address, ETag, size), and a running SHA-256 covers every byte there, those of an earlier process too. It gets its final
 * name in one step, when it is complete and its owner says that it is right.
 * @module
 */
import { createHash, type Hash } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, mkdir, open, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { ThimbleError } from "../../../host/errors.ts";

const READ_BYTES = 1 << 20;

/** Which file the bytes are of. */
export interface Origin {
  /** What the user calls it. */
  readonly name: string;
  /** Without query: signed addresses change. */
  readonly address: string;
  /** ETag or Last-Modified, where strong enough to continue by. */
  readonly validator: string | undefined;
  /** Undefined when the server does not say. */
  readonly bytes: number | undefined;
}

export class PartialFile {
  readonly path: string;
  readonly #handle: FileHandle;
  #hash: Hash = createHash("sha256");
  #bytes = 0;
  #origin: Origin | undefined;

  private constructor(path: string, handle: FileHandle) {
    this.path = path;
    this.#handle = handle;
  }

  /** How many bytes there are. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Undefined before the first byte. */
  get origin(): Origin | undefined {
    return this.#origin;
  }

  /**
   * Opens `path` and takes over what is there, if it is of the file at `address`.
   * @throws ThimbleError download_failed, disk_full; the signal's reason
   */
  static async open(path: string, address: string, signal: AbortSignal | undefined): Promise<PartialFile> {
    await mkdir(dirname(path), { recursive: true }).catch(diskError(path));
    // A link that someone put there is not followed.
    const flags = constants.O_RDWR | constants.O_CREAT | (constants.O_NOFOLLOW ?? 0);
    const handle = await open(path, flags, 0o644).catch(diskError(path));
    const partial = new PartialFile(path, handle);
    try {
      const origin = await readOrigin(path);
      const { size } = await handle.stat();
      const isOurs = origin?.address === address && (origin.bytes === undefined || size <= origin.bytes);
      if (isOurs) await partial.#takeOver(origin, size, signal);
      else if (size > 0) await handle.truncate(0);
      return partial;
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** Forgets everything and begins with a file's first byte. */
  async restart(origin: Origin): Promise<void> {
    await this.#handle.truncate(0).catch(diskError(this.path));
    this.#hash = createHash("sha256");
    this.#bytes = 0;
    this.#origin = origin;
    const state = `${this.path}.json`;
    await writeFile(`${state}.new`, JSON.stringify(origin)).catch(diskError(state));
    await rename(`${state}.new`, state).catch(diskError(state));
  }

  async append(bytes: Uint8Array): Promise<void> {
    await writeAll(this.#handle, bytes, this.#bytes).catch(diskError(this.path));
    this.#hash.update(bytes);
    this.#bytes += bytes.byteLength;
  }

  /** What is there is all of it. */
  settle(): void {
    if (this.#origin !== undefined) this.#origin = { ...this.#origin, bytes: this.#bytes };
  }

  /** SHA-256 of all bytes, lower-case hexadecimal. */
  sha256(): string {
    return this.#hash.copy().digest("hex");
  }

  /** Gives the file its final name and closes it. */
  async finish(path: string): Promise<void> {
    await this.#handle.sync().catch(diskError(this.path));
    await this.#handle.close();
    await rename(this.path, path).catch(diskError(path));
    await rm(`${this.path}.json`, { force: true });
  }

  /** Closes it and leaves it for another time. */
  async leave(): Promise<void> {
    await this.#handle.close();
  }

  /** Closes and deletes it. */
  async discard(): Promise<void> {
    await this.#handle.close();
    await rm(this.path, { force: true });
    await rm(`${this.path}.json`, { force: true });
  }

  async #takeOver(origin: Origin, size: number, signal: AbortSignal | undefined): Promise<void> {
    const buffer = new Uint8Array(READ_BYTES);
    while (this.#bytes < size) {
      signal?.throwIfAborted();
      const { bytesRead } = await this.#handle.read(buffer, 0, READ_BYTES, this.#bytes);
      if (bytesRead === 0) break;
      this.#hash.update(buffer.subarray(0, bytesRead));
      this.#bytes += bytesRead;
    }
    this.#origin = origin;
  }
}

/** What the file beside a partial one says; undefined when it says nothing usable. */
export async function readOrigin(path: string): Promise<Origin | undefined> {
  try {
    const { name, address, validator, bytes } = JSON.parse(await readFile(`${path}.json`, "utf8")) as Origin;
    const isGood =
      typeof name === "string" &&
      typeof address === "string" &&
      (validator === undefined || typeof validator === "string") &&
      (bytes === undefined || (Number.isSafeInteger(bytes) && bytes >= 0));
    return isGood ? { name, address, validator, bytes } : undefined;
  } catch {
    return undefined;
  }
}

/** Writes at `position`, however many calls that takes. */
export async function writeAll(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  let done = 0;
  while (done < bytes.byteLength) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.byteLength - done, position + done);
    done += bytesWritten;
  }
}

/** Turns a failed write into a typed error. */
export function diskError(path: string): (cause: unknown) => never {
  return (cause) => {
    const code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
    if (code === "ENOSPC" || code === "EDQUOT") {
      throw new ThimbleError("disk_full", "the disk is full; make room and pull again, it goes on where it stopped", {
        file: path,
        cause,
      });
    }
    const message =
      code === "ELOOP" ? "this is a link, which is not written through" : `it cannot be written (${code})`;
    throw new ThimbleError("download_failed", message, { file: path, cause });
  };
}
