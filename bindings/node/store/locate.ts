/**
 * Where a model is, or is to be, on this machine. Asks nobody else.
 *
 *     $XDG_CACHE_HOME/thimble/models/catalog/NAME/FILE      a model of the catalog that did not come from the hub
 *     $XDG_CACHE_HOME/thimble/models/https/HOST/PATH/FILE   a file from any address, its parts percent-encoded
 *     $HF_HOME/hub/models--org--name/...                    files of the hub (hub-cache.ts)
 * @module
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { CatalogEntry, HubSource } from "./catalog.ts";
import { type CachedFile, findCached, promisedBy } from "./hub-cache.ts";
import { canonicalName, type ModelName } from "./model-name.ts";
import { exists, type Fetched } from "./stored.ts";
import type { Surroundings } from "./surroundings.ts";

/** The model in the package, from dist/. */
const EMBEDDED = "../models/";

/** Where a file lies that is not the hub's. */
export function storePath(store: string, name: Exclude<ModelName, { kind: "hub" }>): string {
  const models = join(store, "models");
  if (name.kind === "catalog") return join(models, "catalog", name.entry.name, name.entry.file);
  const { protocol, host, pathname } = name.url;
  const parts = [host, ...pathname.slice(1).split("/")].map((part) => encodeURIComponent(decode(part)));
  return join(models, protocol.slice(0, -1), ...parts);
}

/** The reverse, for files from addresses: `parts` are those below models/. */
export function addressOfStored([scheme, ...parts]: readonly string[]): string {
  const [host = "", ...path] = parts.map(decode);
  return `${scheme}://${host}/${path.map(encodeURIComponent).join("/")}`;
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function packagePath({ file }: CatalogEntry): string {
  return fileURLToPath(new URL(EMBEDDED + file, import.meta.url));
}

/**
 * The file, if it is on this machine.
 * @throws ThimbleError source_unreadable for a link that leads out of the cache
 */
export async function locate(name: ModelName, { store, hubCache }: Surroundings): Promise<Fetched | undefined> {
  if (name.kind === "hub") {
    const cached = await findCached(hubCache, name);
    return cached && fromCache(cached, name.repo, promisedBy(cached));
  }
  const path = storePath(store, name);
  if (await exists(path)) return { path, from: canonicalName(name), promised: promiseOf(name), sha256: undefined };
  if (name.kind === "url") return undefined;
  for (const source of name.entry.sources) {
    const found = source.kind === "hub" ? await locateOnHub(source, name.entry, hubCache) : undefined;
    if (found !== undefined) return found;
    const inPackage = source.kind === "package" ? packagePath(name.entry) : undefined;
    if (inPackage === undefined || !(await exists(inPackage))) continue;
    return { path: inPackage, from: "package", promised: promiseOf(name), sha256: undefined };
  }
  return undefined;
}

/** The file of a catalog entry, at any revision, as long as it is the same file. */
async function locateOnHub(source: HubSource, entry: CatalogEntry, cache: string): Promise<Fetched | undefined> {
  for (const revision of [source.revision, undefined]) {
    const cached = await findCached(cache, { repo: source.repo, file: source.file, revision });
    if (cached === undefined || (promisedBy(cached) ?? entry.sha256) !== entry.sha256) continue;
    if (cached.bytes === entry.bytes) return fromCache(cached, source.repo, entry.sha256);
  }
  return undefined;
}

function fromCache({ path, bytes }: CachedFile, repo: string, sha256: string | undefined): Fetched {
  return { path, from: `hub ${repo}`, promised: { sha256, bytes }, sha256: undefined };
}

function promiseOf(name: ModelName) {
  if (name.kind !== "catalog") return { sha256: undefined, bytes: undefined };
  return { sha256: name.entry.sha256, bytes: name.entry.bytes };
}
