/**
 * The cache that Python's `huggingface_hub`, llama.cpp and others share:
 *
 *     models--org--name/
 *       blobs/ETAG                      the bytes; the ETag of a large file is its SHA-256
 *       refs/main                       the commit that a branch stood at
 *       snapshots/COMMIT/path/to/file   a link to its blob, or a file of its own where links are not possible
 *
 * A link is followed only to where the cache itself is: a snapshot cannot hand out other files of the machine.
 * @module
 */
import { copyFile, mkdir, readdir, readFile, realpath, rename, stat, symlink, writeFile } from "node:fs/promises";
import { dirname, join, relative, sep } from "node:path";
import { ThimbleError } from "../../../host/errors.ts";
import { diskError } from "./partial-file.ts";

/** A file that is in the cache. */
export interface CachedFile {
  /** In the snapshot. */
  readonly path: string;
  /** Where its bytes are; `path` itself where it is no link. */
  readonly blob: string;
  readonly bytes: number;
  readonly commit: string;
}

const COMMIT = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
/** A blob that is named by its SHA-256. */
const SHA256 = /^[0-9a-f]{64}$/;

export function repoFolder(cache: string, repo: string): string {
  return join(cache, `models--${repo.replace("/", "--")}`);
}

/**
 * A file of a revision; without one of `main`, or, if `main` was never asked for, of the newest snapshot that has it.
 * @throws ThimbleError source_unreadable for a link that leads out of the cache
 */
export async function findCached(
  cache: string,
  { repo, revision, file }: { repo: string; revision?: string | undefined; file: string },
): Promise<CachedFile | undefined> {
  const folder = repoFolder(cache, repo);
  const commit = await readRef(folder, revision ?? "main");
  if (commit !== undefined) return openCached(cache, folder, commit, file);
  if (revision !== undefined) return openCached(cache, folder, revision, file);
  for (const snapshot of await newestFirst(join(folder, "snapshots"))) {
    const found = await openCached(cache, folder, snapshot, file);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** @throws ThimbleError source_unreadable for a link that leads out of the cache */
export async function openCached(
  cache: string,
  folder: string,
  commit: string,
  file: string,
): Promise<CachedFile | undefined> {
  const path = join(folder, "snapshots", commit, ...file.split("/"));
  const blob = await realpath(path).catch(() => undefined);
  if (blob === undefined) return undefined;
  if (!blob.startsWith((await realpath(cache)) + sep)) {
    throw new ThimbleError("source_unreadable", "this link leads out of the cache and is not followed", { file: path });
  }
  const found = await stat(blob);
  return found.isFile() ? { path, blob, bytes: found.size, commit } : undefined;
}

/** The SHA-256 that a blob's name promises. */
export function promisedBy(cached: CachedFile): string | undefined {
  const name = cached.blob.slice(cached.blob.lastIndexOf(sep) + 1);
  return SHA256.test(name) && cached.blob !== cached.path ? name : undefined;
}

/** Commits by the branch or tag that stands at them. */
export async function readRefs(folder: string): Promise<Map<string, string>> {
  const refs = new Map<string, string>();
  const names = await readdir(join(folder, "refs")).catch(() => []);
  for (const name of names) {
    const commit = await readRef(folder, name);
    if (commit !== undefined) refs.set(name, commit);
  }
  return refs;
}

async function readRef(folder: string, revision: string): Promise<string | undefined> {
  const text = await readFile(join(folder, "refs", revision), "utf8").catch(() => undefined);
  const commit = text?.trim();
  return commit !== undefined && COMMIT.test(commit) && !commit.includes("..") ? commit : undefined;
}

async function newestFirst(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch(() => []);
  const times = await Promise.all(names.map(async (name) => (await stat(join(folder, name))).mtimeMs));
  const order = names.map((name, i) => ({ name, time: times[i]! }));
  return order.sort((a, b) => b.time - a.time).map(({ name }) => name);
}

/** Makes a blob a file of a snapshot, and notes which commit the revision stands at. */
export async function linkBlob(
  folder: string,
  { etag, commit, revision, file }: { etag: string; commit: string; revision: string; file: string },
): Promise<string> {
  const blob = join(folder, "blobs", etag);
  const path = join(folder, "snapshots", commit, ...file.split("/"));
  await mkdir(dirname(path), { recursive: true }).catch(diskError(path));
  await symlink(relative(dirname(path), blob), path).catch(async (error: NodeJS.ErrnoException) => {
    if (error.code === "EEXIST") return;
    // No links here (Windows without the right to make them): the snapshot gets a copy, as Python's tools do it.
    await copyFile(blob, path).catch(diskError(path));
  });
  if (revision !== commit) await writeRef(folder, revision, commit);
  return path;
}

async function writeRef(folder: string, revision: string, commit: string): Promise<void> {
  const path = join(folder, "refs", revision);
  await mkdir(dirname(path), { recursive: true }).catch(diskError(path));
  await writeFile(`${path}.${process.pid}`, commit).catch(diskError(path));
  await rename(`${path}.${process.pid}`, path).catch(diskError(path));
}
