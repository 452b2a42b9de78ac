/**
 * Node: files through `node:fs`, http(s) addresses through `fetch`, the module from beside this file. Bun and other hosts
 * with Node's API work the same way.
 * @module
 */
import { readFile } from "node:fs/promises";
import { Worker } from "node:worker_threads";
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

export const platform: Platform = {
  name: "node",
  wasm: async (name) => new Uint8Array(await readFile(new URL(`./${name}.wasm`, import.meta.url))),
  spawn: (start, onError) => spawnWorker(new URL("./worker.js", import.meta.url), start, onError),
  open: (location, signal) => (/^https?:\/\//i.test(location) ? openUrl(location, { signal }) : openFile(location)),
  pause: () => new Promise((resolve) => setImmediate(resolve)),
  now: () => performance.now(),
};
