/**
 * The command under `node:wasi`: for hosts of Node that want it, and for trying it out. The command itself needs no JavaScript.
 *
 * `node:wasi` offers its functions to V8 as fast calls, and one made beside a garbage collection ends the whole process
 * (https://github.com/nodejs/node/issues/46777, #53087, open); a plain function around each keeps V8 from that. The npm package
 * `wasi` is not used: it is an abandoned native addon for an older WASI (docs/wasi.md).
 * @module
 */
import { readFile } from "node:fs/promises";
import { WASI, type WASIOptions } from "node:wasi";

export interface CommandOptions {
  /** What follows the command's name. */
  readonly args: readonly string[];
  /** Folders that it sees, by the names that it sees. Default: none. */
  readonly preopens?: Readonly<Record<string, string>>;
  /** File descriptors. Default 0, 1, 2. */
  readonly stdin?: number;
  readonly stdout?: number;
  readonly stderr?: number;
  /** The command. Default: thimble.wasm beside this file. */
  readonly wasm?: BufferSource | WebAssembly.Module;
}

type Imported = (...values: (number | bigint)[]) => number;

/** Runs the command to its end and gives its exit code. The thread is busy until then. */
export async function runCommand(options: CommandOptions): Promise<number> {
  const { args, preopens = {}, stdin, stdout, stderr } = options;
  const wasm = options.wasm ?? (await readFile(new URL("./thimble.wasm", import.meta.url)));
  const descriptors = Object.entries({ stdin, stdout, stderr }).filter(([, fd]) => fd !== undefined);
  const settings = { version: "preview1", args: ["thimble.wasm", ...args], preopens, returnOnExit: true };
  const wasi = new WASI({ ...settings, ...Object.fromEntries(descriptors) } as WASIOptions);
  const functions = Object.entries(wasi.wasiImport as Record<string, Imported>).map(([name, run]) => [
    name,
    (...values: (number | bigint)[]) => run(...values),
  ]);
  const module = wasm instanceof WebAssembly.Module ? wasm : await WebAssembly.compile(wasm);
  const instance = await WebAssembly.instantiate(module, { wasi_snapshot_preview1: Object.fromEntries(functions) });
  return wasi.start(instance) as unknown as number;
}
