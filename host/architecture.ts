/**
 * From GGUF metadata to a model's configuration and the list of tensors it needs. A family is one entry of the table; what
 * it does differently is data here, never a branch inside a kernel.
 * @module
 */
import { Norm, Slot } from "../assembly/memory/status.ts";
import { ThimbleError } from "./errors.ts";
import type { GgufHeader, TensorInfo } from "./header.ts";
import { metadataInteger, metadataNumber, metadataString } from "./metadata.ts";

/** Sizes and constants of a model. Dims are counts of values. */
export interface ModelConfig {
  readonly architecture: string;
  readonly nLayers: number;
  readonly hiddenDim: number;
  readonly ffnDim: number;
  readonly nHeads: number;
  readonly nKvHeads: number;
  /** Dims of a key (and query) head. */
  readonly keyDim: number;
  readonly valueDim: number;
  /** Rotated dims of a head. */
  readonly ropeDim: number;
  readonly ropeBase: number;
  readonly rmsEps: number;
  readonly vocabSize: number;
  /** Context the model was trained for, tokens. */
  readonly trainedContext: number;
}

/** A matrix or norm vector the model needs: where it goes, and what the file must have. */
export interface TensorPlace {
  readonly kind: "matrix" | "norm";
  /** Slot of a matrix, Norm of a vector. */
  readonly slot: Slot | Norm;
  readonly layer: number;
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  /** Head dim when the rows of q or k are in pair order and are permuted to half-split order; else 0. */
  readonly permute: number;
}

export interface Architecture {
  readonly config: ModelConfig;
  readonly places: ReadonlyMap<string, TensorPlace>;
  /** The output projection is the embedding. */
  readonly tied: boolean;
}

interface Family {
  /** q and k rows are stored in RoPE pair order (2i, 2i+1), as llama.cpp's converter writes them. */
  readonly pairOrder: boolean;
}

const FAMILIES: Readonly<Record<string, Family>> = {
  llama: { pairOrder: true },
};

/** Caps far above any real model, so that sizes computed from a hostile file stay exact and small enough to refuse. */
const MAX = { layers: 1024, dim: 1 << 17, heads: 1024, headDim: 512, vocab: 1 << 21, context: 1 << 24 } as const;

/**
 * Reads the configuration and checks it for sense.
 * @throws ThimbleError unsupported_architecture, missing_metadata, malformed_file, missing_tensor
 */
export function describeModel(header: GgufHeader): Architecture {
  const family = FAMILIES[header.architecture];
  if (family === undefined || !Object.hasOwn(FAMILIES, header.architecture)) {
    throw new ThimbleError(
      "unsupported_architecture",
      `architecture "${header.architecture}" is not supported; this build runs: ${Object.keys(FAMILIES).join(", ")}`,
      { file: header.file, name: header.architecture },
    );
  }
  const config = readConfig(header);
  const tied = !header.tensors.some((tensor) => tensor.name === "output.weight");
  const places = tensorPlaces(config, family, tied);
  checkTensors(header, places);
  return { config, places, tied };
}

function readConfig(header: GgufHeader): ModelConfig {
  const { architecture: arch, file } = header;
  const integer = (key: string, max: number, fallback?: number): number =>
    metadataInteger(header, `${arch}.${key}`, {
      min: 1,
      max,
      ...(fallback === undefined ? {} : { default: fallback }),
    });
  const hiddenDim = integer("embedding_length", MAX.dim);
  const nHeads = integer("attention.head_count", MAX.heads);
  const nKvHeads = integer("attention.head_count_kv", MAX.heads, nHeads);
  const keyDim = integer("attention.key_length", MAX.headDim, hiddenDim / nHeads);
  const valueDim = integer("attention.value_length", MAX.headDim, hiddenDim / nHeads);
  const embedding = header.tensors.find((tensor) => tensor.name === "token_embd.weight");
  if (embedding === undefined) throw missing(file, "token_embd.weight");
  const config: ModelConfig = {
    architecture: arch,
    nLayers: integer("block_count", MAX.layers),
    hiddenDim,
    ffnDim: integer("feed_forward_length", MAX.dim),
    nHeads,
    nKvHeads,
    keyDim,
    valueDim,
    ropeDim: integer("rope.dimension_count", MAX.headDim, keyDim),
    ropeBase: metadataNumber(header, `${arch}.rope.freq_base`, { min: 1, max: 1e12, default: 10000 }),
    rmsEps: metadataNumber(header, `${arch}.attention.layer_norm_rms_epsilon`, { min: 0, max: 1 }),
    vocabSize: embedding.rows,
    trainedContext: integer("context_length", MAX.context),
  };
  checkConfig(config, header);
  return config;
}

