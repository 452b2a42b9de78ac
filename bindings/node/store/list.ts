/**
 * What models are on this machine: the one in the package, those that Thimble downloaded, and every GGUF file in the cache
 * of the hub, whoever put it there.
 * @module
 */
import { lstat, readdir, stat } from "node:fs/promises";
import { join, relative, sep } from "node:path";
import { ThimbleError } from "../../../host/errors.ts";
import { CATALOG, type CatalogEntry, type CatalogSource } from "./catalog.ts";
import { filesBelow } from "./files-below.ts";
import { type CachedFile, openCached, promisedBy, readRefs } from "./hub-cache.ts";
import { addressOfStored, locate } from "./locate.ts";
import { canonicalName, hubLabel, parseModelName } from "./model-name.ts";
import { readOrigin } from "./partial-file.ts";
import { readReceipt } from "./receipts.ts";
import { checkStored, type Fetched } from "./stored.ts";
import { readSurroundings, type Surroundings } from "./surroundings.ts";

const GGUF = /\.gguf$/i;

/**
 * `verified`: it had the SHA-256 it should have, and has not changed since. `unchecked`: nobody has compared it yet, or
 * there is nothing to compare it to. `damaged`: it has another SHA-256. `incomplete`: the download is not finished.
 */
export type ModelState = "verified" | "unchecked" | "damaged" | "incomplete";

/** A file on this machine. */
export interface StoredModel {
  /** What `pull`, `resolveModel` and `removeModel` take. */
  readonly name: string;
  readonly path: string;
  readonly bytes: number;
  readonly state: ModelState;
  /** Where known. */
  readonly sha256: string | undefined;
  /** Where from, in words. */
  readonly from: string;
}

export interface ListOptions {
  /** Reads every file and compares its SHA-256. */
  readonly verify?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly catalog?: readonly CatalogEntry[] | undefined;
}

/** All models, by name. */
export async function listModels(options: ListOptions = {}): Promise<StoredModel[]> {
  const surroundings = await readSurroundings();
  const catalog = options.catalog ?? CATALOG;
  const models: StoredModel[] = [];
  const add = async (name: string, fetched: Fetched): Promise<void> => {
    models.push(await describe(name, fetched, surroundings, options));
  };
  for (const entry of catalog) {
    if (entry.sources.some(({ kind }) => kind === "package")) {
      const found = await locate({ kind: "catalog", entry }, surroundings);
      if (found !== undefined) await add(entry.name, found);
    }
  }
  await listStore(surroundings, catalog, add);
  await listHubCache(surroundings, catalog, add);
  models.push(...(await listIncomplete(surroundings)));
  return models.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
}

/**
 * One model, if it is on this machine. Uses no network and reads no file's contents.
 * @throws ThimbleError invalid_option, not_found for a name that is none
 */
export async function resolveModel(
  name: string,
  options: { catalog?: readonly CatalogEntry[] | undefined } = {},
): Promise<StoredModel | undefined> {
  const parsed = parseModelName(name, options.catalog);
  const surroundings = await readSurroundings();
  const found = await locate(parsed, surroundings);
  return found && describe(canonicalName(parsed), found, surroundings, {});
}

async function describe(
  name: string,
  fetched: Fetched,
  { store }: Surroundings,
  { verify, signal }: ListOptions,
): Promise<StoredModel> {
  const { path, promised } = fetched;
  const base = { name, path, bytes: (await stat(path)).size };
  const receipt = await readReceipt(store, path);
  const from = receipt?.from ?? fetched.from;
  try {
    // Small, and nobody asks for it to be pulled.
    const isUnread = fetched.from === "package" && receipt?.holds !== true;
    if (verify === true || isUnread)
      await checkStored(store, { path, from, promised, sha256: undefined }, { signal, again: true });
  } catch (error) {
    if (!(error instanceof ThimbleError) || error.code !== "hash_mismatch") throw error;
    return { ...base, state: "damaged", sha256: undefined, from };
  }
  const current = await readReceipt(store, path);
  if (current?.holds !== true) return { ...base, state: "unchecked", sha256: undefined, from };
  const { sha256, isVerified } = current;
  if (promised.sha256 !== undefined && promised.sha256 !== sha256) return { ...base, state: "damaged", sha256, from };
  return { ...base, state: isVerified ? "verified" : "unchecked", sha256, from };
}

