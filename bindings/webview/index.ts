/**
 * Thimble in the web view of an app (WKWebView, Android WebView): as in a page, but one thread and no shared memory, since
 * nobody can send the headers for it there, and memory that starts small and has no maximum (docs/hosts.md).
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
import { fetchModule } from "../browser/fetch-module.ts";
import { pause } from "../browser/pause.ts";

export * from "../../host/index.ts";
export type { PageModel } from "../../host/remote/page-model.ts";
export type { PageSession } from "../../host/remote/page-session.ts";
export { type KeepOptions, keptModel, removeKept } from "../browser/kept-model.ts";
export { loadInWorker } from "../browser/page.ts";
export { type AppWatcher, MEMORY_WARNING, watchApp } from "./watch-app.ts";

/** Written out, so that bundlers find the files. */
const SIMD = () => new URL("./simd.wasm", import.meta.url);
const RELAXED = () => new URL("./relaxed.wasm", import.meta.url);

export const platform: Platform = {
  name: "webview",
  wasm: (name) => fetchModule(name === "relaxed" ? RELAXED() : SIMD()),
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
