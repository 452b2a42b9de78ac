/**
 * The core alone: ids in, ids out. No GGUF parser, tokenizer or templates: the caller brings a header and a byte source
 * (files.ts, or a header kept from an earlier run and a `ByteSource` of the caller's) and a vocabulary.
 * @module
 */
export type { Architecture } from "./architecture.ts";
export type { MemoryPlan, PromptOrder, RunSizes } from "./budget.ts";
export { planMemory } from "./budget.ts";
export type { ByteSize } from "./byte-size.ts";
export type { Engine, RowRequest } from "./engine.ts";
export { ThimbleError, type ThimbleErrorCode, type ThimbleErrorDetails } from "./errors.ts";
export type { GgufHeader, TensorInfo } from "./header.ts";
export type { CacheOptions, KvFormName } from "./kv-cache.ts";
export { type LoadedEngine, type LoadOptions, loadEngine } from "./load-engine.ts";
export type { LayerConfig, ModelConfig } from "./model-config.ts";
export type { Platform } from "./platform.ts";
export type { RopeConfig } from "./rope-config.ts";
export type { Sampled, TokenLogprob } from "./sampler.ts";
export type { LogitBias, SamplingOptions } from "./sampling-options.ts";
export type { ByteSource } from "./source.ts";
export { TokenSession } from "./token-session.ts";
export type { FinishReason, TokenOptions, TokenTurn, Vocabulary } from "./token-turn.ts";
export type { Variant, VariantChoice } from "./variant.ts";
export type { ActivationMode } from "./weight-form.ts";
export type { LoadProgress } from "./weights.ts";