function checkConfig(config: ModelConfig, header: GgufHeader): void {
  const { file } = header;
  const refuse = (message: string): never => {
    throw new ThimbleError("malformed_file", message, { file });
  };
  if (config.vocabSize > MAX.vocab) refuse(`a vocabulary of ${config.vocabSize} exceeds ${MAX.vocab}`);
  if (config.nHeads % config.nKvHeads !== 0) {
    refuse(`${config.nHeads} query heads cannot share ${config.nKvHeads} KV heads evenly`);
  }
  const widths = {
    hiddenDim: config.hiddenDim,
    ffnDim: config.ffnDim,
    keyDim: config.keyDim,
    valueDim: config.valueDim,
    ropeDim: config.ropeDim,
  };
  for (const [name, width] of Object.entries(widths)) {
    if (width % 8 !== 0) refuse(`${name} is ${width}; this build needs a multiple of 8`);
  }
  if (config.ropeDim !== config.keyDim) refuse(`rotating ${config.ropeDim} of ${config.keyDim} dims is not supported`);
  const scaling = metadataString(header, `${config.architecture}.rope.scaling.type`, { default: "none" });
  if (scaling !== "none") {
    throw new ThimbleError("unsupported_architecture", `RoPE scaling "${scaling}" is not supported`, {
      file,
      name: `${config.architecture}.rope.scaling.type`,
    });
  }
}

/** All tensors of the model by name. */
function tensorPlaces(config: ModelConfig, family: Family, tied: boolean): Map<string, TensorPlace> {
  const { hiddenDim, ffnDim, nHeads, nKvHeads, keyDim, valueDim, vocabSize } = config;
  const places = new Map<string, TensorPlace>();
  const matrix = (slot: Slot, layer: number, name: string, rows: number, columns: number, permute = 0): void => {
    places.set(name, { kind: "matrix", slot, layer, name, rows, columns, permute });
  };
  const norm = (slot: Norm, layer: number, name: string): void => {
    places.set(name, { kind: "norm", slot, layer, name, rows: 1, columns: hiddenDim, permute: 0 });
  };
  const permute = family.pairOrder ? keyDim : 0;
  matrix(Slot.EMBEDDING, 0, "token_embd.weight", vocabSize, hiddenDim);
  if (!tied) matrix(Slot.OUTPUT, 0, "output.weight", vocabSize, hiddenDim);
  norm(Norm.FINAL, 0, "output_norm.weight");
  for (let layer = 0; layer < config.nLayers; ++layer) {
    const block = `blk.${layer}`;
    norm(Norm.ATTENTION, layer, `${block}.attn_norm.weight`);
    norm(Norm.FEED_FORWARD, layer, `${block}.ffn_norm.weight`);
    matrix(Slot.Q, layer, `${block}.attn_q.weight`, nHeads * keyDim, hiddenDim, permute);
    matrix(Slot.K, layer, `${block}.attn_k.weight`, nKvHeads * keyDim, hiddenDim, permute);
    matrix(Slot.V, layer, `${block}.attn_v.weight`, nKvHeads * valueDim, hiddenDim);
    matrix(Slot.OUT, layer, `${block}.attn_output.weight`, hiddenDim, nHeads * valueDim);
    matrix(Slot.GATE, layer, `${block}.ffn_gate.weight`, ffnDim, hiddenDim);
    matrix(Slot.UP, layer, `${block}.ffn_up.weight`, ffnDim, hiddenDim);
    matrix(Slot.DOWN, layer, `${block}.ffn_down.weight`, hiddenDim, ffnDim);
  }
  return places;
}

/** Every needed tensor is there with the right shape, and none is there that the computation would leave out. */
function checkTensors(header: GgufHeader, places: ReadonlyMap<string, TensorPlace>): void {
  const { file } = header;
  const byName = new Map<string, TensorInfo>(header.tensors.map((tensor) => [tensor.name, tensor]));
  for (const place of places.values()) {
    const tensor = byName.get(place.name);
    if (tensor === undefined) throw missing(file, place.name);
    if (tensor.rows !== place.rows || tensor.columns !== place.columns) {
      throw new ThimbleError(
        "malformed_file",
        `tensor "${place.name}" is ${tensor.rows} x ${tensor.columns}; the metadata asks for ${place.rows} x ${place.columns}`,
        { file, name: place.name },
      );
    }
  }
  const unknown = header.tensors.find((tensor) => !places.has(tensor.name));
  if (unknown !== undefined) {
    throw new ThimbleError(
      "unsupported_architecture",
      `tensor "${unknown.name}" has no place in architecture "${header.architecture}" as this build knows it`,
      { file, name: unknown.name },
    );
  }
}

function missing(file: string, name: string): ThimbleError {
  return new ThimbleError("missing_tensor", `tensor "${name}" is missing from the file`, { file, name });
}
