/**
 * Thimble's core: everything that does not depend on a host. A binding supplies a `Platform` and a `loadModel` of its own.
 * @module
 */

export type { MemoryPlan, PromptOrder } from "./budget.ts";
export type { ByteSize } from "./byte-size.ts";
export { type CacheMap, MAP_FORMS } from "./cache-map.ts";
export { CALIBRATION, type CalibrateOptions, calibrateHeads } from "./calibrate-heads.ts";
export type { CapsuleSource } from "./capsule/byte-reader.ts";
export type { SavedCapsule } from "./capsule/known-links.ts";
export type { RestoreOptions } from "./capsule/restore.ts";
export type { SaveOptions } from "./capsule/save.ts";
export type { CapsuleKey } from "./capsule/seal.ts";
export type { ChatMessage } from "./chat.ts";
export type { RowRequest } from "./engine.ts";
export { ThimbleError, type ThimbleErrorCode, type ThimbleErrorDetails } from "./errors.ts";
export type { Forgotten } from "./forgotten.ts";
export type { GenerateOptions, Generation, GenerationResult } from "./generation.ts";
export { readHeader } from "./gguf.ts";
export type { HeadScoreKind, HeadScores } from "./head-scores.ts";
export type { GgufHeader, TensorInfo } from "./header.ts";
export { openUrl, type UrlOptions } from "./http-source.ts";
export type { CacheOptions, KvFormName } from "./kv-cache.ts";
export type { LedgerEntry } from "./ledger.ts";
export type { LoadOptions } from "./load-engine.ts";
export { loadFrom, type Model, type ModelStats } from "./model.ts";
export type { LayerConfig, ModelConfig } from "./model-config.ts";
export type { Pack, PackOptions, PackPrompt } from "./pack.ts";
export { type PerplexityOptions, type PerplexityResult, perplexity } from "./perplexity.ts";
export { LADDER, type Peaks, type Plan, type PlannedLoad, type PlanOptions, type Rung } from "./plan.ts";
export { plan, planFrom, type SourcePlanOptions } from "./plan-source.ts";
export type { Platform } from "./platform.ts";
export { DEFAULT_POLICY, POLICY_NAMES, type PolicyName } from "./policy.ts";
export type { Recall } from "./recall.ts";
export type { Sampled, TokenLogprob } from "./sampler.ts";
export type { LogitBias, SamplingOptions } from "./sampling-options.ts";
export type { Prompt, Session, SessionStats } from "./session.ts";
export type { ByteSource, ModelSource } from "./source.ts";
export { openSource } from "./sources.ts";
export type { FinishReason, Keep, Overflow, Pin, SessionOptions } from "./token-turn.ts";
export type { EncodeOptions, Tokenizer } from "./tokenizer.ts";
export type { Variant, VariantChoice } from "./variant.ts";
export type { ActivationMode } from "./weight-form.ts";
export type { LoadProgress } from "./weights.ts";
