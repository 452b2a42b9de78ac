/**
 * Which KV heads need all slots, from a look at what they do: the scores that the policies "duo-attention" and "razor" deal by.
 *
 * Duo (https://arxiv.org/abs/2410.10819 learns it; this is how kvpress finds it on the fly): of each head the mean query q and
 * mean key k of a text, before RoPE, stand at all of 500 positions; a = softmax over j of R(499) q . R(j) k * scale;
 *   score = mean over texts and heads of the group of (sum over i of sum over j <= i of a_j) / 500: high, if far slots get much
 *
 * Razor (https://arxiv.org/abs/2407.15891): a random sequence of tokens, several times over. A head echoes where its queries
 * look at earlier places of the same token, and is an induction head where they look at what came after those;
 *   score = largest over the heads of the group of max(echo, induction), as means over the rows of later times of the attention
 * The paper takes 1% of the heads for echoes and 14% for induction, at 4 times 2,500 tokens, and puts a token in place of what
 * went; here the best of both count alike, and what goes is gone.
 *
 * Scores are rounded to 6 decimals; they are made offline, so the host's exp will do.
 * @module
 */
import type { Engine } from "./engine.ts";
import { ThimbleError } from "./errors.ts";
import { type HeadScoreKind, type HeadScores, modelDigest } from "./head-scores.ts";
import type { LoadOptions } from "./load-engine.ts";
import type { Model } from "./model.ts";
import { checkInteger, wrongOption } from "./options.ts";
import { createRandom } from "./random.ts";

/** How a model must be loaded for it: keys as they are, and the queries of a whole chunk kept. */
export const CALIBRATION: LoadOptions = {
  keys: "f32",
  values: "f32",
  kvRotation: false,
  chunk: 64,
  policy: "finch:window=64",
};

/** Positions that the mean query and key stand at. */
const REACH = 500;

export interface CalibrateOptions {
  /** Razor: tokens of the random sequence, how many times it is read, and the seed it is drawn with. Default 256, 2, 1. */
  readonly length?: number;
  readonly times?: number;
  readonly seed?: number;
  readonly signal?: AbortSignal;
  /** Tokens done so far and in all. */
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * @param texts token ids, for "duo"; each must fit the context. Not used for "razor"
 * @param model loaded with `CALIBRATION` among its options
 * @throws ThimbleError invalid_option, empty_prompt, context_length_exceeded; the signal's reason
 */
export async function calibrateHeads(
  model: Model,
  kind: HeadScoreKind,
  texts: readonly (readonly number[])[],
  options: CalibrateOptions = {},
): Promise<HeadScores> {
  const { engine } = model;
  const { cache, maxRows, contextLength } = engine.sizes;
  if (cache.rotateKeys || (cache.policy?.observeRows ?? 0) < maxRows || engine.config.queryGrouping === "key_norm") {
    const message = "the model must be loaded with the options of CALIBRATION, and have query groups of equal size";
    throw wrongOption("policy", message);
  }
  const sequences = kind === "duo" ? texts : [repeated(engine, options)];
  if (sequences.length === 0 || sequences.some((ids) => ids.length < 2)) {
    throw new ThimbleError("empty_prompt", "a calibration needs texts of at least 2 tokens each");
  }
  const longest = Math.max(...sequences.map((ids) => ids.length));
  if (longest > contextLength) {
    const message = `a text has ${longest} tokens; the context holds ${contextLength}`;
    throw new ThimbleError("context_length_exceeded", message, { needed: longest, available: contextLength });
  }
  const tokens = sequences.reduce((sum, ids) => sum + ids.length, 0);
  const totals = new Float64Array(engine.config.nLayers * engine.config.nHeads);
  let done = 0;
  for (const ids of sequences) {
    const seen = kind === "duo" ? new Means(engine) : new Lookers(engine, options.length ?? LENGTH);
    const session = engine.openSession();
    try {
      for (let at = 0; at < ids.length; at += maxRows) {
        options.signal?.throwIfAborted();
        const rows = ids.slice(at, at + maxRows);
        engine.runtime.exports.observeRows(session, at);
        model.forward(rows.map((input, i) => ({ session, input, position: at + i })));
        seen.look(session, at, rows.length);
        done += rows.length;
        options.onProgress?.(done, tokens);
        await model.platform.pause();
      }
      seen.scores(session, ids.length).forEach((score, head) => {
        totals[head]! += score / sequences.length;
      });
    } finally {
      engine.runtime.exports.sessionClose(session);
    }
  }
  const scores = byKvHead(engine, totals, kind === "duo");
  return { thimble: "head-scores", version: 1, kind, model: await modelDigest(model.calibrated), tokens, scores };
}

/** The mean or the largest of each group, [layer][KV head]. */
function byKvHead({ config }: Engine, totals: Float64Array, isMean: boolean): number[][] {
  const { nLayers, nHeads, nKvHeads } = config;
  const group = nHeads / nKvHeads;
  return Array.from({ length: nLayers }, (_, layer) =>
    Array.from({ length: nKvHeads }, (_, kv) => {
      const of = totals.subarray(layer * nHeads + kv * group, layer * nHeads + (kv + 1) * group);
      const score = isMean ? of.reduce((sum, x) => sum + x, 0) / group : Math.max(...of);
      return Math.min(1, Math.max(0, Number(score.toFixed(6))));
    }),
  );
}

/** Turns pairs (i, i + d/2) by the angles, or back. */
function turn(x: Float64Array, angles: Float32Array | undefined, sign: 1 | -1): void {
  if (angles === undefined) return;
  const half = angles.length >> 1;
  for (let i = 0; i < half; ++i) {
    const c = angles[i]!;
    const s = sign * angles[half + i]!;
    const size = sign > 0 ? 1 : c * c + s * s; // tables may have a magnitude
    const [a, b] = [x[i]!, x[half + i]!];
    x[i] = (a * c - b * s) / size;
    x[half + i] = (b * c + a * s) / size;
  }
}

function anglesAt({ runtime, config }: Engine, layer: number, position: number): Float32Array | undefined {
  const address = runtime.exports.layerAngles(layer, position);
  return address === 0 ? undefined : runtime.floats(address, config.ropeDim).slice();
}

/** Mean queries and keys of a text, before RoPE. */
class Means {
  readonly #engine: Engine;
  readonly #queries: Float64Array[];

