/**
 * What people hand in: text on stdin or in files, and token ids. Text must be valid UTF-8; a byte order mark is dropped.
 * @module
 */
import { readFile } from "node:fs/promises";
import { ThimbleError } from "../../host/errors.ts";
import { UsageError } from "./arguments.ts";

/** All of stdin, as it is. @throws ThimbleError invalid_text, source_unreadable */
export async function readStdin(): Promise<string> {
  const pieces: Buffer[] = [];
  try {
    for await (const piece of process.stdin) pieces.push(piece as Buffer);
  } catch (cause) {
    throw new ThimbleError("source_unreadable", "it could not be read", { file: "stdin", cause });
  }
  return decode(Buffer.concat(pieces), "stdin");
}

/** The text of a file; `-` is stdin. @throws ThimbleError invalid_text, source_unreadable */
export async function readText(path: string): Promise<string> {
  return path === "-" ? readStdin() : decode(await readBytes(path), path);
}

/** The bytes of a file. @throws ThimbleError source_unreadable */
export async function readBytes(path: string): Promise<Uint8Array> {
  return readFile(path).catch((cause: NodeJS.ErrnoException) => {
    const missing = "there is no such file; check the path";
    const message = cause.code === "ENOENT" ? missing : `the file could not be read (${cause.code ?? cause.message})`;
    throw new ThimbleError("source_unreadable", message, { file: path, cause });
  });
}

function decode(bytes: Uint8Array, file: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    const at = firstInvalid(bytes);
    throw new ThimbleError("invalid_text", `the text is not valid UTF-8 at byte ${at}; convert it`, { file, cause });
  }
}

/** Where the valid part ends: the longest prefix that decodes, by halving. */
function firstInvalid(bytes: Uint8Array): number {
  let valid = 0;
  let invalid = bytes.length;
  while (invalid - valid > 1) {
    const middle = (valid + invalid) >> 1;
    if (isValidStart(bytes.subarray(0, middle))) valid = middle;
    else invalid = middle;
  }
  return valid;
}

/** Valid, or cut within its last character. */
function isValidStart(bytes: Uint8Array): boolean {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes, { stream: true });
    return true;
  } catch {
    return false;
  }
}

/**
 * Token ids: `1,2,3`, `1 2 3`, a JSON array, or `@file` with one of these.
 * @throws UsageError when it is none; ThimbleError as `readText`
 */
export async function readIds(given: string): Promise<number[]> {
  const text = given.startsWith("@") ? await readText(given.slice(1)) : given;
  const bare = text.trim().replace(/^\[([^[\]]*)\]$/, "$1");
  const words = bare.split(/[\s,]+/).filter((word) => word !== "");
  const bad = words.find((word) => !/^\d{1,10}$/.test(word));
  if (bad !== undefined) {
    const form = "token ids as 1,2,3 or [1, 2, 3], or @FILE with them";
    throw new UsageError(`--prompt-ids takes ${form}, got "${bad.slice(0, 40)}"`);
  }
  return words.map(Number);
}
