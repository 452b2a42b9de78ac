/**
 * A file over HTTP: continued where it was cut off, checked while it streams, named only when it is right.
 *
 * Why not `@huggingface/hub`: 2.17.5 downloads (`downloadFileToCacheDir`) without continuing, checking, retrying, aborting,
 * locking or telling progress, begins anew over an `.incomplete` file, prints to the console, and leaves out `refs/`, so
 * that Python does not find the file again. Used of it: the hub's address, the
 * cache's place, listings.
 * @module
 */
import { ThimbleError } from "../../../host/errors.ts";
import type { Patience } from "../../../host/patience.ts";
import { PartialFile } from "./partial-file.ts";
import { type ReadAhead, readAhead } from "./read-ahead.ts";
import { connectionError, isNoNetwork, refusal, request, type Token } from "./request.ts";
import { persist, TransientError } from "./retry.ts";
import { watchStall } from "./stall.ts";

/** Bytes so far, those from earlier included, and in all (undefined when the server does not say). */
export interface PullProgress {
  readonly loaded: number;
  readonly total: number | undefined;
}

/** What is known about a file before it comes. */
export interface Promised {
  readonly sha256: string | undefined;
  readonly bytes: number | undefined;
}

export interface DownloadTask {
  /** What the user calls it. */
  readonly name: string;
  readonly url: URL;
  readonly token: Token | undefined;
  readonly promised: Promised;
  /** Path of the incomplete file. */
  readonly partial: string;
  readonly final: string;
}

export interface DownloadOptions {
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: PullProgress) => void) | undefined;
  readonly patience: Patience;
}

export interface Downloaded {
  readonly bytes: number;
  readonly sha256: string;
}

/**
 * Downloads to `task.partial` and renames to `task.final`. Aborted or cut off, it leaves the incomplete file for next time.
 * @throws ThimbleError not_found, download_failed, hash_mismatch, disk_full, offline; the signal's reason
 */
export async function download(task: DownloadTask, options: DownloadOptions): Promise<Downloaded> {
  const partial = await PartialFile.open(task.partial, addressOf(task.url), options.signal);
  let isDone = false;
  try {
    const result = await receive(partial, task, options);
    await partial.finish(task.final);
    isDone = true;
    return result;
  } catch (error) {
    isDone ||= error instanceof ThimbleError && error.code === "hash_mismatch";
    if (isDone) await partial.discard().catch(() => {});
    throw error;
  } finally {
    if (!isDone) await partial.leave().catch(() => {});
  }
}

/** Without the query, where signed addresses carry what changes. */
export function addressOf(url: URL): string {
  return url.origin + url.pathname;
}

async function receive(partial: PartialFile, task: DownloadTask, options: DownloadOptions): Promise<Downloaded> {
  const { promised, name } = task;
  const resumedAt = partial.bytes;
  let pieces = 0;
  let received = 0;
  const count = (bytes: number): void => {
    received += bytes;
    options.onProgress?.({ loaded: partial.bytes, total: partial.origin?.bytes });
  };
  const fill = (): Promise<void> =>
    persist(
      () => {
        pieces += 1;
        return attempt(partial, task, options, count);
      },
      { patience: options.patience, progress: () => received, signal: options.signal },
    ).catch((error: unknown) => {
      throw error instanceof TransientError ? givenUp(error, task, partial.bytes) : error;
    });

  await fill();
  if (promised.sha256 !== undefined && partial.sha256() !== promised.sha256 && (resumedAt > 0 || pieces > 1)) {
    // Put together from several pieces, of which one may not belong: once more, in one piece as far as possible.
    await partial.restart(originOf(task, undefined, undefined));
    await fill();
  }
  const sha256 = partial.sha256();
  if (promised.sha256 !== undefined && sha256 !== promised.sha256) {
    throw mismatch(name, `its SHA-256 should be ${promised.sha256} and is ${sha256}; nothing was kept`);
  }
  return { bytes: partial.bytes, sha256 };
}

/** One connection: from where the file ends to where it breaks off or the file is complete. */
async function attempt(
  partial: PartialFile,
  task: DownloadTask,
  { signal, patience }: DownloadOptions,
  count: (bytes: number) => void,
): Promise<void> {
  if (isComplete(partial)) return count(0);
  const isResuming = canResume(partial, task);
  const headers: Record<string, string> = {};
  if (isResuming) headers.range = `bytes=${partial.bytes}-`;
  if (isResuming && partial.origin?.validator !== undefined) headers["if-range"] = partial.origin.validator;
  const stall = watchStall(signal, patience.stallMs);
  let body: ReadAhead | undefined;
  try {
    const response = await request(task.url, { headers, token: task.token, signal: stall.signal });
    body = response.body === null ? undefined : readAhead(response.body);
    if (!(await begin(partial, task, response, isResuming))) return;
    for (;;) {
      stall.touch();
      const bytes = await body?.next();
      if (bytes === undefined) break;
      checkLength(partial, task, bytes.byteLength);
      await partial.append(bytes);
      count(bytes.byteLength);
    }
  } catch (error) {
    signal?.throwIfAborted();
    if (stall.isStalled()) throw new TransientError(`${task.url.host} has been silent for ${patience.stallMs} ms`);
    throw isOurs(error) ? error : connectionError(task.url, error);
  } finally {
    stall.end();
    body?.cancel();
  }
  const total = partial.origin?.bytes;
  if (total !== undefined && partial.bytes < total) {
    throw new TransientError(`${task.url.host} cut the connection after ${partial.bytes} of ${total} bytes`);
  }
  count(0);
}

