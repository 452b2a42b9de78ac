/**
 * From a parsed header and a byte source to an engine with its weights: what every kind of model goes through, whoever read
 * the header.
 * @module
 */
import { type Architecture, describeModel } from "./architecture.ts";
import { checkProportion, type MemoryPlan, planMemory, stagingBytes } from "./budget.ts";
import { Engine } from "./engine.ts";
import type { HeadScores } from "./head-scores.ts";
import type { GgufHeader } from "./header.ts";
import type { MemoryLimit } from "./memory-limit.ts";
import { checkChoice } from "./options.ts";
import { type PlanOptions, resolveOptions } from "./plan.ts";
import type { Platform } from "./platform.ts";
import { createRuntime } from "./runtime.ts";
import type { ByteSource } from "./source.ts";
import type { VariantChoice } from "./variant.ts";
import type { ActivationMode } from "./weight-form.ts";
import { checkTypes, type LoadProgress, loadWeights, type WeightRegion } from "./weights.ts";

export interface LoadOptions extends PlanOptions {
  /**
   * What a calibration has found of the model's heads, for the policies "duo-attention" and "razor": an object, or its JSON
   * (head-scores.ts). The core alone does not check it: there `Engine.headScores` is set.
   */
  readonly headScores?: HeadScores | string;
  /** Build of the WebAssembly module; "auto" takes the fastest that runs here. All give the same bits. */
  readonly variant?: VariantChoice;
  /** What the policy q-filter scores by, as `thimble calibrate` writes it for a model (docs/kv-cache.md). */
  readonly filters?: Uint8Array;
  /** Aborts loading; `loadModel` then throws the signal's reason. */
  readonly signal?: AbortSignal;
  /** Called after every piece of the file, bytes of tensor data so far and in all. */
  readonly onProgress?: (progress: LoadProgress) => void;
}

/** An engine that can run, and what is known about it. */
export interface LoadedEngine {
  readonly platform: Platform;
  readonly architecture: Architecture;
  readonly engine: Engine;
  readonly plan: MemoryPlan;
  readonly activations: ActivationMode;
  /** The budget, in bytes; undefined without one. */
  readonly budget: number | undefined;
  /** Milliseconds for the instance, and for reading and packing the weights. */
  readonly weightsMs: number;
}

/**
 * Makes an engine and streams the weights into it; the source stays open.
 * @throws ThimbleError with the codes of `describeModel` and `loadWeights`; unsupported_type, invalid_option,
 * unsupported_runtime, out_of_memory, over_budget, calibration_malformed before any weight is read; calibration_mismatch; the
 * signal's reason when aborted
 */
export async function loadEngine(
  platform: Platform,
  source: ByteSource,
  header: GgufHeader,
  options: LoadOptions = {},
): Promise<LoadedEngine> {
  options.signal?.throwIfAborted();
  const architecture = describeModel(header, { contextLength: options.contextLength });
  if (options.budget === undefined) return loadDescribed(platform, source, header, architecture, options);
  checkTypes(header, architecture);
  // The context decides between sets of RoPE factors, and the budget may shorten it.
  const { contextLength } = resolveOptions(header, architecture, options).sizes;
  return loadDescribed(platform, source, header, describeModel(header, { contextLength }), options);
}

/** `loadEngine` for a model that is described already. */
export async function loadDescribed(
  platform: Platform,
  source: ByteSource,
  header: GgufHeader,
  architecture: Architecture,
  options: LoadOptions = {},
): Promise<LoadedEngine> {
  const { signal, onProgress } = options;
  checkTypes(header, architecture);
  const variant = checkChoice("variant", options.variant ?? "auto", ["auto", "simd", "relaxed"]);
  const { sizes: wanted, activations, limit } = resolveOptions(header, architecture, options);
  checkProportion(header, architecture, activations, wanted);
  const { policy } = wanted.cache;
  // Fetched where a host splits bundles: few policies choose by a file.
  const files = options.filters !== undefined || policy?.needsFilters ? await import("./filters.ts") : undefined;
  const filters = await files?.checkFilters(options.filters, policy, architecture.config);
  const start = platform.now();
  const { threads } = wanted;
  const asked = planMemory(header, architecture, activations, wanted);
  const runtime = await createRuntime(platform, { variant, threads, maximumBytes: sharedBytes(asked, limit) });
  const sizes = { ...wanted, threads: runtime.maximumThreads };
  const plan = planMemory(header, architecture, activations, sizes);
  const engine = new Engine(runtime, architecture.config, sizes, limit && { ...limit, plan });
  engine.layout(stagingBytes(header, architecture, activations));
  const regions: WeightRegion[] = [];
  const loading = { runtime: engine.runtime, source, header, options: { activations, signal, onProgress }, regions };
  await loadWeights(loading, architecture);
  engine.weights = regions;
  if (filters !== undefined) await files?.setFilters({ engine, header, activations }, filters);
  await engine.startThreads();
  const weightsMs = platform.now() - start;
  return { platform, architecture, engine, plan, activations, budget: limit?.budget, weightsMs };
}

/** Full contexts that shared memory has room for at least: it is reserved when it is made, and cannot be made larger. */
const SHARED_SESSIONS = 4;

function sharedBytes(
  { weights, runState, session, context, sessions }: MemoryPlan,
  limit: MemoryLimit | undefined,
): number {
  const bytes = 2 ** 22 + weights + runState + Math.max(SHARED_SESSIONS, sessions) * (session + context);
  return limit === undefined ? bytes : Math.min(bytes, limit.bytes);
}
