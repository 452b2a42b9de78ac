/**
 * Takes a model off this machine: its file, and in the cache of the hub also the links to it. Nothing outside the store and
 * the cache is touched, and no blob that something else still uses.
 * @module
 */
import { lstat, readdir, readlink, realpath, rm, rmdir } from "node:fs/promises";
import { dirname, join, resolve, sep } from "node:path";
import { ThimbleError } from "../../../host/errors.ts";
import type { CatalogEntry } from "./catalog.ts";
import { filesBelow } from "./files-below.ts";
import { readRefs, repoFolder } from "./hub-cache.ts";
import { listIncomplete } from "./list.ts";
import { storePath } from "./locate.ts";
import { isLocked } from "./lock.ts";
import { canonicalName, type ModelName, parseModelName } from "./model-name.ts";
import { removeReceipt } from "./receipts.ts";
import { readSurroundings, type Surroundings } from "./surroundings.ts";

/** What was removed. */
export interface RemovedModel {
  readonly name: string;
  /** Files and links. */
  readonly paths: readonly string[];
  /** Given back to the disk. */
  readonly bytes: number;
}

interface Removal {
  readonly paths: string[];
  bytes: number;
}

/**
 * Removes a model and what an unfinished download left of it. A name of the hub without a revision means all revisions.
 * @throws ThimbleError not_found when it is not in the store, locked when it is being pulled, invalid_option
 */
export async function removeModel(
  name: string,
  options: { catalog?: readonly CatalogEntry[] | undefined } = {},
): Promise<RemovedModel> {
  const parsed = parseModelName(name, options.catalog);
  const label = canonicalName(parsed);
  const surroundings = await readSurroundings();
  const removal: Removal = { paths: [], bytes: 0 };
  const incomplete = (await listIncomplete(surroundings)).filter((one) => one.name === label);
  for (const { path } of incomplete) {
    if (!(await isLocked(`${path}.lock`))) continue;
    const message = `"${label}" is being pulled by another process; wait for it to end, or end it`;
    throw new ThimbleError("locked", message, { name: label });
  }
  for (const { path } of incomplete) {
    await removeFile(path, removal);
    await rm(`${path}.json`, { force: true });
    await rm(`${path}.lock`, { force: true });
  }
  for (const one of hubFiles(parsed)) await removeFromCache(one, surroundings, removal);
  if (parsed.kind !== "hub") await removeFromStore(storePath(surroundings.store, parsed), surroundings, removal);
  if (removal.paths.length > 0) return { name: label, ...removal };
  const isPackaged = parsed.kind === "catalog" && parsed.entry.sources.some(({ kind }) => kind === "package");
  const message = isPackaged ? "is part of the package, not of the store" : "is not in the store; nothing was removed";
  throw new ThimbleError("not_found", `"${label}" ${message}`, { name: label });
}

interface HubFiles {
  readonly repo: string;
  readonly revision: string | undefined;
  readonly file: string;
  /** Only this one, if given. */
  readonly sha256?: string;
}

function hubFiles(name: ModelName): HubFiles[] {
  if (name.kind === "hub") return [name];
  if (name.kind === "url") return [];
  const { sources, sha256 } = name.entry;
  return sources.flatMap((one) =>
    one.kind === "hub" ? [{ repo: one.repo, file: one.file, revision: undefined, sha256 }] : [],
  );
}

async function removeFromStore(path: string, { store }: Surroundings, removal: Removal): Promise<void> {
  if ((await sizeOf(path)) === undefined) return;
  await removeReceipt(store, path);
  await removeFile(path, removal);
  await removeEmptyFolders(dirname(path), join(store, "models"));
}

async function removeFromCache(wanted: HubFiles, { hubCache, store }: Surroundings, removal: Removal): Promise<void> {
  const folder = repoFolder(hubCache, wanted.repo);
  const snapshots = join(folder, "snapshots");
  const refs = await readRefs(folder);
  const only = wanted.revision === undefined ? undefined : (refs.get(wanted.revision) ?? wanted.revision);
  const blobs = new Set<string>();
  for (const commit of await readdir(snapshots).catch(() => [])) {
    if (only !== undefined && commit !== only) continue;
    const path = join(snapshots, commit, ...wanted.file.split("/"));
    if (!(await isInside(dirname(path), hubCache)) || (await sizeOf(path)) === undefined) continue;
    const blob = await blobOf(path, folder);
    if (wanted.sha256 !== undefined && blob !== join(folder, "blobs", wanted.sha256)) continue;
    if (blob === undefined) await removeReceipt(store, path);
    else blobs.add(blob);
    await removeFile(path, removal);
    await removeEmptyFolders(dirname(path), snapshots);
    if ((await sizeOf(join(snapshots, commit))) !== undefined) continue;
    // A branch that stands at a commit without files would be an error to other tools.
    for (const [ref, at] of refs) if (at === commit) await rm(join(folder, "refs", ref), { force: true });
  }
  for (const blob of blobs) {
    if (await isUsed(blob, folder)) continue;
    await removeReceipt(store, blob);
    await removeFile(blob, removal);
  }
  for (const empty of ["snapshots", "blobs", "refs", "."]) await rmdir(join(folder, empty)).catch(() => {});
}

/** The blob that a snapshot's link leads to directly; undefined for a file of its own. */
async function blobOf(path: string, folder: string): Promise<string | undefined> {
  const target = await readlink(path).catch(() => undefined);
  if (target === undefined) return undefined;
  const blob = resolve(dirname(path), target);
  return dirname(blob) === join(folder, "blobs") ? blob : undefined;
}

/** Whether a link in any snapshot leads there. */
async function isUsed(blob: string, folder: string): Promise<boolean> {
  for (const path of await filesBelow(join(folder, "snapshots"), /(?:)/)) {
    if ((await blobOf(path, folder)) === blob) return true;
  }
  return false;
}

async function isInside(path: string, folder: string): Promise<boolean> {
  const real = await realpath(path).catch(() => undefined);
  return real?.startsWith((await realpath(folder)) + sep) === true;
}

async function sizeOf(path: string): Promise<number | undefined> {
  const found = await lstat(path).catch(() => undefined);
  return found && (found.isFile() ? found.size : 0);
}

async function removeFile(path: string, removal: Removal): Promise<void> {
  const bytes = await sizeOf(path);
  if (bytes === undefined) return;
  await rm(path).catch((cause: NodeJS.ErrnoException) => {
    throw new ThimbleError("source_unreadable", `it cannot be removed (${cause.code})`, { file: path, cause });
  });
  removal.paths.push(path);
  removal.bytes += bytes;
}

/** From `folder` up to, but not including, `end`. */
async function removeEmptyFolders(folder: string, end: string): Promise<void> {
  for (let at = folder; at.startsWith(end + sep); at = dirname(at)) {
    const isGone = await rmdir(at).then(
      () => true,
      () => false,
    );
    if (!isGone) return;
  }
}