/** Reads an answer's head and makes the file ready for its body. False when there is nothing to read. */
async function begin(
  partial: PartialFile,
  task: DownloadTask,
  response: Response,
  isResuming: boolean,
): Promise<boolean> {
  const { status, headers } = response;
  const range = readContentRange(headers.get("content-range"));
  if (status === 416) {
    if (isResuming && range?.total === partial.bytes) {
      // The server had not said how long the file is, and this is all of it.
      partial.settle();
      return false;
    }
    await partial.restart(originOf(task, undefined, undefined));
    throw new TransientError(`${task.url.host} has a shorter file than before`, { waitMs: 0 });
  }
  if (status !== 200 && status !== 206) throw refusal(response, task.url, task.name);
  if (!/^(?:identity)?$/i.test(headers.get("content-encoding") ?? "")) {
    const message = `${task.url.host} sends the file compressed, which was not asked for`;
    throw new ThimbleError("download_failed", message, { name: task.name });
  }
  const validator = validatorOf(headers);
  if (status === 206) {
    const known = partial.origin;
    const isNext =
      isResuming &&
      range?.start === partial.bytes &&
      (known?.bytes === undefined || range.total === known.bytes) &&
      (known?.validator === undefined || validator === undefined || validator === known.validator);
    if (isNext) return true;
    await partial.restart(originOf(task, undefined, undefined));
    throw new TransientError(`${task.url.host} sent another part of the file than was asked for`, { waitMs: 0 });
  }
  const length = headers.get("content-length");
  const total = length !== null && /^\d+$/.test(length) ? Number(length) : undefined;
  const { bytes } = task.promised;
  if (bytes !== undefined && total !== undefined && total !== bytes) {
    throw mismatch(task.name, `it should have ${bytes} bytes and has ${total} at ${task.url.host}`);
  }
  await partial.restart(originOf(task, validator, total ?? bytes));
  return true;
}

/** Complete as far as can be told without its hash; an empty file is asked for again. */
function isComplete(partial: PartialFile): boolean {
  return partial.bytes > 0 && partial.bytes === partial.origin?.bytes;
}

/** Only what can be recognised later can be put together: by the server, or by us at the end. */
function canResume(partial: PartialFile, task: DownloadTask): boolean {
  return partial.bytes > 0 && (partial.origin?.validator !== undefined || task.promised.sha256 !== undefined);
}

function checkLength(partial: PartialFile, task: DownloadTask, more: number): void {
  const limit = partial.origin?.bytes;
  if (limit === undefined || partial.bytes + more <= limit) return;
  throw mismatch(task.name, `it should have ${limit} bytes and has more`);
}

function originOf(task: DownloadTask, validator: string | undefined, bytes: number | undefined) {
  return { name: task.name, address: addressOf(task.url), validator, bytes };
}

/** What identifies a version of the file byte for byte. */
function validatorOf(headers: Headers): string | undefined {
  const etag = headers.get("etag");
  if (etag !== null && /^"[\x21\x23-\x7e]*"$/.test(etag)) return etag;
  return headers.get("last-modified") ?? undefined;
}

function readContentRange(header: string | null): { start: number | undefined; total: number | undefined } | undefined {
  const match = /^bytes\s+(?:(\d+)-\d+|\*)\/(\d+|\*)$/.exec(header ?? "");
  if (match === null) return undefined;
  const [, start, total] = match;
  return {
    start: start === undefined ? undefined : Number(start),
    total: total === undefined || total === "*" ? undefined : Number(total),
  };
}

function isOurs(error: unknown): boolean {
  return error instanceof ThimbleError || error instanceof TransientError;
}

function mismatch(name: string, message: string): ThimbleError {
  return new ThimbleError("hash_mismatch", `"${name}" is not the file it should be: ${message}`, { name });
}

function givenUp(error: TransientError, task: DownloadTask, bytes: number): ThimbleError {
  const rest = bytes > 0 ? `; ${bytes} bytes are kept, pull again to go on from there` : "";
  if (isNoNetwork(error)) {
    return new ThimbleError("offline", `"${task.name}" needs the network: ${error.message}${rest}`, { cause: error });
  }
  return new ThimbleError("download_failed", `"${task.name}": ${error.message}; it was tried again in vain${rest}`, {
    name: task.name,
    cause: error,
  });
}
