/**
 * One WebAssembly instance: instantiation, views of its memory, and status codes turned into typed errors.
 * The only file that knows `@assemblyscript/loader`.
 * @module
 */
import { instantiate } from "@assemblyscript/loader";
import { Status } from "../assembly/memory/status.ts";
import { ThimbleError, type ThimbleErrorCode } from "./errors.ts";
import type { EngineExports } from "./exports.ts";
import type { Platform } from "./platform.ts";
import { canShare, startWorkers, type WorkerHandle } from "./threads.ts";
import { chooseVariant, type Variant, type VariantChoice } from "./variant.ts";

export interface Runtime {
  readonly variant: Variant;
  /** Threads the instance was made for; `startThreads` says how many there are. */
  readonly maximumThreads: number;
  readonly exports: EngineExports;
  memoryBytes(): number;
  /** Starts the other threads, after the layout; returns how many compute. */
  startThreads(): Promise<number>;
  /** Lets the other threads end. */
  close(): void;
  /** Views of `n` elements at a byte address; taken anew each time, since growing memory detaches old ones. */
  bytes(address: number, n: number): Uint8Array;
  floats(address: number, n: number): Float32Array;
  words(address: number, n: number): Uint32Array;
  /** @throws ThimbleError unless the status is OK */
  check(status: Status, what: string): void;
}

const FAILURES: Readonly<Record<number, readonly [ThimbleErrorCode, string]>> = {
  [Status.OUT_OF_MEMORY]: ["out_of_memory", "WebAssembly memory could not grow"],
  [Status.TOO_MANY_ROWS]: ["internal", "too many rows or outputs"],
  [Status.BAD_POSITION]: ["internal", "a row is not at its session's next position"],
  [Status.BAD_TOKEN]: ["invalid_option", "a token id is outside the vocabulary"],
  [Status.NO_PAGE]: ["internal", "no page was reserved"],
  [Status.BAD_ARGUMENT]: ["internal", "an argument the engine does not know"],
};

/** What is asked of an instance. */
export interface RuntimeOptions {
  readonly variant?: VariantChoice;
  /** Threads that shall compute, the caller among them; 1 where the host cannot share memory. Default 1. */
  readonly threads?: number;
  /** With threads: bytes the memory may ever have, since shared memory is reserved at once. */
  readonly maximumBytes?: number;
}

const PAGE = 65_536;

/** @throws ThimbleError unsupported_runtime where WebAssembly SIMD, or the variant asked for, does not run */
export async function createRuntime(platform: Platform, options: RuntimeOptions = {}): Promise<Runtime> {
  const variant = chooseVariant(options.variant ?? "auto", platform);
  const wanted = canShare(platform) ? (options.threads ?? 1) : 1;
  const shared = wanted > 1 ? await shareable(platform, variant, options.maximumBytes ?? 2 ** 32) : undefined;
  const { exports } = await instantiate<EngineExports & Record<string, unknown>>(
    shared?.module ?? (await platform.wasm(variant)),
    shared === undefined ? {} : { env: { memory: shared.memory } },
  ).catch(memoryRefused);
  const memory = shared?.memory ?? exports.memory;
  exports.arenaStart();
  let workers: readonly WorkerHandle[] = [];
  return {
    variant,
    maximumThreads: shared === undefined ? 1 : wanted,
    exports,
    memoryBytes: () => memory.buffer.byteLength,
    async startThreads() {
      if (shared === undefined) return 1;
      const started = await startWorkers(platform, exports, shared, wanted);
      workers = started ?? [];
      return workers.length + 1;
    },
    close() {
      if (shared !== undefined) exports.stopWorkers(wanted);
      workers = [];
    },
    bytes: (address, n) => new Uint8Array(memory.buffer, address >>> 0, n),
    floats: (address, n) => new Float32Array(memory.buffer, address >>> 0, n),
    words: (address, n) => new Uint32Array(memory.buffer, address >>> 0, n),
    check(status, what) {
      if (status === Status.OK) return;
      const [code, message] = FAILURES[status] ?? ["internal", `status ${status}`];
      throw new ThimbleError(code, `${what}: ${message}`);
    },
  };
}

/** The module and the memory that workers share with the caller; undefined where the host refuses that memory. */
async function shareable(
  platform: Platform,
  variant: Variant,
  maximumBytes: number,
): Promise<{ module: WebAssembly.Module; memory: WebAssembly.Memory } | undefined> {
  const source = await platform.wasm(`${variant}-threads`);
  const maximum = Math.min(PAGE, Math.ceil(maximumBytes / PAGE));
  const module = await compile(source);
  try {
    return { module, memory: new WebAssembly.Memory({ initial: 1, maximum, shared: true }) };
  } catch {
    return undefined; // its maximum is reserved at once, which some hosts refuse; one thread needs no such memory
  }
}

/** Even one page: what engines throw where they have no address space, or the process no memory. */
function memoryRefused(cause: unknown): never {
  if (!(cause instanceof RangeError)) throw cause;
  const message = "the host gives no WebAssembly memory; close other models, pages or workers";
  throw new ThimbleError("out_of_memory", message, { cause });
}

async function compile(source: BufferSource | WebAssembly.Module | Response): Promise<WebAssembly.Module> {
  if (source instanceof WebAssembly.Module) return source;
  return WebAssembly.compile("arrayBuffer" in source ? await source.arrayBuffer() : source);
}
