/**
 * Thimble in a page or worker: models from a URL (streamed), a Blob, bytes or a stream; the module from beside this file.
 * @module
 */
import { openUrl } from "../../host/http-source.ts";
import type { LoadOptions } from "../../host/load-engine.ts";
import { loadFrom, type Model } from "../../host/model.ts";
import { openLocation } from "../../host/open-location.ts";
import type { Plan } from "../../host/plan.ts";
import { planFrom, type SourcePlanOptions } from "../../host/plan-source.ts";
import type { Platform } from "../../host/platform.ts";
import type { ModelSource } from "../../host/source.ts";
import type { ModuleName } from "../../host/variant.ts";
import { fetchModule } from "./fetch-module.ts";
import { pause } from "./pause.ts";

export * from "../../host/index.ts";

/** Written out, so that bundlers find the files. */
const MODULES: Readonly<Record<ModuleName, () => URL>> = {
  simd: () => new URL("./simd.wasm", import.meta.url),
  relaxed: () => new URL("./relaxed.wasm", import.meta.url),
  "simd-threads": () => new URL("./simd-threads.wasm", import.meta.url),
  "relaxed-threads": () => new URL("./relaxed-threads.wasm", import.meta.url),
};

export const platform: Platform = {
  name: "browser",
  wasm: (name) => fetchModule(MODULES[name]()),
  spawn(start, onError) {
    const worker = new Worker(new URL("./browser-worker.js", import.meta.url), { type: "module" });
    worker.addEventListener("error", onError);
    worker.postMessage(start);
    return worker;
  },
  open: (location, signal) => openUrl(location, { signal }),
  pause,
  now: () => performance.now(),
};

/** Loads a GGUF model from a URL, bytes, a Blob or a stream. @throws ThimbleError; see `loadFrom` */
export async function loadModel(source: string | URL | ModelSource, options: LoadOptions = {}): Promise<Model> {
  return loadFrom(platform, await openLocation(platform, source, options.signal), options);
}

/**
 * What a model takes and what fits a budget, from the header alone: of a URL, bytes, a Blob or a stream.
 *
 * @throws ThimbleError; see `planHeader`
 */
export async function plan(source: string | URL | ModelSource, options: SourcePlanOptions = {}): Promise<Plan> {
  return planFrom(await openLocation(platform, source, options.signal), options);
}
