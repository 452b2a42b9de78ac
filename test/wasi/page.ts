/**
 * The command in a page: @bjorn3/browser_wasi_shim stands in for WASI, files are bytes, nothing of the library takes part.
 * @module
 */
import { ConsoleStdout, File, OpenFile, PreopenDirectory, WASI } from "@bjorn3/browser_wasi_shim";

declare global {
  var runCommand: (args: readonly string[], stdin: string) => Promise<{ code: number; stdout: string; stderr: string }>;
}

async function fetched(path: string): Promise<ArrayBuffer> {
  return (await fetch(path)).arrayBuffer();
}

globalThis.runCommand = async (args, stdin) => {
  const output = { stdout: "", stderr: "" };
  const sink = (name: "stdout" | "stderr"): ConsoleStdout => {
    const decoder = new TextDecoder();
    return new ConsoleStdout((bytes) => {
      output[name] += decoder.decode(bytes, { stream: true });
    });
  };
  const model = new File(await fetched("/model.thimble"));
  const descriptors = [
    new OpenFile(new File(new TextEncoder().encode(stdin))),
    sink("stdout"),
    sink("stderr"),
    new PreopenDirectory("/models", new Map([["model.thimble", model]])),
  ];
  const wasi = new WASI(["thimble.wasm", ...args], [], descriptors);
  const { instance } = await WebAssembly.instantiate(await fetched("/thimble.wasm"), {
    wasi_snapshot_preview1: wasi.wasiImport,
  });
  const code = wasi.start(instance as Parameters<WASI["start"]>[0]);
  return { code, ...output };
};
