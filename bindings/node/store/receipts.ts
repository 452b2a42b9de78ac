/**
 * What is known about files that were checked: SHA-256, where from, and whether that is what was promised. A receipt holds
 * for as long as the file has the size and time of change it had then; it says nothing about a file that has changed since.
 * @module
 */
import { createHash } from "node:crypto";
import { mkdir, open, readFile, realpath, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { ThimbleError } from "../../../host/errors.ts";

const READ_BYTES = 1 << 20;

export interface Receipt {
  readonly path: string;
  readonly bytes: number;
  readonly mtimeMs: number;
  readonly sha256: string;
  /** The hash was known beforehand, and this is it. */
  readonly isVerified: boolean;
  /** In words. */
  readonly from: string;
}

/** A receipt, and whether it is about the file as it is now. */
export async function readReceipt(store: string, path: string): Promise<(Receipt & { holds: boolean }) | undefined> {
  try {
    const real = await realpath(path);
    const receipt = JSON.parse(await readFile(receiptPath(store, real), "utf8")) as Receipt;
    if (receipt.path !== real || !/^[0-9a-f]{64}$/.test(receipt.sha256)) return undefined;
    const { size, mtimeMs } = await stat(real);
    return { ...receipt, holds: receipt.bytes === size && receipt.mtimeMs === mtimeMs };
  } catch {
    return undefined;
  }
}

/** Best effort: without one, the file is read again next time. */
export async function writeReceipt(
  store: string,
  path: string,
  known: Pick<Receipt, "sha256" | "isVerified" | "from">,
): Promise<void> {
  try {
    const real = await realpath(path);
    const { size, mtimeMs } = await stat(real);
    const receipt: Receipt = { path: real, bytes: size, mtimeMs, ...known };
    const target = receiptPath(store, real);
    await mkdir(dirname(target), { recursive: true });
    await writeFile(`${target}.${process.pid}`, JSON.stringify(receipt));
    await rename(`${target}.${process.pid}`, target);
  } catch {
    // A store that cannot be written is no reason not to use a file.
  }
}

/** Before the file itself is removed. */
export async function removeReceipt(store: string, path: string): Promise<void> {
  const real = await realpath(path).catch(() => path);
  await rm(receiptPath(store, real), { force: true });
}

/** @throws ThimbleError source_unreadable; the signal's reason */
export async function hashFile(
  path: string,
  signal: AbortSignal | undefined,
  onProgress?: ((progress: { loaded: number; total: number }) => void) | undefined,
): Promise<{ sha256: string; bytes: number }> {
  const handle = await open(path, "r").catch((cause: unknown) => {
    throw new ThimbleError("source_unreadable", "the file could not be read", { file: path, cause });
  });
  try {
    const hash = createHash("sha256");
    const buffer = new Uint8Array(READ_BYTES);
    const { size } = await handle.stat();
    let bytes = 0;
    for (;;) {
      signal?.throwIfAborted();
      const { bytesRead } = await handle.read(buffer, 0, READ_BYTES, bytes);
      if (bytesRead === 0) return { sha256: hash.digest("hex"), bytes };
      hash.update(buffer.subarray(0, bytesRead));
      bytes += bytesRead;
      onProgress?.({ loaded: bytes, total: size });
    }
  } finally {
    await handle.close();
  }
}

function receiptPath(store: string, real: string): string {
  return join(store, "receipts", `${createHash("sha256").update(real).digest("hex")}.json`);
}
