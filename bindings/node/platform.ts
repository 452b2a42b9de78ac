/**
 * Node: files through `node:fs`, http(s) addresses through `fetch`, the module from beside this file. Bun and
 * Deno have the same API.
 * @module
 */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { ThimbleError } from "../../host/errors.ts";
import { openUrl } from "../../host/http-source.ts";
import type { Platform } from "../../host/platform.ts";
import type { WorkerHandle, WorkerStart } from "../../host/threads.ts";
import { openFile } from "./file-source.ts";

/** A thread that does not keep the process alive; `file` is the bundle of worker.ts. */
export function spawnWorker(file: URL, workerData: WorkerStart, onError: () => void): WorkerHandle {
  const worker = new Worker(file, { workerData });
  worker.on("error", onError);
  worker.unref();
  const ended = new Promise<void>((resolve) => worker.on("exit", () => resolve()));
  return { terminate: () => void worker.terminate(), ended };
}

function notDeployed(cause: NodeJS.ErrnoException): never {
  const message = "the WebAssembly module is not beside the script; a bundle needs it copied from the package's dist";
  throw new ThimbleError("wasm_unreadable", message, { ...(cause.path && { file: cause.path }), cause });
}

export const platform: Platform = {
  name: "node",
  wasm: async (name) => new Uint8Array(await readFile(new URL(`./${name}.wasm`, import.meta.url)).catch(notDeployed)),
  spawn: (start, onError) => spawnWorker(new URL("./worker.js", import.meta.url), start, onError),
  open: (location, signal) => {
    if (/^https?:\/\//i.test(location)) return openUrl(location, { signal });
    return openFile(/^file:\/\//i.test(location) ? fileURLToPath(location) : location);
  },
  pause: () => new Promise((resolve) => setImmediate(resolve)),
  now: () => performance.now(),
};
