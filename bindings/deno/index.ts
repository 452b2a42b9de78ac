/**
 * Thimble on Deno: its Node-compatible file API, the module from beside this file.
 * @module
 */
import type { LoadOptions } from "../../host/load-engine.ts";
import { loadFrom, type Model } from "../../host/model.ts";
import type { Platform } from "../../host/platform.ts";
import type { ModelSource } from "../../host/source.ts";
import { openSource } from "../../host/sources.ts";
import { platform as node } from "../node/platform.ts";

export * from "../../host/index.ts";

export const platform: Platform = { ...node, name: "deno" };

/** Loads a GGUF model from a path or an http(s) address, bytes, a Blob or a stream. @throws ThimbleError; see `loadFrom` */
export async function loadModel(source: string | ModelSource, options: LoadOptions = {}): Promise<Model> {
  const opened = typeof source === "string" ? await platform.open(source, options.signal) : openSource(source);
  return loadFrom(platform, opened, options);
}