type Add = (name: string, fetched: Fetched) => Promise<void>;

async function listStore({ store }: Surroundings, catalog: readonly CatalogEntry[], add: Add): Promise<void> {
  const models = join(store, "models");
  for (const path of await filesBelow(models, GGUF)) {
    const parts = relative(models, path).split(sep);
    const [kind, name = "", file] = parts;
    const entry = kind === "catalog" ? catalog.find((one) => one.name === name && one.file === file) : undefined;
    if (kind === "catalog" && entry === undefined) continue;
    const promised = { sha256: entry?.sha256, bytes: entry?.bytes };
    const from = entry === undefined ? addressOfStored(parts) : "catalog";
    await add(entry?.name ?? from, { path, from, promised, sha256: undefined });
  }
}

async function listHubCache({ hubCache }: Surroundings, catalog: readonly CatalogEntry[], add: Add): Promise<void> {
  for (const { repo, file, cached, revision } of await cachedFiles(hubCache)) {
    const sha256 = promisedBy(cached);
    const isFromHere = (one: CatalogSource): boolean => one.kind === "hub" && one.repo === repo && one.file === file;
    const entry = catalog.find((one) => one.sha256 === sha256 && one.sources.some(isFromHere));
    const name = entry?.name ?? hubLabel(repo, revision, file);
    const promised = { sha256, bytes: cached.bytes };
    await add(name, { path: cached.path, from: `hub ${repo}`, promised, sha256: undefined });
  }
}

interface CachedEntry {
  readonly repo: string;
  readonly file: string;
  /** Undefined for what the name without a revision means. */
  readonly revision: string | undefined;
  readonly cached: CachedFile;
}

/** Every GGUF file of every snapshot; links that lead out of the cache are left out. */
async function cachedFiles(cache: string): Promise<CachedEntry[]> {
  const entries: CachedEntry[] = [];
  for (const { folder, repo } of await repoFolders(cache)) {
    const main = (await readRefs(folder)).get("main");
    const snapshots = join(folder, "snapshots");
    const commits = await readdir(snapshots).catch(() => []);
    for (const commit of commits) {
      const isMain = main === undefined ? commits.length === 1 : commit === main;
      for (const path of await filesBelow(join(snapshots, commit), GGUF)) {
        const file = relative(join(snapshots, commit), path).split(sep).join("/");
        const cached = await openCached(cache, folder, commit, file).catch(() => undefined);
        if (cached !== undefined) entries.push({ repo, file, revision: isMain ? undefined : commit, cached });
      }
    }
  }
  return entries;
}

async function repoFolders(cache: string): Promise<{ folder: string; repo: string }[]> {
  const names = await readdir(cache).catch(() => []);
  return names
    .filter((name) => name.startsWith("models--"))
    .map((name) => ({ folder: join(cache, name), repo: name.slice("models--".length).replace("--", "/") }));
}

/** Downloads that were cut off, or are going on. */
export async function listIncomplete({ store, hubCache }: Surroundings): Promise<StoredModel[]> {
  const ending = /\.incomplete$/;
  const paths = await filesBelow(join(store, "models"), ending);
  for (const { folder } of await repoFolders(hubCache))
    paths.push(...(await filesBelow(join(folder, "blobs"), ending, 0)));
  const found: StoredModel[] = [];
  for (const path of paths) {
    const origin = await readOrigin(path);
    const size = (await lstat(path).catch(() => undefined))?.size;
    if (origin === undefined || size === undefined) continue;
    found.push({ name: origin.name, path, bytes: size, state: "incomplete", sha256: undefined, from: origin.address });
  }
  return found;
}
