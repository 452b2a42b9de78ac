/**
 * Q-filters from texts, by the runtime itself (https://arxiv.org/abs/2503.02812): of each query head the direction that its
 * queries after RoPE have most in common, then the mean over the heads that share a KV head.
 *
 *   M = sum over all tokens of q q';   v = its first eigenvector, |v| = 1, v . mean q > 0;   f = mean of v over the group
 *
 * v is the first right singular vector of the queries. Sums and the power iteration in f64, in a fixed order: the same
 * filters on every host.
 * @module
 */
import { digestsOf } from "./capsule/digest.ts";
import { ThimbleError } from "./errors.ts";
import { writeFilters } from "./filters.ts";
import type { Model } from "./model.ts";
import { wrongOption } from "./options.ts";

/** How a model is to be loaded: with a policy whose queries can be read, and keys not rotated besides. */
export const CALIBRATION = { policy: "snapkv:window=64", chunk: 64, kvRotation: false } as const;

export interface CalibrationOptions {
  readonly signal?: AbortSignal;
  /** Tokens computed so far and in all. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** What is known of one query head's queries: their sum [d] and the sums of their products [d][d], of which i >= j count. */
interface QuerySums {
  readonly sum: Float64Array;
  readonly products: Float64Array;
}

/** Steps of the power iteration at most, and the change of a unit vector that ends it. */
const MOST_STEPS = 10_000;
const SETTLED = 1e-13;

/**
 * The bytes of a file of filters for a model that was loaded with `CALIBRATION`; every document is a context of its own.
 * @throws ThimbleError empty_prompt, context_length_exceeded, invalid_option, unsupported_runtime; the signal's reason
 */
export async function calibrate(
  model: Model,
  documents: readonly (readonly number[])[],
  options: CalibrationOptions = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const { config, header, stats } = model;
  const { nLayers, nHeads, nKvHeads, keyDim } = config;
  if (config.queryGrouping === "key_norm") {
    const message = "this model's query heads change their KV heads from token to token; there are no filters for it";
    throw wrongOption("filters", message);
  }
  const sums = await sumQueries(model, documents, options);
  const group = nHeads / nKvHeads;
  const values = new Float32Array(nLayers * nKvHeads * keyDim);
  for (let kv = 0; kv < nLayers * nKvHeads; ++kv) {
    const directions = sums.slice(kv * group, (kv + 1) * group).map(commonDirection);
    for (let d = 0; d < keyDim; ++d) {
      values[kv * keyDim + d] = directions.reduce((sum, v) => sum + v[d]!, 0) / group;
    }
  }
  const { model: digest } = await digestsOf({ engine: model.engine, header, activations: stats.activations });
  return writeFilters({ model: digest, values }, config);
}

/** By layer and query head. */
async function sumQueries(
  { engine, platform, config }: Model,
  documents: readonly (readonly number[])[],
  { signal, onProgress }: CalibrationOptions,
): Promise<QuerySums[]> {
  const { nLayers, nHeads, keyDim } = config;
  const { runtime, sizes } = engine;
  const { exports } = runtime;
  const rows = sizes.cache.policy?.observeRows ?? 0;
  if (rows === 0 || sizes.cache.rotateKeys) {
    throw wrongOption("policy", "calibration needs a model that was loaded for it");
  }
  const total = documents.reduce((sum, ids) => sum + ids.length, 0);
  if (total === 0) throw new ThimbleError("empty_prompt", "there is no token to calibrate with; give a text");
  const sums = Array.from({ length: nLayers * nHeads }, (): QuerySums => {
    return { sum: new Float64Array(keyDim), products: new Float64Array(keyDim * keyDim) };
  });
  let done = 0;
  for (const ids of documents) {
    if (ids.length > sizes.contextLength) {
      const message = `a text of ${ids.length} tokens exceeds the context of ${sizes.contextLength}`;
      const amounts = { needed: ids.length, available: sizes.contextLength };
      throw new ThimbleError("context_length_exceeded", message, amounts);
    }
    const session = engine.openSession();
    try {
      for (let at = 0; at < ids.length; at += rows) {
        signal?.throwIfAborted();
        const chunk = ids.slice(at, at + rows);
        exports.observeRows(session, at);
        engine.forward(chunk.map((input, i) => ({ session, input, position: at + i })));
        const queries = runtime.floats(exports.queriesAddress(session, 0, 0), nLayers * rows * nHeads * keyDim);
        for (const [i, head] of sums.entries()) {
          const [layer, h] = [Math.floor(i / nHeads), i % nHeads];
          for (let r = 0; r < chunk.length; ++r) {
            const from = ((layer * rows + r) * nHeads + h) * keyDim;
            addQuery(head, queries.subarray(from, from + keyDim));
          }
        }
        done += chunk.length;
        onProgress?.(done, total);
        await platform.pause();
      }
    } finally {
      exports.sessionClose(session);
    }
  }
  return sums;
}

function addQuery({ sum, products }: QuerySums, q: Float32Array): void {
  const n = q.length;
  for (let i = 0; i < n; ++i) {
    const factor = q[i]!;
    sum[i] = sum[i]! + factor;
    for (let j = 0, at = i * n; j <= i; ++j, ++at) products[at] = products[at]! + factor * q[j]!;
  }
}

/** The first eigenvector of the products, which are not negative definite; it points where the sum does. */
export function commonDirection({ sum, products }: QuerySums): Float64Array {
  const n = sum.length;
  for (let i = 0; i < n; ++i) for (let j = 0; j < i; ++j) products[j * n + i] = products[i * n + j]!;
  let v = normalized(sum) ?? new Float64Array(n).fill(1 / Math.sqrt(n));
  for (let step = 0; step < MOST_STEPS; ++step) {
    const next = normalized(v.map((_, i) => dot(products.subarray(i * n, (i + 1) * n), v)));
    if (next === undefined) break; // all queries are zero
    const change = Math.max(...next.map((x, i) => Math.abs(x - v[i]!)));
    v = next;
    if (change < SETTLED) break;
  }
  return dot(v, sum) < 0 ? v.map((x) => -x) : v;
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; ++i) sum += a[i]! * b[i]!;
  return sum;
}

function normalized(x: Float64Array): Float64Array | undefined {
  const size = Math.sqrt(dot(x, x));
  return size > 0 ? x.map((value) => value / size) : undefined;
}
