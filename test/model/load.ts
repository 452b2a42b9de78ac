/** Loading models in tests: the Node platform with the WebAssembly module of the build, found from the project's root. */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { openFile } from "../../bindings/node/file-source.ts";
import { platform as node, spawnWorker } from "../../bindings/node/platform.ts";
import type { LoadOptions } from "../../host/load-engine.ts";
import { loadFrom, type Model } from "../../host/model.ts";
import type { Platform } from "../../host/platform.ts";
import type { ModelSource } from "../../host/source.ts";
import { openSource } from "../../host/sources.ts";

export const DEFAULT_MODEL = "models/thimble-15m.Q4_0.gguf";

const modules = new Map<string, Uint8Array<ArrayBuffer>>();

export const platform: Platform = {
  ...node,
  async wasm(name) {
    const module = modules.get(name) ?? new Uint8Array(readFileSync(`dist/${name}.wasm`));
    modules.set(name, module);
    return module;
  },
  // Not beside the test's bundle.
  spawn: (start, onError) => spawnWorker(new URL(`file://${resolve("dist/worker.js")}`), start, onError),
};

export async function load(source: string | ModelSource, options?: LoadOptions): Promise<Model> {
  return loadFrom(platform, typeof source === "string" ? await openFile(source) : openSource(source), options);
}

/** The logits of every row of `ids` in a fresh session, [ids.length][vocabSize], fed in chunks. */
export function allLogits(model: Model, ids: readonly number[], chunk: number): Float32Array {
  const { engine } = model;
  const { vocabSize } = model.config;
  const out = new Float32Array(ids.length * vocabSize);
  const session = engine.openSession();
  for (let at = 0; at < ids.length; at += chunk) {
    const rows = ids.slice(at, at + chunk).map((input, i) => ({ session, input, position: at + i, logits: true }));
    model.forward(rows);
    rows.forEach((row, i) => {
      out.set(engine.logits(i), row.position * vocabSize);
    });
  }
  engine.runtime.exports.sessionClose(session);
  return out;
}

/** The bits of f32 values, for comparisons that must not forgive anything. */
export function bits(values: Float32Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length);
}

/** True when all bits agree; a deep-equal over a million numbers takes uvu seconds. */
export function sameBits(a: Float32Array, b: Float32Array): boolean {
  const x = bits(a);
  const y = bits(b);
  return x.length === y.length && x.every((word, i) => word === y[i]);
}

/** Index of the highest value, the lowest where equal. */
export function argmax(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; ++i) if (values[i]! > values[best]!) best = i;
  return best;
}

/** Token ids that look random and are the same everywhere: a 32-bit linear congruential generator. */
export function randomIds(n: number, vocabSize: number, seed = 1): number[] {
  let state = seed >>> 0;
  return Array.from({ length: n }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * vocabSize);
  });
}
