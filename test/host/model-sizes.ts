/**
 * Model files of any sizes, however unusual, that agree with each other.
 * @module
 */
import { GGUF_TYPE } from "../../host/tensor-type.ts";
import { type GgufTensor, type GgufValue, writeGguf } from "./gguf-writer.ts";

export interface Sizes {
  readonly nLayers: number;
  readonly hidden: number;
  readonly ffn: number;
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly keyDim: number;
  readonly valueDim: number;
  readonly vocab: number;
  readonly context: number;
}

/** A llama of such sizes in F16, without a tokenizer: what checks of single values let through. */
export function writeSizes(sizes: Sizes): Uint8Array<ArrayBuffer> {
  const { nLayers, hidden, ffn, nHeads, nKvHeads, keyDim, valueDim, vocab, context } = sizes;
  const u32 = (value: number): GgufValue => ({ type: "u32", value });
  const tensors: GgufTensor[] = [];
  const add = (name: string, ...shape: number[]): void => {
    const values = shape.reduce((product, length) => product * length, 1);
    if (shape.length > 1) tensors.push({ name, type: GGUF_TYPE.F16, shape, data: noise(2 * values, tensors.length) });
    else tensors.push({ name, type: GGUF_TYPE.F32, shape, data: noise(4 * values, tensors.length) });
  };
  add("token_embd.weight", hidden, vocab);
  add("output_norm.weight", hidden);
  for (let layer = 0; layer < nLayers; ++layer) {
    add(`blk.${layer}.attn_norm.weight`, hidden);
    add(`blk.${layer}.ffn_norm.weight`, hidden);
    add(`blk.${layer}.attn_q.weight`, hidden, nHeads * keyDim);
    add(`blk.${layer}.attn_k.weight`, hidden, nKvHeads * keyDim);
    add(`blk.${layer}.attn_v.weight`, hidden, nKvHeads * valueDim);
    add(`blk.${layer}.attn_output.weight`, nHeads * valueDim, hidden);
    add(`blk.${layer}.ffn_gate.weight`, hidden, ffn);
    add(`blk.${layer}.ffn_up.weight`, hidden, ffn);
    add(`blk.${layer}.ffn_down.weight`, ffn, hidden);
  }
  const metadata: Record<string, GgufValue> = {
    "general.architecture": { type: "string", value: "llama" },
    "llama.block_count": u32(nLayers),
    "llama.embedding_length": u32(hidden),
    "llama.feed_forward_length": u32(ffn),
    "llama.attention.head_count": u32(nHeads),
    "llama.attention.head_count_kv": u32(nKvHeads),
    "llama.attention.key_length": u32(keyDim),
    "llama.attention.value_length": u32(valueDim),
    "llama.context_length": u32(context),
    "llama.attention.layer_norm_rms_epsilon": { type: "f32", value: 1e-5 },
  };
  return writeGguf({ metadata, tensors });
}

/** Bytes that are small finite numbers read as f16, bf16 or f32: no byte has the bits of a large exponent. */
const NOISE = new Uint8Array(1 << 20);
for (let i = 0, state = 1; i < NOISE.length; ++i) {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  NOISE[i] = (state >>> 24) & 0xbb;
}

/** At most a million bytes of it; another seed begins elsewhere. */
export function noise(length: number, seed: number): Uint8Array {
  const start = (seed * 4099) % (NOISE.length - length);
  return NOISE.subarray(start, start + length);
}
