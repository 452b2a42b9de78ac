/**
 * Where a file came to lie, and the check that it is right.
 * @module
 */
import { stat } from "node:fs/promises";
import { ThimbleError } from "../../../host/errors.ts";
import type { Promised, PullProgress } from "./download.ts";
import { hashFile, readReceipt, writeReceipt } from "./receipts.ts";

/** A file that is on this machine. */
export interface Fetched {
  readonly path: string;
  /** Where from, in words. */
  readonly from: string;
  readonly promised: Promised;
  /** Undefined when it was there already and has not been read. */
  readonly sha256: string | undefined;
}

/** What to do about other processes. */
export interface Waiting {
  readonly wait: boolean;
  readonly onWait: ((pid: number) => void) | undefined;
}

export interface Checked {
  readonly path: string;
  readonly from: string;
  readonly bytes: number;
  readonly sha256: string;
}

/**
 * Holds a file to its promise, or, where there is none, to what it was when it came; reads it if that has not been done
 * since it last changed.
 * @throws ThimbleError hash_mismatch, source_unreadable; the signal's reason
 */
export async function checkStored(
  store: string,
  { path, from, promised, sha256 }: Fetched,
  options: {
    signal?: AbortSignal | undefined;
    onProgress?: ((progress: PullProgress) => void) | undefined;
    /** Reads the file even if a receipt says that it is right. */
    again?: boolean;
  },
): Promise<Checked> {
  const last = sha256 === undefined ? await readReceipt(store, path) : undefined;
  const isKnown = last?.holds === true && options.again !== true;
  const found = sha256 ?? (isKnown ? last.sha256 : (await hashFile(path, options.signal, options.onProgress)).sha256);
  const expected = promised.sha256 ?? last?.sha256;
  if (expected !== undefined && found !== expected) {
    const message = `this is not the file it should be: its SHA-256 should be ${expected} and is ${found}; remove it and pull again`;
    throw new ThimbleError("hash_mismatch", message, { file: path });
  }
  const isVerified = promised.sha256 !== undefined || last?.isVerified === true;
  if (last?.holds !== true || last.isVerified !== isVerified) {
    await writeReceipt(store, path, { sha256: found, isVerified, from: last?.from ?? from });
  }
  return { path, from: last?.from ?? from, bytes: (await stat(path)).size, sha256: found };
}

export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
