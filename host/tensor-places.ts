/**
 * Where every tensor of a model goes: which part of it into which matrix or vector of which layer.
 * @module
 */
import { Slot, Vector } from "../assembly/memory/status.ts";
import { ThimbleError } from "./errors.ts";
import type { Family } from "./family.ts";
import type { GgufHeader, TensorInfo } from "./header.ts";
import type { ModelConfig } from "./model-config.ts";
import { DIVISORS } from "./rope-config.ts";

/** Rows of a matrix, or values of a vector, that go to one place; parts follow each other in the tensor. */
export type TensorPart = {
  readonly layer: number;
  /** Rows of a matrix; values of a bias or vector. */
  readonly length: number;
  /** Head dim when rows or values are in pair order and are permuted to half-split order; else 0. */
  readonly permute: number;
} & (
  | { readonly kind: "matrix" | "bias"; readonly slot: Slot }
  | { readonly kind: "vector"; readonly vector: Vector }
  | { readonly kind: "unused" }
);

/** A tensor the model has or may have. */
export interface TensorPlace {
  readonly name: string;
  readonly isMatrix: boolean;
  readonly rows: number;
  readonly columns: number;
  readonly parts: readonly TensorPart[];
  /** The file may do without it. */
  readonly optional: boolean;
}

interface Present {
  /** There is no output projection: it is the embedding. */
  readonly tied: boolean;
  /** Names of the file's tensors. */
  readonly names: ReadonlySet<string>;
}

/** A matrix of the table below: its slot, rows, and whether these are heads in RoPE order. */
type Rows = readonly [slot: Slot, rows: number, permute?: number];

