/**
 * What differs between hosts, and nothing else. A binding builds one; the core never sniffs where it runs.
 * @module
 */
import type { WasmModule } from "./host-types.ts";
import type { ByteSource } from "./source.ts";
import type { WorkerHandle, WorkerStart } from "./threads.ts";
import type { ModuleName } from "./variant.ts";

export interface Platform {
  /** "node", "deno", "browser" ...; shown in stats. */
  readonly name: string;
  /** A WebAssembly module of the build, as bytes, a compiled module, or a response that streams it. */
  wasm(name: ModuleName): Promise<ArrayBufferView<ArrayBuffer> | ArrayBuffer | WasmModule | Response>;
  /** relaxed-probe.wasm, on a host that compiles no module at run time. */
  readonly relaxedProbe?: WasmModule;
  /** Starts a worker; `onError` when it cannot begin or dies. Absent where a host has none. */
  spawn?(start: WorkerStart, onError: () => void): WorkerHandle;
  /** Opens what only this host understands: a path, a URL. */
  open(location: string, signal?: AbortSignal): Promise<ByteSource>;
  /** Lets the host's event loop run once (input, timers, aborts) between two pieces of work. */
  pause(): Promise<void>;
  /** Milliseconds of a steady clock. */
  now(): number;
}
