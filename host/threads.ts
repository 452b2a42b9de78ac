/**
 * Workers that compute with the caller over one shared memory: how many a host can give, their start, and their end.
 * assembly/thread/pool.ts is the other side.
 * @module
 */
import type { EngineExports } from "./exports.ts";
import type { WasmMemory, WasmModule } from "./host-types.ts";
import type { Platform } from "./platform.ts";

/** What a worker needs: it instantiates the module over the memory and calls `work(part)`, which returns at the end. */
export interface WorkerStart {
  readonly module: WasmModule;
  readonly memory: WasmMemory;
  readonly part: number;
}

export interface WorkerHandle {
  /** Ends the worker whatever it does. */
  terminate(): void;
  /** Settles when it has ended, where the host can tell. */
  readonly ended?: Promise<void>;
}

/** Milliseconds that workers have to begin. */
const START_MS = 10_000;

/** Whether shared memory and workers are there: pages need cross-origin isolation for it. */
export function canShare(platform: Platform): boolean {
  if (platform.spawn === undefined || typeof SharedArrayBuffer === "undefined") return false;
  return (globalThis as { crossOriginIsolated?: boolean }).crossOriginIsolated !== false;
}

/** Whether this thread may sleep: a page's main thread may not. */
function maySleep(): boolean {
  try {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 1, 0);
    return true;
  } catch {
    return false;
  }
}

/**
 * Starts parts 1 .. n - 1 and waits until all of them wait for work. Undefined, and none left running, where the host
 * refuses one or they do not begin in time: one thread computes alone then.
 */
export async function startWorkers(
  platform: Platform,
  exports: EngineExports,
  start: Omit<WorkerStart, "part">,
  n: number,
): Promise<readonly WorkerHandle[] | undefined> {
  const handles: WorkerHandle[] = [];
  exports.letCallerSleep(maySleep() ? 1 : 0);
  let isRefused = false;
  const refuse = (): void => {
    isRefused = true;
  };
  try {
    for (let part = 1; part < n; ++part) handles.push(platform.spawn!({ ...start, part }, refuse));
    const end = platform.now() + START_MS;
    while (!isRefused && exports.workersReady() < n - 1 && platform.now() < end) await platform.pause();
    if (!isRefused && exports.workersReady() === n - 1) return handles;
  } catch {
    // Content policies and quotas refuse workers by throwing.
  }
  for (const handle of handles) handle.terminate();
  return undefined;
}
