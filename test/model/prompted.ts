/**
 * A prompt that ends under a policy, on a small random llama, and the same in f64: queries, keys and values of every head.
 * @module
 */
import { CALIBRATION, calibrate } from "../../host/calibration.ts";
import type { LoadOptions } from "../../host/load-engine.ts";
import type { Model } from "../../host/model.ts";
import { beginPrompt, evictPrompt, observedRows, type PromptRule } from "../../host/prompt-end.ts";
import { type DecoderShape, decode, projected } from "../oracle/decoder.ts";
import type { Rows } from "../oracle/policies.ts";
import { randomIds } from "./load.ts";
import { openRandom, randomWeights, SMALL_SHAPE } from "./random-llama.ts";

export const SHAPE: DecoderShape = { ...SMALL_SHAPE, nHeads: 6 };
export const GROUP = SHAPE.nHeads / SHAPE.nKvHeads;
export const HEADS = SHAPE.nLayers * SHAPE.nKvHeads;
export const WEIGHTS = randomWeights(SHAPE, 21);
export const IDS = randomIds(170, SHAPE.vocabSize, 8);
export const PROMPT = 140;
export const HALF: PromptRule = { keep: { share: 0.5 }, sinks: 0, window: 0 };
export const EXACT = { contextLength: 224, keys: "f32", values: "f32" } as const;

export const POLICIES = [
  "streaming",
  "key-norm",
  "key-diff",
  "snapkv:window=16,kernel=5",
  "pyramidkv:window=8,kernel=3,beta=4",
  "adakv:window=16,safeguard=0.3",
  "tova",
  "lagkv:sinks=3,lag=20",
  "finch:window=16",
  "chunkkv:window=16,chunk=10",
  "observed-attention",
  "h2o",
  "compactor:chunk=32,sketch=12",
  "criticalkv:window=16",
  "criticaladakv:window=16,safeguard=0.3",
  "expected-attention:future=50",
  "adakv-expected:covariance=0",
  "criticalkv-expected",
  "q-filter",
  "simlayerkv:threshold=0",
];

/** Filters of the prompt itself. */
const FILTERS = openRandom(SHAPE, WEIGHTS, { ...EXACT, ...CALIBRATION }).then(async (model) => {
  const filters = await calibrate(model, [IDS.slice(0, PROMPT)]);
  await model.close();
  return filters;
});

export async function open(policy: string, options: LoadOptions = EXACT): Promise<Model> {
  const filters = policy === "q-filter" ? { filters: await FILTERS } : {};
  return openRandom(SHAPE, WEIGHTS, { ...options, ...filters, policy });
}

/** Tokens [from, to) into a session in chunks; logits of the last one. */
export function feed(model: Model, session: number, from: number, to: number, chunk = 64, ids = IDS): Float32Array {
  for (let at = from; at < to; at += chunk) {
    const rows = ids.slice(at, Math.min(to, at + chunk)).map((input, i) => ({ session, input, position: at + i }));
    model.forward(rows.map((row, i) => ({ ...row, logits: i === rows.length - 1 })));
  }
  return model.engine.logits(0).slice();
}

/** A session whose prompt has ended. */
export function prompted(model: Model, rule: PromptRule = HALF, chunk = 64): number {
  const session = model.engine.openSession();
  beginPrompt(model.engine, session, 0);
  model.engine.runtime.exports.observeRows(session, Math.max(0, PROMPT - observedRows(model.engine)));
  feed(model, session, 0, PROMPT, chunk);
  evictPrompt(model.engine, session, rule);
  return session;
}

export interface Scored {
  readonly queries: readonly Rows[];
  /** The same before RoPE. */
  readonly plainQueries: readonly Rows[];
  readonly keys: Rows;
  /** Before RoPE, in the engine's order of dims. */
  readonly plainKeys: Rows;
  readonly values: Rows;
}

/** Queries of its group, keys and values of every KV head, by layer, in f64. */
export function scoredLayers(): Scored[][] {
  const { inputs } = decode(SHAPE, WEIGHTS, IDS.slice(0, PROMPT));
  return Array.from({ length: SHAPE.nLayers }, (_, layer) => {
    const { queries, plainQueries, keys, plainKeys, values } = projected(SHAPE, WEIGHTS, inputs, layer);
    return keys.map((rows, kv): Scored => {
      const group = [kv * GROUP, (kv + 1) * GROUP] as const;
      return {
        queries: queries.slice(...group),
        plainQueries: plainQueries.slice(...group),
        keys: rows,
        plainKeys: halfSplit(plainKeys[kv]!),
        values: values[kv]!,
      };
    });
  });
}

/** Pairs (2i, 2i + 1) as (i, i + d/2), where the engine has them. */
function halfSplit(rows: Rows): Rows {
  const half = SHAPE.keyDim / 2;
  return rows.map((row) => row.map((_, d) => row[d < half ? 2 * d : 2 * (d - half) + 1]!));
}