/** All tensors that a model of this configuration can have. */
export function tensorPlaces(config: ModelConfig, family: Family, { tied, names }: Present): TensorPlace[] {
  const { hiddenDim, ffnDim, nHeads, sourceKvHeads, keyDim, valueDim, vocabSize, ropeDim } = config;
  const places: TensorPlace[] = [];
  const vector = (vector: Vector, layer: number, name: string, length: number, permute = 0, optional = false): void => {
    places.push(vectorPlace(name, [{ kind: "vector", vector, layer, length, permute }], optional));
  };
  /** One tensor for several matrices, one below the other, and likewise its bias. */
  const matrix = (
    layer: number,
    name: string,
    columns: number,
    parts: readonly Rows[],
    bias: "needed" | "optional" | "none" = "optional",
  ): void => {
    const partsOf = (kind: "matrix" | "bias"): TensorPart[] =>
      parts.map(([slot, length, permute = 0]) => ({ kind, slot, layer, length, permute }));
    const rows = parts.reduce((sum, [, length]) => sum + length, 0);
    places.push({
      name: `${name}.weight`,
      isMatrix: true,
      rows,
      columns,
      parts: partsOf("matrix"),
      optional: false,
    });
    if (bias !== "none") places.push(vectorPlace(`${name}.bias`, partsOf("bias"), bias === "optional"));
  };

  matrix(0, "token_embd", hiddenDim, [[Slot.EMBEDDING, vocabSize]], "none");
  if (!tied) matrix(0, "output", hiddenDim, [[Slot.OUTPUT, vocabSize]]);
  vector(Vector.FINAL_NORM, 0, "output_norm.weight", hiddenDim);
  for (const name of DIVISORS) {
    const part = { layer: 0, length: ropeDim / 2, permute: 0 };
    const used = config.ropes[0]!.divisors === name;
    places.push(
      vectorPlace(
        name,
        [used ? { ...part, kind: "vector", vector: Vector.ROPE_DIVISORS } : { ...part, kind: "unused" }],
        true,
      ),
    );
  }

  const permute = family.pairOrder ? keyDim : 0;
  const q: Rows = [Slot.Q, nHeads * keyDim, permute];
  const k: Rows = [Slot.K, sourceKvHeads * keyDim, permute];
  const v: Rows = [Slot.V, sourceKvHeads * valueDim];
  const qkvBias = family.qkvBias ? "needed" : "optional";
  const isPooled = config.nKvHeads !== sourceKvHeads;
  for (let layer = 0; layer < config.nLayers; ++layer) {
    const block = `blk.${layer}`;
    if (family.normPlaces !== "after") {
      vector(Vector.ATTENTION_NORM, layer, `${block}.attn_norm.weight`, hiddenDim);
      if (!family.parallel) vector(Vector.FEED_FORWARD_NORM, layer, `${block}.ffn_norm.weight`, hiddenDim);
    }
    if (family.normPlaces !== "before") {
      vector(Vector.POST_ATTENTION_NORM, layer, `${block}.post_attention_norm.weight`, hiddenDim);
      vector(Vector.POST_FEED_FORWARD_NORM, layer, `${block}.post_ffw_norm.weight`, hiddenDim);
    }
    if (family.qkNorm !== "none") {
      const [nQuery, nKey] = family.qkNorm === "head" ? [1, 1] : [nHeads, sourceKvHeads];
      vector(Vector.QUERY_NORM, layer, `${block}.attn_q_norm.weight`, nQuery * keyDim, permute);
      vector(Vector.KEY_NORM, layer, `${block}.attn_k_norm.weight`, nKey * keyDim, permute);
    }
    if (isPooled) {
      vector(Vector.KEY_POOL, layer, `${block}.attn_k_pool.weight`, sourceKvHeads);
      vector(Vector.VALUE_POOL, layer, `${block}.attn_v_pool.weight`, sourceKvHeads);
    }
    if (family.fused && names.has(`${block}.attn_qkv.weight`)) {
      matrix(layer, `${block}.attn_qkv`, hiddenDim, [q, k, v], qkvBias);
    } else {
      matrix(layer, `${block}.attn_q`, hiddenDim, [q], qkvBias);
      matrix(layer, `${block}.attn_k`, hiddenDim, [k], qkvBias);
      matrix(layer, `${block}.attn_v`, hiddenDim, [v], qkvBias);
    }
    matrix(layer, `${block}.attn_output`, nHeads * valueDim, [[Slot.OUT, hiddenDim]]);
    const [gate, up]: [Rows, Rows] = [
      [Slot.GATE, ffnDim],
      [Slot.UP, ffnDim],
    ];
    if (family.fused && !names.has(`${block}.ffn_gate.weight`)) {
      matrix(layer, `${block}.ffn_up`, hiddenDim, [gate, up]);
    } else {
      matrix(layer, `${block}.ffn_gate`, hiddenDim, [gate]);
      matrix(layer, `${block}.ffn_up`, hiddenDim, [up]);
    }
    matrix(layer, `${block}.ffn_down`, ffnDim, [[Slot.DOWN, hiddenDim]]);
  }
  return places;
}

function vectorPlace(name: string, parts: readonly TensorPart[], optional: boolean): TensorPlace {
  const columns = parts.reduce((sum, part) => sum + part.length, 0);
  return { name, isMatrix: false, rows: 1, columns, parts, optional };
}

/** Every needed tensor is there with the right shape, and none is there that the computation would leave out. */
export function checkTensors(header: GgufHeader, places: readonly TensorPlace[]): void {
  const { file } = header;
  const byName = new Map<string, TensorInfo>(header.tensors.map((tensor) => [tensor.name, tensor]));
  for (const { name, rows, columns, optional } of places) {
    const tensor = byName.get(name);
    if (tensor === undefined) {
      if (optional) continue;
      throw new ThimbleError("missing_tensor", `tensor "${name}" is missing from the file`, { file, name });
    }
    byName.delete(name);
    if (tensor.rows === rows && tensor.columns === columns) continue;
    const message = `tensor "${name}" is ${tensor.rows} x ${tensor.columns}`;
    throw new ThimbleError("malformed_file", `${message}; the metadata asks for ${rows} x ${columns}`, { file, name });
  }
  for (const name of byName.keys()) {
    const message = `tensor "${name}" has no place in architecture "${header.architecture}" as this build knows it`;
    throw new ThimbleError("unsupported_architecture", message, { file, name });
  }
}
