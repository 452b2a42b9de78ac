/**
 * A llama-like decoder in f64, all tokens at once from the formulas, with the ways to share KV heads: grouped queries of
 * any ratio, weighted pooling (WGQA, https://arxiv.org/abs/2407.10855), key-driven groups (query-groups.ts), fewer query
 * heads than the hidden dim would give (SQA, https://arxiv.org/abs/2510.01817). Weights are those of the file: RoPE turns
 * pairs (2i, 2i + 1), as llama's rows are stored.
 * @module
 */
import { softmax64 } from "./attention.ts";
import { rmsNormRef64, ropeAngle64, swigluRef64 } from "./elementwise.ts";
import { groupsOf, keyDrivenShares, keyNorms } from "./query-groups.ts";

export interface DecoderShape {
  readonly nLayers: number;
  readonly hiddenDim: number;
  readonly ffnDim: number;
  readonly vocabSize: number;
  readonly nHeads: number;
  /** KV heads of the projections. */
  readonly sourceKvHeads: number;
  /** KV heads that queries attend to; fewer than `sourceKvHeads` where these are pooled. */
  readonly nKvHeads: number;
  readonly keyDim: number;
  readonly valueDim: number;
  readonly grouping: "even" | "key_norm";
  /** 0: none. */
  readonly window: number;
}

/** Tensors by name, rows one after the other. */
export type Weights = ReadonlyMap<string, Float32Array>;

export interface Decoded {
  /** Logits of every token. */
  readonly logits: readonly (readonly number[])[];
  /** Query heads of each KV head, by layer and token. */
  readonly shares: readonly (readonly (readonly number[])[])[];
  /** What attention takes, by layer and token. */
  readonly inputs: readonly (readonly (readonly number[])[])[];
}

/** Queries and keys, also before they are rotated, and values of a layer's tokens: [head][token]. */
export function projected(shape: DecoderShape, weights: Weights, inputs: Decoded["inputs"], layer: number) {
  const of = (name: string, dim: number, rotated: boolean) => {
    const rows = inputs[layer]!.map((x, t) => {
      const all = heads(multiply(weights.get(`blk.${layer}.${name}.weight`)!, x), dim);
      return rotated ? all.map((head) => rotate(head, t)) : all;
    });
    return rows[0]!.map((_, h) => rows.map((row) => row[h]!));
  };
  const { keyDim, valueDim } = shape;
  return {
    queries: of("attn_q", keyDim, true),
    plainQueries: of("attn_q", keyDim, false),
    keys: of("attn_k", keyDim, true),
    plainKeys: of("attn_k", keyDim, false),
    values: of("attn_v", valueDim, false),
  };
}

export const EPSILON = 1e-5;
export const ROPE_BASE = 10000;

/** Rows and columns of every tensor; vectors have one row. */
export function tensorShapes(shape: DecoderShape): Map<string, readonly [rows: number, columns: number]> {
  const { hiddenDim, ffnDim, nHeads, sourceKvHeads, keyDim, valueDim } = shape;
  const shapes = new Map<string, readonly [number, number]>([
    ["token_embd.weight", [shape.vocabSize, hiddenDim]],
    ["output.weight", [shape.vocabSize, hiddenDim]],
    ["output_norm.weight", [1, hiddenDim]],
  ]);
  for (let layer = 0; layer < shape.nLayers; ++layer) {
    const add = (name: string, rows: number, columns: number) =>
      shapes.set(`blk.${layer}.${name}.weight`, [rows, columns]);
    add("attn_norm", 1, hiddenDim);
    add("ffn_norm", 1, hiddenDim);
    add("attn_q", nHeads * keyDim, hiddenDim);
    add("attn_k", sourceKvHeads * keyDim, hiddenDim);
    add("attn_v", sourceKvHeads * valueDim, hiddenDim);
    add("attn_output", hiddenDim, nHeads * valueDim);
    add("ffn_gate", ffnDim, hiddenDim);
    add("ffn_up", ffnDim, hiddenDim);
    add("ffn_down", hiddenDim, ffnDim);
    if (shape.nKvHeads === sourceKvHeads) continue;
    add("attn_k_pool", 1, sourceKvHeads);
    add("attn_v_pool", 1, sourceKvHeads);
  }
  return shapes;
}

function dot(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, x, i) => sum + x * b[i]!, 0);
}

function multiply(weight: Float32Array, x: readonly number[]): number[] {
  return Array.from({ length: weight.length / x.length }, (_, row) => {
    let sum = 0;
    for (let c = 0; c < x.length; ++c) sum += weight[row * x.length + c]! * x[c]!;
    return sum;
  });
}

function heads(x: readonly number[], dim: number): number[][] {
  return Array.from({ length: x.length / dim }, (_, h) => x.slice(h * dim, (h + 1) * dim));
}

/** Pairs (2i, 2i + 1) as complex numbers, turned. */
export function rotate(head: readonly number[], position: number): number[] {
  return head.map((x, d) => {
    const angle = ropeAngle64(position, d >> 1, head.length, ROPE_BASE);
    const other = head[d ^ 1]!;
    return d % 2 === 0 ? x * Math.cos(angle) - other * Math.sin(angle) : x * Math.cos(angle) + other * Math.sin(angle);
  });
}

/** KV head g: the weighted sum of the m source heads from g m on. */
function pool(sources: readonly (readonly number[])[], weights: Float32Array | undefined, n: number): number[][] {
  if (weights === undefined) return sources.map((head) => [...head]);
  const m = sources.length / n;
  return Array.from({ length: n }, (_, g) =>
    sources[0]!.map((_, d) => {
      let sum = 0;
      for (let i = g * m; i < (g + 1) * m; ++i) sum += weights[i]! * sources[i]![d]!;
      return sum;
    }),
  );
}

