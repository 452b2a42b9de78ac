/**
 * Thimble on Deno: its Node-compatible file API, the module from beside this file.
 * @module
 */
import type { LoadOptions } from "../../host/load-engine.ts";
import { loadFrom, type Model } from "../../host/model.ts";
import { openLocation } from "../../host/open-location.ts";
import type { Plan } from "../../host/plan.ts";
import { planFrom, type SourcePlanOptions } from "../../host/plan-source.ts";
import type { Platform } from "../../host/platform.ts";
import type { ModelSource } from "../../host/source.ts";
import { platform as node } from "../node/platform.ts";

export * from "../../host/index.ts";

export const platform: Platform = { ...node, name: "deno" };

/** Loads a GGUF model from a path, a file: or http(s) address, bytes, a Blob or a stream. @throws ThimbleError; see `loadFrom` */
export async function loadModel(source: string | URL | ModelSource, options: LoadOptions = {}): Promise<Model> {
  return loadFrom(platform, await openLocation(platform, source, options.signal), options);
}

/**
 * What a model takes and what fits a budget, from the header alone: of a path, a file: or http(s) address, bytes, a Blob or a stream.
 *
 * @throws ThimbleError; see `planHeader`
 */
export async function plan(source: string | URL | ModelSource, options: SourcePlanOptions = {}): Promise<Plan> {
  return planFrom(await openLocation(platform, source, options.signal), options);
}
