/**
 * Small llamas with random weights, as files, and how far their logits are from an oracle's (test/oracle/decoder.ts).
 * @module
 */
import type { LoadOptions } from "../../host/load-engine.ts";
import type { Model } from "../../host/model.ts";
import { openSource } from "../../host/sources.ts";
import { type GgufTensor, type GgufValue, writeGguf } from "../host/gguf-writer.ts";
import { bells, draws } from "../kernel/values.ts";
import { type DecoderShape, EPSILON, ROPE_BASE, tensorShapes } from "../oracle/decoder.ts";
import { load } from "./load.ts";

export type Weights = Map<string, Float32Array>;

/** Two layers, two query heads for each KV head. */
export const SMALL_SHAPE: DecoderShape = {
  nLayers: 2,
  hiddenDim: 64,
  ffnDim: 96,
  vocabSize: 40,
  nHeads: 4,
  sourceKvHeads: 2,
  nKvHeads: 2,
  keyDim: 16,
  valueDim: 16,
  grouping: "even",
  window: 0,
};

/** Random weights that give logits of a few units and attention that is far from even. */
export function randomWeights(shape: DecoderShape, seed: number): Weights {
  const draw = draws(seed);
  const weights: Weights = new Map();
  for (const [name, [rows, columns]] of tensorShapes(shape)) {
    const isSharp = name.includes("attn_q") || name.includes("attn_k.");
    const values = bells(rows * columns, draw, (isSharp ? 1.5 : 1) / Math.sqrt(columns));
    const isNorm = name.includes("norm");
    weights.set(name, isNorm ? values.map((x) => 1 + x) : values);
    if (name.includes("pool")) weights.set(name, bells(columns, draw));
  }
  weights.set("token_embd.weight", bells(shape.vocabSize * shape.hiddenDim, draw));
  weights.set("output.weight", bells(shape.vocabSize * shape.hiddenDim, draw, 2 / Math.sqrt(shape.hiddenDim)));
  return weights;
}

type Metadata = Readonly<Record<string, GgufValue>>;

/** So that sessions in text run it too: token n is the n-th word of a language without grammar. */
function wordTokenizer(nTokens: number): Metadata {
  const words = Array.from({ length: nTokens }, (_, id) => `w${id}.`);
  return {
    "tokenizer.ggml.model": { type: "string", value: "gpt2" },
    "tokenizer.ggml.tokens": { type: "string[]", value: words },
    "tokenizer.ggml.merges": { type: "string[]", value: [] },
  };
}

/** The file of a model. */
export function writeModel(
  shape: DecoderShape,
  weights: Weights,
  contextLength = 256,
  tokenizer = wordTokenizer(shape.vocabSize),
): Uint8Array<ArrayBuffer> {
  const u32 = (value: number): GgufValue => ({ type: "u32", value });
  const metadata: Record<string, GgufValue> = {
    "general.architecture": { type: "string", value: "llama" },
    "llama.block_count": u32(shape.nLayers),
    "llama.embedding_length": u32(shape.hiddenDim),
    "llama.feed_forward_length": u32(shape.ffnDim),
    "llama.attention.head_count": u32(shape.nHeads),
    "llama.attention.head_count_kv": u32(shape.sourceKvHeads),
    "llama.attention.key_length": u32(shape.keyDim),
    "llama.attention.value_length": u32(shape.valueDim),
    "llama.context_length": u32(contextLength),
    "llama.rope.freq_base": { type: "f32", value: ROPE_BASE },
    "llama.attention.layer_norm_rms_epsilon": { type: "f32", value: EPSILON },
    ...tokenizer,
  };
  if (shape.nKvHeads !== shape.sourceKvHeads) metadata["llama.attention.group_count"] = u32(shape.nKvHeads);
  if (shape.window > 0) metadata["llama.attention.sliding_window"] = u32(shape.window);
  if (shape.grouping !== "even") {
    metadata["llama.attention.query_grouping"] = { type: "string", value: shape.grouping };
  }
  const tensors: GgufTensor[] = [...tensorShapes(shape)].map(([name, [rows, columns]]) => {
    const { buffer, byteOffset, byteLength } = weights.get(name)!;
    return {
      name,
      type: 0,
      shape: rows > 1 ? [columns, rows] : [columns],
      data: new Uint8Array(buffer, byteOffset, byteLength),
    };
  });
  return writeGguf({ metadata, tensors });
}

/** @param options besides exact activations, which the oracle has */
export function openRandom(shape: DecoderShape, weights: Weights, options: LoadOptions = {}): Promise<Model> {
  const source = openSource(writeModel(shape, weights), "random.gguf");
  return load(source, { activations: "f32", maxOutputs: 64, ...options });
}

export function deviation(values: readonly number[]): number {
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
  return Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length);
}

/** Largest difference of two sets of logits in units of their standard deviation. */
export function distance(actual: ArrayLike<number>, expected: readonly number[]): number {
  const most = expected.reduce((worst, x, i) => Math.max(worst, Math.abs(x - actual[i]!)), 0);
  return actual.length === expected.length ? most / deviation(expected) : Number.NaN;
}