/** Tokens that token t sees in a layer's KV head, ascending, itself the last. */
export type Visible = (t: number, layer: number, kvHead: number) => readonly number[];

/** What is left where tokens are forgotten; `byPlace`: their places in the list are their positions then, or what it says. */
export interface Left {
  readonly visible: Visible;
  readonly byPlace: boolean | Visible;
}

/** Attention over the normed inputs of a layer where tokens are forgotten. */
function attendLeft(
  shape: DecoderShape,
  of: (name: string) => Float32Array,
  inputs: readonly number[][],
  { visible, byPlace }: Left,
  layer: number,
) {
  const { nHeads, nKvHeads, keyDim, valueDim } = shape;
  const split = (name: string, dim: number) => inputs.map((x) => heads(multiply(of(name), x), dim));
  const [queries, keys, values] = [split("attn_q", keyDim), split("attn_k", keyDim), split("attn_v", valueDim)];
  const placed = keys.map((token, j) => token.map((k) => rotate(k, j)));
  const placesOf = (left: readonly number[], ...of: Parameters<Visible>): readonly number[] => {
    if (typeof byPlace === "function") return byPlace(...of);
    return byPlace ? [...left.keys()] : left;
  };
  const outputs = queries.map((token, t) => {
    return token.flatMap((q, h) => {
      const g = Math.floor((h * nKvHeads) / nHeads);
      const left = visible(t, layer, g);
      const places = placesOf(left, t, layer, g);
      const turned = rotate(q, places.at(-1)!);
      const keyAt = (j: number, place: number) => (place === j ? placed[j]![g]! : rotate(keys[j]![g]!, place));
      const scores = left.map((j, i) => dot(turned, keyAt(j, places[i]!)) / Math.sqrt(keyDim));
      const weights = softmax64(scores);
      return Array.from({ length: valueDim }, (_, d) =>
        weights.reduce((sum, weight, place) => sum + weight * values[left[place]!]![g]![d]!, 0),
      );
    });
  });
  return { outputs, shares: inputs.map(() => Array<number>(nKvHeads).fill(nHeads / nKvHeads)) };
}

/** Attention over the normed inputs of a layer, before the output projection; and who shared what. */
function attend(shape: DecoderShape, of: (name: string) => Float32Array, inputs: readonly number[][]) {
  const { nHeads, nKvHeads, keyDim, valueDim, window } = shape;
  const queries = inputs.map((x, t) => heads(multiply(of("attn_q"), x), keyDim).map((q) => rotate(q, t)));
  const rotated = inputs.map((x, t) => heads(multiply(of("attn_k"), x), keyDim).map((k) => rotate(k, t)));
  const keys = rotated.map((sources) => pool(sources, of("attn_k_pool"), nKvHeads));
  const values = inputs.map((x) => pool(heads(multiply(of("attn_v"), x), valueDim), of("attn_v_pool"), nKvHeads));
  const even = Array<number>(nKvHeads).fill(nHeads / nKvHeads);
  const isEven = shape.grouping === "even";
  const shares = isEven ? keys.map(() => even) : keyNorms(keys).map((norms) => keyDrivenShares(norms, nHeads));
  const outputs = queries.map((token, t) => {
    const first = window === 0 ? 0 : Math.max(0, t + 1 - window);
    const groups = groupsOf(shares[t]!);
    return token.flatMap((q, h) => {
      const g = groups[h]!;
      const scores = keys.slice(first, t + 1).map((k) => dot(q, k[g]!) / Math.sqrt(keyDim));
      const weights = softmax64(scores);
      return Array.from({ length: valueDim }, (_, d) =>
        weights.reduce((sum, weight, j) => sum + weight * values[first + j]![g]![d]!, 0),
      );
    });
  });
  return { outputs, shares };
}

/** @param left - what each token sees where tokens are forgotten; heads share evenly then */
export function decode(shape: DecoderShape, weights: Weights, ids: readonly number[], left?: Left): Decoded {
  const embedding = weights.get("token_embd.weight")!;
  let stream = ids.map((id) => Array.from(embedding.subarray(id * shape.hiddenDim, (id + 1) * shape.hiddenDim)));
  const add = (branches: readonly number[][]): void => {
    stream = stream.map((x, t) => x.map((value, i) => value + branches[t]![i]!));
  };
  const norm = (weight: Float32Array): number[][] => stream.map((x) => rmsNormRef64(x, weight, EPSILON));
  const shares: number[][][] = [];
  const allInputs: number[][][] = [];
  for (let layer = 0; layer < shape.nLayers; ++layer) {
    const of = (name: string): Float32Array => weights.get(`blk.${layer}.${name}.weight`)!;
    const inputs = norm(of("attn_norm"));
    allInputs.push(inputs);
    const attended = left === undefined ? attend(shape, of, inputs) : attendLeft(shape, of, inputs, left, layer);
    shares.push(attended.shares);
    add(attended.outputs.map((out) => multiply(of("attn_output"), out)));
    const gated = norm(of("ffn_norm")).map((x) => {
      const up = multiply(of("ffn_up"), x);
      return multiply(of("ffn_gate"), x).map((gate, i) => swigluRef64(gate, up[i]!));
    });
    add(gated.map((x) => multiply(of("ffn_down"), x)));
  }
  const output = weights.get("output.weight")!;
  return {
    logits: norm(weights.get("output_norm.weight")!).map((x) => multiply(output, x)),
    shares,
    inputs: allInputs,
  };
}
