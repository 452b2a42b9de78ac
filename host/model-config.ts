/**
 * A model's configuration: the sizes and constants of a GGUF file's metadata together with what its family fixes.
 * @module
 */
import { ThimbleError } from "./errors.ts";
import type { Family } from "./family.ts";
import type { GgufHeader } from "./header.ts";
import { metadataBoolean, metadataInteger, metadataNumber, metadataString } from "./metadata.ts";
import { type RopeConfig, readRopes } from "./rope-config.ts";

/** What one layer does differently from others. */
export interface LayerConfig {
  /** Sliding window in tokens, the token itself included; 0: all. */
  readonly window: number;
  /** Index into `ModelConfig.ropes`; -1: no position in this layer (NoPE). */
  readonly rope: number;
}

/** Sizes and constants of a model. Dims are counts of values; factors are 1, and caps 0, where the family has none. */
export interface ModelConfig {
  readonly architecture: string;
  readonly nLayers: number;
  readonly hiddenDim: number;
  readonly ffnDim: number;
  readonly nHeads: number;
  /** KV heads of the cache. */
  readonly nKvHeads: number;
  /** KV heads that the projections give: more than `nKvHeads` where these are weighted sums of them (WGQA). */
  readonly sourceKvHeads: number;
  /** How query heads are shared out to KV heads: evenly, or by the norms of the keys (KDGQA). */
  readonly queryGrouping: "even" | "key_norm";
  /** Dims of a key (and query) head. */
  readonly keyDim: number;
  readonly valueDim: number;
  /** Rotated dims of a head. */
  readonly ropeDim: number;
  /** Of all layers, and of layers with a window where they rotate by other angles. */
  readonly ropes: readonly RopeConfig[];
  readonly layers: readonly LayerConfig[];
  readonly norm: "rms" | "layer";
  readonly normEps: number;
  readonly parallel: boolean;
  readonly activation: "silu" | "gelu";
  readonly embeddingScale: number;
  readonly residualScale: number;
  /** Factor of q.k; 0: 1 / sqrt(keyDim). */
  readonly attentionScale: number;
  readonly attentionSoftcap: number;
  readonly logitScale: number;
  readonly logitSoftcap: number;
  readonly vocabSize: number;
  /** Context the model was trained for, tokens. */
  readonly trainedContext: number;
}

/** Caps far above any real model, so that sizes computed from a hostile file stay exact and small enough to refuse. */
const MAX = { layers: 1024, dim: 1 << 17, heads: 1024, headDim: 512, vocab: 1 << 21, context: 1 << 24 } as const;
/** Factors are far from the ends of f32. */
const FACTOR = { min: 1e-6, max: 1e6 } as const;

/** Keys without which no model can be described. */
const NEEDED = [
  "block_count",
  "embedding_length",
  "feed_forward_length",
  "attention.head_count",
  "context_length",
] as const;

/** Keys with a meaning that this build does not compute; a file that sets one would run wrong. */
const NOT_COMPUTED = ["attention.clamp_kqv", "attention.max_alibi_bias", "expert_count"] as const;

/** The needed keys that the file does not have. */
export function missingKeys({ architecture, metadata }: GgufHeader): string[] {
  return NEEDED.map((key) => `${architecture}.${key}`).filter((key) => !Object.hasOwn(metadata, key));
}

/** @throws ThimbleError missing_metadata, malformed_file, unsupported_architecture */
export function readConfig(header: GgufHeader, family: Family, contextLength?: number): ModelConfig {
  const { architecture: arch, file } = header;
  const lacks = missingKeys(header);
  if (lacks.length > 0) {
    const message = `the file lacks the metadata ${lacks.join(", ")}`;
    throw new ThimbleError("missing_metadata", message, { file, name: lacks[0]! });
  }
  const integer = (key: string, max: number, fallback?: number): number =>
    metadataInteger(header, `${arch}.${key}`, {
      min: 1,
      max,
      ...(fallback === undefined ? {} : { default: fallback }),
    });
  const factor = (key: string, fallback: number): number =>
    metadataNumber(header, `${arch}.${key}`, { ...FACTOR, default: fallback });
  const cap = (key: string, fallback: number): number =>
    metadataNumber(header, `${arch}.${key}`, { min: 0, max: FACTOR.max, default: fallback });
  const hiddenDim = integer("embedding_length", MAX.dim);
  const nLayers = integer("block_count", MAX.layers);
  const nHeads = integer("attention.head_count", MAX.heads);
  const sourceKvHeads = integer("attention.head_count_kv", MAX.heads, nHeads);
  const keyDim = integer("attention.key_length", MAX.headDim, hiddenDim / nHeads);
  const logitScale = factor("logit_scale", 1);
  const embedding = header.tensors.find((tensor) => tensor.name === "token_embd.weight");
  if (embedding === undefined) {
    const message = 'tensor "token_embd.weight" is missing from the file';
    throw new ThimbleError("missing_tensor", message, { file, name: "token_embd.weight" });
  }
  const trainedContext = integer("context_length", MAX.context);
  const eps = family.norm === "layer" ? "layer_norm_epsilon" : "layer_norm_rms_epsilon";
  const config: ModelConfig = {
    architecture: arch,
    nLayers,
    hiddenDim,
    ffnDim: integer("feed_forward_length", MAX.dim),
    nHeads,
    nKvHeads: integer("attention.group_count", sourceKvHeads, sourceKvHeads),
    sourceKvHeads,
    queryGrouping: queryGrouping(header),
    keyDim,
    valueDim: integer("attention.value_length", MAX.headDim, hiddenDim / nHeads),
    ropeDim: integer("rope.dimension_count", MAX.headDim, keyDim),
    ropes: readRopes(header, family, contextLength ?? trainedContext),
    layers: readLayers(header, family, nLayers, trainedContext),
    norm: family.norm,
    normEps: metadataNumber(header, `${arch}.attention.${eps}`, { min: 0, max: 1 }),
    parallel: family.parallel,
    activation: family.activation,
    // sqrt is exact in IEEE arithmetic wherever it runs.
    embeddingScale: family.embeddingRoot ? Math.sqrt(hiddenDim) : factor("embedding_scale", 1),
    residualScale: factor("residual_scale", 1),
    attentionScale: factor("attention.scale", 0),
    attentionSoftcap: cap("attn_logit_softcapping", family.softcaps.attention),
    logitScale: family.logitScale === "divide" ? 1 / logitScale : logitScale,
    logitSoftcap: cap("final_logit_softcapping", family.softcaps.logit),
    vocabSize: embedding.rows,
    trainedContext,
  };
  checkConfig(config, header, family);
  return config;
}

