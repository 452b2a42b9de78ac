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
import { chooseVariant, type Variant, type VariantChoice } from "./variant.ts";

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

/** @throws ThimbleError unsupported_runtime where WebAssembly SIMD, or the variant asked for, does not run */
export async function createRuntime(platform: Platform, choice: VariantChoice = "auto"): Promise<Runtime> {
  const variant = chooseVariant(choice, platform.name);
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
