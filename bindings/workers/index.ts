/**
 * Thimble on workerd (Cloudflare Workers and what runs like them): modules are compiled when the worker is deployed, there
 * are no threads, and an isolate has 128 MB for WebAssembly and JavaScript together (docs/hosts.md).
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
import relaxed from "./relaxed.wasm";
import relaxedProbe from "./relaxed-probe.wasm";
import simd from "./simd.wasm";

export * from "../../host/index.ts";

export const platform: Platform = {
  name: "workers",
  relaxedProbe,
  wasm: async (name) => (name === "relaxed" ? relaxed : simd),
  open: (location, signal) => openUrl(location, { signal }),
  pause: () => new Promise((resolve) => setTimeout(resolve)),
  now: () => performance.now(), // deployed workers see it move between events only
};

/** Loads a GGUF model from a URL, bytes, a Blob or a stream (the body of an R2 object). @throws ThimbleError; see `loadFrom` */
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
