/**
 * A memory budget at the one border where memory grows: the module's exports, wrapped so that those which take from the
 * arena answer 0, as they do when memory is out, before they would take more than is allowed. Whoever calls them, the
 * limit holds. What is in the arena after loading is planned beforehand (plan.ts).
 * @module
 */
import { Size } from "../assembly/memory/status.ts";
import { type MemoryPlan, regionBytes } from "./budget.ts";
import type { EngineExports } from "./exports.ts";
import type { Runtime } from "./runtime.ts";

/** What a model may have. */
export interface MemoryLimit {
  /** As the caller gave it, in bytes. */
  readonly budget: number;
  /** Most bytes of WebAssembly memory: the budget down to 64 KiB, which memory grows by. */
  readonly bytes: number;
}

/** A runtime that keeps to a limit. */
export interface LimitedRuntime {
  readonly runtime: Runtime;
  /** Bytes that the arena may still take. */
  room(): number;
}

/** The most elements of `bytes` each that one region within `room` bytes can hold. */
export function elementsWithin(room: number, bytes: number): number {
  const usable = Math.floor(room / Size.ALIGN) * Size.ALIGN - Size.ALIGN;
  return Math.max(0, Math.floor(usable / bytes));
}

/** `session` and `page` of the plan are what a session's region and a page of the pool take. */
export function limitMemory(
  runtime: Runtime,
  limit: MemoryLimit,
  { session, page, widePage }: Pick<MemoryPlan, "session" | "page" | "widePage">,
): LimitedRuntime {
  const { exports } = runtime;
  const room = (): number => limit.bytes - (exports.arenaBytes() >>> 0);
  /** Regions of closed sessions, which the next ones get. */
  let free = 0;
  const take = (open: () => number): number => {
    if (free === 0 && session > room()) return 0;
    const address = open();
    if (address !== 0 && free > 0) free -= 1;
    return address;
  };
  const limited: Partial<EngineExports> = {
    sessionOpen: () => take(() => exports.sessionOpen()),
    sessionFork: (address) => take(() => exports.sessionFork(address)),
    sessionClose(address) {
      exports.sessionClose(address);
      free += 1;
    },
    poolReserve(nFree, isWide = false) {
      const missing = nFree - exports.poolFreePages(isWide);
      const bytes = missing * (isWide ? widePage : page);
      return missing > 0 && regionBytes(bytes) > room() ? 0 : exports.poolReserve(nFree, isWide);
    },
  };
  return { runtime: { ...runtime, exports: Object.assign(Object.create(exports), limited) }, room };
}