function queryGrouping(header: GgufHeader): "even" | "key_norm" {
  const key = `${header.architecture}.attention.query_grouping`;
  const value = metadataString(header, key, { default: "even" });
  if (value === "even" || value === "key_norm") return value;
  throw new ThimbleError("unsupported_architecture", `"${key}" is "${value}"; this build knows even and key_norm`, {
    file: header.file,
    name: key,
  });
}

/** The file's window and which layers have it, and which rotate by what. */
function readLayers(header: GgufHeader, family: Family, nLayers: number, trainedContext: number): LayerConfig[] {
  const { architecture: arch } = header;
  const stated = metadataInteger(header, `${arch}.attention.sliding_window`, { min: 0, max: 2 ** 32, default: 0 });
  const window = stated < trainedContext ? stated : 0;
  const slides = slidingLayers(header, family, nLayers);
  return Array.from({ length: nLayers }, (_, i) => {
    const isWithout = family.noRope === "full" ? !slides(i) : family.noRope !== "none" && (i + 1) % family.noRope === 0;
    const rope = slides(i) && family.windowRopeBase > 0 ? 1 : 0;
    return { window: slides(i) ? window : 0, rope: isWithout ? -1 : rope };
  });
}

/** From the file's pattern, a period or a flag for each layer, else from the family's. */
function slidingLayers(header: GgufHeader, family: Family, nLayers: number): (layer: number) => boolean {
  const key = `${header.architecture}.attention.sliding_window_pattern`;
  const stated = header.metadata[key];
  if (Array.isArray(stated)) {
    if (stated.length === nLayers && stated.every((slides) => typeof slides === "boolean")) {
      return (layer) => stated[layer] as boolean;
    }
    throw new ThimbleError("malformed_file", `"${key}" must have true or false for each of the ${nLayers} layers`, {
      file: header.file,
      name: key,
    });
  }
  const every = metadataInteger(header, key, { min: 0, max: MAX.layers, default: family.fullEvery });
  return (layer) => every === 0 || (layer + 1) % every !== 0;
}

function checkConfig(config: ModelConfig, header: GgufHeader, family: Family): void {
  const { file, architecture: arch } = header;
  const refuse = (message: string): never => {
    throw new ThimbleError("malformed_file", message, { file });
  };
  if (config.vocabSize > MAX.vocab) refuse(`a vocabulary of ${config.vocabSize} exceeds ${MAX.vocab}`);
  if (config.queryGrouping === "even" && config.nHeads % config.nKvHeads !== 0) {
    refuse(`${config.nHeads} query heads cannot share ${config.nKvHeads} KV heads evenly`);
  }
  if (config.sourceKvHeads % config.nKvHeads !== 0) {
    refuse(`${config.sourceKvHeads} KV heads cannot be pooled to ${config.nKvHeads} evenly`);
  }
  const { hiddenDim, ffnDim, keyDim, valueDim, ropeDim } = config;
  for (const [name, width] of Object.entries({ hiddenDim, ffnDim, keyDim, valueDim, ropeDim })) {
    if (width % 8 !== 0) refuse(`${name} is ${width}; this build needs a multiple of 8`);
  }
  if (ropeDim > keyDim) refuse(`${ropeDim} of a head's ${keyDim} dims cannot be rotated`);
  if (family.pairOrder && ropeDim !== keyDim) {
    refuse(`rotating ${ropeDim} of ${keyDim} dims is not supported in pair order`);
  }
  for (const key of NOT_COMPUTED) {
    if (metadataNumber(header, `${arch}.${key}`, { default: 0 }) !== 0) unsupported(header, `${arch}.${key}`);
  }
  if (!metadataBoolean(header, `${arch}.attention.causal`, { default: true })) {
    unsupported(header, `${arch}.attention.causal`);
  }
}

function unsupported({ file }: GgufHeader, name: string): never {
  throw new ThimbleError("unsupported_architecture", `this build does not compute what "${name}" asks for`, {
    file,
    name,
  });
}
