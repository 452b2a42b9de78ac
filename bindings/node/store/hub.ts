/**
 * A file from the hub into the shared cache. The hub is asked once what the file is (commit, SHA-256, size) before its
 * bytes come from wherever it sends us; these are then the promise that the bytes are held to.
 * @module
 */
import { join } from "node:path";
import { ThimbleError } from "../../../host/errors.ts";
import { type DownloadOptions, download, type Promised } from "./download.ts";
import { linkBlob, repoFolder } from "./hub-cache.ts";
import { withLock } from "./lock.ts";
import { dismiss, isNoNetwork, refusal, request, type Token } from "./request.ts";
import { persist, TransientError } from "./retry.ts";
import { watchStall } from "./stall.ts";
import { exists, type Fetched, type Waiting } from "./stored.ts";
import type { Surroundings } from "./surroundings.ts";

/** Longest time to look for the names of other files after one was not found. */
const LISTING_MS = 5_000;
const LISTED = 12;

/** What the hub says of a file. */
interface HubFile {
  readonly commit: string;
  /** Safe as a file name. */
  readonly etag: string;
  readonly sha256: string | undefined;
  readonly bytes: number | undefined;
}

export interface HubTask {
  /** What the user calls it. */
  readonly name: string;
  readonly repo: string;
  readonly revision: string | undefined;
  readonly file: string;
  /** From the catalog. */
  readonly promised: Promised;
}

/** @throws ThimbleError not_found, offline, download_failed, hash_mismatch, disk_full, locked; the signal's reason */
export async function fetchFromHub(
  task: HubTask,
  surroundings: Surroundings,
  options: DownloadOptions & Waiting,
): Promise<Fetched> {
  const revision = task.revision ?? "main";
  const token = tokenOf(surroundings);
  const info = await askHub(task, fileUrl(surroundings, task, revision), token, options).catch(async (error) => {
    throw await withSuggestions(error, task, surroundings, options.signal);
  });
  checkPromise(task, info);
  const promised = {
    sha256: task.promised.sha256 ?? info.sha256,
    bytes: task.promised.bytes ?? info.bytes,
  };
  const folder = repoFolder(surroundings.hubCache, task.repo);
  const final = join(folder, "blobs", info.etag);
  const partial = `${final}.thimble.incomplete`;
  const url = fileUrl(surroundings, task, info.commit);
  return withLock(`${partial}.lock`, options, async () => {
    const done = (await exists(final))
      ? undefined
      : await download({ name: task.name, url, token, promised, partial, final }, options);
    const path = await linkBlob(folder, { ...info, revision, file: task.file });
    return { path, from: `hub ${task.repo}`, promised, sha256: done?.sha256 };
  });
}

function tokenOf({ endpoint, token }: Surroundings): Token | undefined {
  return token === undefined ? undefined : { origin: new URL(endpoint).origin, value: token };
}

function fileUrl({ endpoint }: Surroundings, { repo, file }: HubTask, revision: string): URL {
  const path = file.split("/").map(encodeURIComponent).join("/");
  return new URL(`${endpoint}/${repo}/resolve/${encodeURIComponent(revision)}/${path}`);
}

async function askHub(
  task: HubTask,
  url: URL,
  token: Token | undefined,
  { signal, patience }: DownloadOptions,
): Promise<HubFile> {
  const isAnswer = (headers: Headers): boolean => headers.has("x-linked-etag") || headers.has("x-repo-commit");
  const ask = async (): Promise<HubFile> => {
    const stall = watchStall(signal, patience.stallMs);
    try {
      const response = await request(url, { method: "HEAD", token, signal: stall.signal, isAnswer });
      await dismiss(response);
      if (response.status >= 400) throw refusal(response, url, task.name);
      return readAnswer(response, url, task.name);
    } catch (error) {
      throw stall.isStalled() ? new TransientError(`${url.host} does not answer`) : error;
    } finally {
      stall.end();
    }
  };
  try {
    return await persist(ask, { patience, progress: () => 0, signal });
  } catch (error) {
    if (!(error instanceof TransientError)) throw error;
    const code = isNoNetwork(error) ? "offline" : "download_failed";
    throw new ThimbleError(code, `"${task.name}": ${error.message}`, { name: task.name, cause: error });
  }
}

function readAnswer({ headers, status }: Response, url: URL, name: string): HubFile {
  const commit = headers.get("x-repo-commit") ?? "";
  const etag = (headers.get("x-linked-etag") ?? headers.get("etag") ?? "").replace(/^W\//, "").replace(/^"|"$/g, "");
  const size = headers.get("x-linked-size") ?? (status === 200 ? headers.get("content-length") : null);
  // Both become file names.
  if (!/^[0-9a-f]{40}$/.test(commit) || !/^[A-Za-z0-9][A-Za-z0-9_-]{7,127}$/.test(etag)) {
    const message = `${url.host} does not answer as a hub does (no commit, or no usable ETag); check HF_ENDPOINT`;
    throw new ThimbleError("download_failed", message, { name });
  }
  return {
    commit,
    etag,
    sha256: /^[0-9a-f]{64}$/.test(etag) ? etag : undefined,
    bytes: size !== null && /^\d+$/.test(size) ? Number(size) : undefined,
  };
}

/** Another file than the catalog means need not be downloaded to be refused. */
function checkPromise({ name, promised }: HubTask, { sha256 }: HubFile): void {
  if (promised.sha256 === undefined || sha256 === undefined || promised.sha256 === sha256) return;
  const message = `"${name}" is not the file it should be: its SHA-256 should be ${promised.sha256} and the hub has ${sha256}`;
  throw new ThimbleError("hash_mismatch", message, { name });
}

/** Says what there is instead. */
async function withSuggestions(
  error: unknown,
  { name, repo, revision }: HubTask,
  { endpoint, token }: Surroundings,
  signal: AbortSignal | undefined,
): Promise<unknown> {
  if (!(error instanceof ThimbleError) || error.code !== "not_found" || signal?.aborted === true) return error;
  try {
    const { listFiles } = await import("@huggingface/hub");
    const limit = AbortSignal.timeout(LISTING_MS);
    const options = {
      repo,
      ...(revision === undefined ? {} : { revision }),
      hubUrl: endpoint,
      recursive: true,
      fetch: (input: string | URL | Request, init?: RequestInit) => fetch(input, { ...init, signal: limit }),
    };
    const files: string[] = [];
    for await (const { path } of listFiles(token === undefined ? options : { ...options, accessToken: token })) {
      if (/^[\w.+=/-]+\.gguf$/i.test(path)) files.push(path);
      if (files.length > LISTED) break;
    }
    if (files.length === 0) return error;
    const names = files.slice(0, LISTED).join(", ") + (files.length > LISTED ? " ..." : "");
    return new ThimbleError("not_found", `${error.message}; ${repo} has ${names}`, { name, cause: error });
  } catch {
    return error;
  }
}
