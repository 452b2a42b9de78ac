/**
 * What comes before the core, which takes a header and a byte source: opening files, reading a GGUF header, planning memory.
 * @module
 */
export { ThimbleError, type ThimbleErrorCode, type ThimbleErrorDetails } from "./errors.ts";
export { readHeader } from "./gguf.ts";
export type { GgufHeader, TensorInfo } from "./header.ts";
export { LADDER, type Peaks, type Plan, type PlannedLoad, type PlanOptions, planHeader, type Rung } from "./plan.ts";
export { plan, planFrom, type SourcePlanOptions } from "./plan-source.ts";
export type { ByteSource, ModelSource } from "./source.ts";
export { openSource } from "./sources.ts";
