/**
 * Our runtime as a `Measurer`, on Node.
 * @module
 */
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";
import { openFile } from "../bindings/node/file-source.ts";
import { platform as node, spawnWorker } from "../bindings/node/platform.ts";
import type { KvFormName } from "../host/kv-cache.ts";
import { loadFrom } from "../host/model.ts";
import type { Platform } from "../host/platform.ts";
import { measurerOf, type OurMeasurer } from "./engine-measurer.ts";
import type { BenchVariant } from "./lib/variants.ts";

/** The wasm of the build, wherever the bench's bundle lies; run from the project's root. */
export const platform: Platform = {
  ...node,
  wasm: async (name) => new Uint8Array(await readFile(`dist/${name}.wasm`)),
  spawn: (start, onError) => spawnWorker(pathToFileURL("dist/worker.js"), start, onError),
};

/**
 * @param options.variant - default: what the host picks
 */
export async function measureOurs(options: {
  readonly model: string;
  readonly threads: number;
  readonly variant?: BenchVariant;
  /** Forms of the cache. Default f32. */
  readonly keys?: KvFormName;
  readonly values?: KvFormName;
}): Promise<OurMeasurer> {
  const { variant, threads, keys = "f32", values = "f32" } = options;
  const model = await loadFrom(platform, await openFile(options.model), {
    variant: variant ?? "auto",
    threads,
    keys,
    values,
  });
  if (model.stats.threads !== threads) throw new Error(`${model.stats.threads} threads run, not ${threads}`);
  return measurerOf(model);
}
