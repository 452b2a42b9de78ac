/**
 * Thimble for pages: the model computes in a worker, and the page stays free. This side is a few kilobytes; the engine, the
 * tokenizer and the rest are in model-worker.js.
 * @module
 */
import { type InWorkerOptions, loadPageModel, type PageModel } from "../../host/remote/page-model.ts";
import type { ModelSource } from "../../host/source.ts";

export { type CacheMap, MAP_FORMS } from "../../host/cache-map.ts";
export type { ChatMessage } from "../../host/chat.ts";
export { ThimbleError, type ThimbleErrorCode, type ThimbleErrorDetails } from "../../host/errors.ts";
export type { Forgotten } from "../../host/forgotten.ts";
export type { GenerateOptions, Generation, GenerationResult } from "../../host/generation.ts";
export type { LoadOptions } from "../../host/load-engine.ts";
export type { ModelStats } from "../../host/model.ts";
export type { InWorkerOptions, PageModel } from "../../host/remote/page-model.ts";
export type { PageSession } from "../../host/remote/page-session.ts";
export type { WorkerLike } from "../../host/remote/worker-line.ts";
export type { Prompt, SessionStats } from "../../host/session.ts";
export type { ModelSource } from "../../host/source.ts";
export type { SessionOptions } from "../../host/token-turn.ts";
export { type KeepOptions, keptModel, removeKept } from "./kept-model.ts";

/**
 * Loads a model in a worker of its own, from an address, a Blob or bytes.
 *
 * @example
 * const model = await loadInWorker("models/thimble-15m.Q4_0.gguf");
 * const session = await model.session();
 * for await (const piece of session.generate("Hello!")) document.body.append(piece);
 *
 * @throws ThimbleError as `loadModel`; worker_ended, unsupported_runtime where there is no worker
 */
export async function loadInWorker(
  source: string | URL | ModelSource,
  options: InWorkerOptions = {},
): Promise<PageModel> {
  const { makeWorker = modelWorker, ...rest } = options;
  const isLocation = typeof source === "string" || source instanceof URL;
  // An address is the page's, not the worker script's.
  return loadPageModel(makeWorker, isLocation ? new URL(source, document.baseURI).href : source, rest);
}

function modelWorker(): Worker {
  return new Worker(new URL("./model-worker.js", import.meta.url), { type: "module" });
}
