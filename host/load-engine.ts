/**
 * From a parsed header and a byte source to an engine with its weights: what every kind of model goes through, whoever read
 * the header.
 * @module
 */
import { type Architecture, describeModel } from "./architecture.ts";
import { checkProportion, type MemoryPlan, planMemory, type RunSizes, stagingBytes } from "./budget.ts";
import { Engine } from "./engine.ts";
import type { GgufHeader } from "./header.ts";
import { checkChoice, checkInteger } from "./options.ts";
import type { Platform } from "./platform.ts";
import { createRuntime } from "./runtime.ts";
import type { ByteSource } from "./source.ts";
import type { VariantChoice } from "./variant.ts";
import type { ActivationMode } from "./weight-form.ts";
import { checkTypes, type LoadProgress, loadWeights } from "./weights.ts";

export interface LoadOptions {
  /** Most tokens of a session. Default: what the model was trained for. Pages are taken as a session grows. */
  readonly contextLength?: number;
  /** Tokens of a prefill chunk: more need more run state and are a little faster. Default 64, 1 to 4096. */
  readonly chunk?: number;
  /** Most rows of one `forward` call that can have logits. Default 8, 1 to `chunk`. */
  readonly maxOutputs?: number;
  /** "f32" keeps activations unquantized: a slow oracle that needs up to 7 times the memory. Default "int8". */
  readonly activations?: ActivationMode;
  /** Threads that compute; 1 where memory cannot be shared with workers (`stats.threads` says). Default 1. */
  readonly threads?: number;
  /** Build of the WebAssembly module; "auto" takes the fastest that runs here. All give the same bits. */
  readonly variant?: VariantChoice;
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
  /** Milliseconds for the instance, and for reading and packing the weights. */
  readonly weightsMs: number;
}

/**
 * Makes an engine and streams the weights into it; the source stays open.
 * @throws ThimbleError with the codes of `describeModel` and `loadWeights`; unsupported_type, invalid_option,
 * unsupported_runtime, out_of_memory; the signal's reason when aborted
 */
export async function loadEngine(
  platform: Platform,
  source: ByteSource,
  header: GgufHeader,
  options: LoadOptions = {},
): Promise<LoadedEngine> {
  options.signal?.throwIfAborted();
  const architecture = describeModel(header, { contextLength: options.contextLength });
  return loadDescribed(platform, source, header, architecture, options);
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
  const activations = checkChoice("activations", options.activations ?? "int8", ["int8", "f32"]);
  checkTypes(header, architecture);
  const variant = checkChoice("variant", options.variant ?? "auto", ["auto", "simd", "relaxed"]);
  const wanted = runSizes(architecture, options);
  checkProportion(header, architecture, activations, wanted);
  const start = platform.now();
  const threads = checkInteger("threads", options.threads ?? 1, 1, 64);
  const asked = planMemory(header, architecture, activations, { ...wanted, threads });
  const runtime = await createRuntime(platform, { variant, threads, maximumBytes: sharedBytes(asked) });
  const sizes = { ...wanted, threads: runtime.maximumThreads };
  const engine = new Engine(runtime, architecture.config, sizes);
  engine.layout(stagingBytes(header, architecture, activations));
  const loading = { runtime: engine.runtime, source, header, options: { activations, signal, onProgress } };
  await loadWeights(loading, architecture);
  await engine.startThreads();
  const plan = planMemory(header, architecture, activations, sizes);
  return { platform, architecture, engine, plan, activations, weightsMs: platform.now() - start };
}

/** Full contexts that shared memory has room for: it is reserved when it is made, and cannot be made larger. */
const SHARED_SESSIONS = 4;

function sharedBytes({ weights, runState, session, context }: MemoryPlan): number {
  return 2 ** 22 + weights + runState + SHARED_SESSIONS * (session + context);
}

function runSizes({ config }: Architecture, options: LoadOptions): Omit<RunSizes, "threads"> {
  const maxRows = checkInteger("chunk", options.chunk ?? 64, 1, 4096);
  const trained = config.trainedContext;
  return {
    contextLength: checkInteger("contextLength", options.contextLength ?? trained, 1, trained),
    maxRows,
    maxOutputs: checkInteger("maxOutputs", options.maxOutputs ?? Math.min(8, maxRows), 1, maxRows),
  };
}
