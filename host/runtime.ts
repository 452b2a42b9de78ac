/**
 * One WebAssembly instance: instantiation, views of its memory, and status codes turned into typed errors.
 * The only file that knows `@assemblyscript/loader`.
 * @module
 */
import { instantiate } from "@assemblyscript/loader";
import { Status } from "../assembly/memory/status.ts";
import { ThimbleError, type ThimbleErrorCode } from "./errors.ts";
import type { EngineExports } from "./exports.ts";
import type { Platform, Variant } from "./platform.ts";

export interface Runtime {
  readonly variant: Variant;
  readonly exports: EngineExports;
  /** Views of `n` elements at a byte address; taken anew each time, since growing memory detaches old ones. */
  bytes(address: number, n: number): Uint8Array;
  floats(address: number, n: number): Float32Array;
  words(address: number, n: number): Uint32Array;
  /** @throws ThimbleError unless the status is OK */
  check(status: Status, what: string): void;
}

const FAILURES: Readonly<Record<number, readonly [ThimbleErrorCode, string]>> = {
  [Status.OUT_OF_MEMORY]: ["out_of_memory", "WebAssembly memory could not grow"],
  [Status.TOO_MANY_ROWS]: ["internal", "more rows or outputs than the run state has room for"],
  [Status.BAD_POSITION]: ["internal", "a row is not at its session's next position"],
  [Status.BAD_TOKEN]: ["invalid_option", "a token id is outside the vocabulary"],
  [Status.NO_PAGE]: ["internal", "no page of the cache was reserved"],
  [Status.BAD_ARGUMENT]: ["internal", "an argument the engine does not know"],
};

/** A module of one function that returns an i8x16.splat: validates exactly where SIMD works. */
const SIMD_PROBE = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 15, 11,
]);

/** @throws ThimbleError unsupported_runtime where WebAssembly SIMD is missing */
export async function createRuntime(platform: Platform): Promise<Runtime> {
  if (!WebAssembly.validate(SIMD_PROBE)) {
    throw new ThimbleError("unsupported_runtime", `WebAssembly SIMD is missing on this ${platform.name} host`);
  }
  const variant: Variant = "simd";
  const { exports } = await instantiate<EngineExports & Record<string, unknown>>(await platform.wasm(variant), {});
  exports.arenaStart();
  return {
    variant,
    exports,
    bytes: (address, n) => new Uint8Array(exports.memory.buffer, address >>> 0, n),
    floats: (address, n) => new Float32Array(exports.memory.buffer, address >>> 0, n),
    words: (address, n) => new Uint32Array(exports.memory.buffer, address >>> 0, n),
    check(status, what) {
      if (status === Status.OK) return;
      const [code, message] = FAILURES[status] ?? ["internal", `status ${status}`];
      throw new ThimbleError(code, `${what}: ${message}`);
    },
  };
}