  constructor(engine: Engine) {
    const { nLayers, nHeads, keyDim } = engine.config;
    this.#engine = engine;
    this.#queries = Array.from({ length: nLayers * nHeads }, () => new Float64Array(keyDim));
  }

  look(session: number, at: number, rows: number): void {
    const { runtime, config } = this.#engine;
    const { nLayers, nHeads, keyDim } = config;
    for (let layer = 0; layer < nLayers; ++layer) {
      for (let r = 0; r < rows; ++r) {
        const angles = anglesAt(this.#engine, layer, at + r);
        const all = runtime.floats(runtime.exports.queriesAddress(session, layer, r), nHeads * keyDim);
        for (let h = 0; h < nHeads; ++h) {
          const q = Float64Array.from(all.subarray(h * keyDim, (h + 1) * keyDim));
          turn(q, angles, -1);
          const mean = this.#queries[layer * nHeads + h]!;
          for (let d = 0; d < keyDim; ++d) mean[d]! += q[d]!;
        }
      }
    }
  }

  scores(session: number, n: number): number[] {
    const { runtime, config } = this.#engine;
    const { nLayers, nHeads, nKvHeads, keyDim } = config;
    const scale = config.attentionScale !== 0 ? config.attentionScale : 1 / Math.sqrt(keyDim);
    const result: number[] = [];
    for (let layer = 0; layer < nLayers; ++layer) {
      const places = Array.from({ length: Math.max(n, REACH) }, (_, p) => anglesAt(this.#engine, layer, p));
      for (let h = 0; h < nHeads; ++h) {
        const kv = Math.floor((h * nKvHeads) / nHeads);
        const keys = runtime.floats(runtime.exports.headKeys(session, layer * nKvHeads + kv), n * keyDim);
        const mean = new Float64Array(keyDim);
        for (let p = 0; p < n; ++p) {
          const k = Float64Array.from(keys.subarray(p * keyDim, (p + 1) * keyDim));
          turn(k, places[p], -1);
          for (let d = 0; d < keyDim; ++d) mean[d]! += k[d]! / n;
        }
        const q = this.#queries[layer * nHeads + h]!.map((x) => x / n);
        turn(q, places[REACH - 1], 1);
        const logits = Array.from({ length: REACH }, (_, p) => {
          const k = mean.slice();
          turn(k, places[p], 1);
          return k.reduce((sum, x, d) => sum + x * q[d]!, 0) * scale;
        });
        const top = Math.max(...logits);
        const weights = logits.map((x) => Math.exp(x - top));
        const sum = weights.reduce((a, b) => a + b, 0);
        result.push(weights.reduce((area, w, j) => area + (w / sum) * (REACH - j), 0) / REACH);
      }
    }
    return result;
  }
}

/** Tokens of a random sequence, where the options do not say. */
const LENGTH = 256;

/** A random sequence, several times over. */
function repeated({ config }: Engine, { length = LENGTH, times = 2, seed = 1 }: CalibrateOptions): number[] {
  checkInteger("length", length, 2, 65_536);
  checkInteger("times", times, 2, 64);
  const random = createRandom(seed);
  const ids = Array.from({ length }, () => Math.floor(random.next() * config.vocabSize));
  return Array.from({ length: times }, () => ids).flat();
}

/** How much heads look at earlier places of the same token, and at what came after those. */
class Lookers {
  readonly #engine: Engine;
  readonly #period: number;
  readonly #echo: Float64Array;
  readonly #induction: Float64Array;

  constructor(engine: Engine, period: number) {
    const { nLayers, nHeads } = engine.config;
    this.#engine = engine;
    this.#period = period;
    this.#echo = new Float64Array(nLayers * nHeads);
    this.#induction = new Float64Array(nLayers * nHeads);
  }

  look(session: number, at: number, rows: number): void {
    const { runtime, config } = this.#engine;
    const { nLayers, nHeads, nKvHeads } = config;
    if (at + rows <= this.#period) return;
    for (let layer = 0; layer < nLayers; ++layer) {
      for (let h = 0; h < nHeads; ++h) {
        if (h % (nHeads / nKvHeads) === 0) {
          runtime.exports.headKeys(session, layer * nKvHeads + Math.floor((h * nKvHeads) / nHeads));
        }
        for (let r = Math.max(0, this.#period - at); r < rows; ++r) {
          const weights = runtime.floats(runtime.exports.rowAttention(session, layer, h, r), at + rows);
          for (let p = at + r - this.#period; p >= 0; p -= this.#period) {
            this.#echo[layer * nHeads + h]! += weights[p]!;
            this.#induction[layer * nHeads + h]! += weights[p + 1]!;
          }
        }
      }
    }
  }

  scores(_session: number, n: number): number[] {
    return Array.from(this.#echo, (echo, i) => Math.max(echo, this.#induction[i]!) / (n - this.#period));
  }
}
