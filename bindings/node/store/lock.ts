/**
 * One process at a time: a lock is a file that says whose it is, and that its owner touches while it lives. It is stale
 * when its owner is gone from this machine, or has not touched it for a minute (asleep, or on another machine).
 *
 * Node has no `flock`, so the locks of Python's tools are not seen; they write to files of their own and rename, as we do.
 * @module
 */
import { randomUUID } from "node:crypto";
import { mkdir, open, readFile, rm, stat, utimes } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { ThimbleError } from "../../../host/errors.ts";
import { sleep } from "../../../host/waiting.ts";
import { diskError } from "./partial-file.ts";

const TOUCH_MS = 5_000;
const STALE_MS = 60_000;
const POLL_MS = 100;

export interface Owner {
  readonly token: string;
  readonly pid: number;
  readonly host: string;
}

export interface LockOptions {
  /** Waits for another owner; else `locked` is thrown. */
  readonly wait: boolean;
  readonly signal: AbortSignal | undefined;
  /** Called once when there is another owner. */
  readonly onWait?: ((pid: number) => void) | undefined;
}

/**
 * Does `work` while `path` is ours.
 * @throws ThimbleError locked; what `work` throws; the signal's reason
 */
export async function withLock<T>(path: string, options: LockOptions, work: () => Promise<T>): Promise<T> {
  await mkdir(dirname(path), { recursive: true }).catch(diskError(path));
  const ours: Owner = { token: randomUUID(), pid: process.pid, host: hostname() };
  await acquire(path, ours, options);
  const touch = setInterval(() => {
    const now = new Date();
    utimes(path, now, now).catch(() => {});
  }, TOUCH_MS);
  touch.unref();
  try {
    return await work();
  } finally {
    clearInterval(touch);
    if ((await readOwner(path))?.token === ours.token) await rm(path, { force: true });
  }
}

async function acquire(path: string, ours: Owner, { wait, signal, onWait }: LockOptions): Promise<void> {
  let hasWaited = false;
  for (;;) {
    signal?.throwIfAborted();
    if (await create(path, ours)) return;
    const owner = await readOwner(path);
    if (await isStale(path, owner)) {
      if (!(await breakLock(path, ours))) await sleep(POLL_MS, signal);
      continue;
    }
    if (!wait) {
      const message = `process ${owner?.pid ?? "?"} is working on this file; wait for it to end`;
      throw new ThimbleError("locked", message, { file: path.replace(/\.incomplete\.lock$/, "") });
    }
    if (!hasWaited) onWait?.(owner?.pid ?? 0);
    hasWaited = true;
    await sleep(POLL_MS, signal);
  }
}

/** False when there is one. */
async function create(path: string, ours: Owner): Promise<boolean> {
  const handle = await open(path, "wx", 0o644).catch((cause: NodeJS.ErrnoException) => {
    return cause.code === "EEXIST" ? undefined : diskError(path)(cause);
  });
  if (handle === undefined) return false;
  try {
    await handle.writeFile(JSON.stringify(ours)).catch(diskError(path));
  } finally {
    await handle.close();
  }
  return true;
}

/** Undefined when there is no lock, or its owner has not written it yet. */
async function readOwner(path: string): Promise<Owner | undefined> {
  try {
    const owner = JSON.parse(await readFile(path, "utf8")) as Owner;
    return Number.isSafeInteger(owner.pid) && owner.pid > 0 ? owner : undefined;
  } catch {
    return undefined;
  }
}

async function isStale(path: string, owner: Owner | undefined): Promise<boolean> {
  const touched = await stat(path).catch(() => undefined);
  if (touched === undefined) return false;
  const age = Date.now() - touched.mtimeMs;
  // One that has just been made may not have been written yet.
  if (owner === undefined) return age > TOUCH_MS;
  return age > STALE_MS || (owner.host === hostname() && !isAlive(owner.pid));
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/**
 * Takes a stale lock away, at its place: moved aside to be looked at and put back, a lock that another had made since was
 * missed by its owner when it ended, and stayed for a minute. So one breaks at a time, and looks again first. False when
 * another is at it. Exported for its test.
 */
export async function breakLock(path: string, ours: Owner): Promise<boolean> {
  const guard = `${path}.breaking`;
  if (!(await create(guard, ours))) {
    if (await isStale(guard, await readOwner(guard))) await rm(guard, { force: true });
    return false;
  }
  try {
    if (await isStale(path, await readOwner(path))) await rm(path, { force: true });
  } finally {
    await rm(guard, { force: true });
  }
  return true;
}

/** Whether someone is at work there. */
export async function isLocked(path: string): Promise<boolean> {
  const isThere = await stat(path).then(
    () => true,
    () => false,
  );
  return isThere && !(await isStale(path, await readOwner(path)));
}
