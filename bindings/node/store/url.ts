/**
 * A file from any https address into Thimble's own store.
 * @module
 */
import { type DownloadOptions, download, type Promised } from "./download.ts";
import { withLock } from "./lock.ts";
import { exists, type Fetched, type Waiting } from "./stored.ts";

export interface UrlTask {
  /** What the user calls it. */
  readonly name: string;
  readonly url: URL;
  readonly promised: Promised;
  /** Where it is to lie. */
  readonly final: string;
}

/** @throws ThimbleError not_found, offline, download_failed, hash_mismatch, disk_full, locked; the signal's reason */
export async function fetchFromUrl(task: UrlTask, options: DownloadOptions & Waiting): Promise<Fetched> {
  const partial = `${task.final}.incomplete`;
  const from = task.url.origin + task.url.pathname;
  return withLock(`${partial}.lock`, options, async () => {
    const done = (await exists(task.final))
      ? undefined
      : await download({ ...task, token: undefined, partial }, options);
    return { path: task.final, from, promised: task.promised, sha256: done?.sha256 };
  });
}
