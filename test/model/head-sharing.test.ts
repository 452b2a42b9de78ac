/**
 * How query heads share KV heads, on small random llamas written here: all logits against a forward pass in f64
 * (test/oracle/decoder.ts), and key-driven groups against the formula.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Model } from "../../host/model.ts";
import { HEAD_BYTES, SESSION_BYTES } from "../cache/engine.ts";
import { report } from "../kernel/compare.ts";
import { floats } from "../kernel/values.ts";
import { type Decoded, type DecoderShape, decode, tensorShapes } from "../oracle/decoder.ts";
import { allLogits, randomIds, sameBits } from "./load.ts";
import { deviation, distance, openRandom, randomWeights, type Weights } from "./random-llama.ts";

const BASE: DecoderShape = {
  nLayers: 2,
  hiddenDim: 64,
  ffnDim: 96,
  vocabSize: 40,
  nHeads: 4,
  sourceKvHeads: 4,
  nKvHeads: 4,
  keyDim: 16,
  valueDim: 16,
  grouping: "even",
  window: 0,
};
const EIGHT: DecoderShape = { ...BASE, nHeads: 8, sourceKvHeads: 8, nKvHeads: 8, keyDim: 8, valueDim: 8 };
const kv = (shape: DecoderShape, n: number): DecoderShape => ({ ...shape, sourceKvHeads: n, nKvHeads: n });

const IDS = randomIds(80, BASE.vocabSize, 31);

/** All logits near the oracle's. */
function checkLogits(what: string, model: Model, decoded: Decoded): void {
  const expected = decoded.logits.flat();
  const std = deviation(expected);
  assert.ok(std > 0.8 && std < 4, `${what}: logits of standard deviation ${std}`);
  const error = distance(allLogits(model, IDS, 64), expected);
  report(what, error, "standard deviations");
  assert.ok(error <= 1e-4, `${what}: ${error} standard deviations off`);
}

const SHAPES: Record<string, DecoderShape> = {
  MHA: BASE,
  "GQA, groups of 2": kv(BASE, 2),
  "GQA, 8 query heads, 4 KV heads": kv(EIGHT, 4),
  "GQA, 8 query heads, 2 KV heads": kv(EIGHT, 2),
  "GQA, groups of 3": { ...kv(BASE, 2), nHeads: 6 },
  "MQA, 4 query heads": kv(BASE, 1),
  "MQA, 8 query heads": kv(EIGHT, 1),
  "keys of 32, values of 16": { ...kv(BASE, 2), keyDim: 32 },
  "keys of 16, values of 32": { ...kv(BASE, 2), valueDim: 32 },
  "SQA, 4 of 8 query heads, 4 KV heads": { ...BASE, hiddenDim: 128 },
  "SQA, 4 of 8 query heads, 2 KV heads": { ...kv(BASE, 2), hiddenDim: 128 },
  "WGQA, 8 heads to 4": { ...EIGHT, nKvHeads: 4 },
  "WGQA, 8 heads to 2": { ...EIGHT, nKvHeads: 2 },
  "WGQA, 4 heads to 1, values of 32": { ...BASE, nKvHeads: 1, valueDim: 32 },
  "WGQA with a window": { ...EIGHT, nKvHeads: 2, window: 20 },
  "KDGQA, 8 query heads, 2 KV heads": { ...kv(EIGHT, 2), grouping: "key_norm" },
  "KDGQA, 8 query heads, 4 KV heads": { ...kv(EIGHT, 4), grouping: "key_norm" },
  "KDGQA, 7 query heads, 3 KV heads": { ...kv(EIGHT, 3), nHeads: 7, grouping: "key_norm" },
  "KDGQA, 4 query heads, 8 KV heads": { ...kv(BASE, 8), grouping: "key_norm" },
  "KDGQA, MHA": { ...BASE, grouping: "key_norm" },
  "KDGQA, MQA": { ...kv(BASE, 1), grouping: "key_norm" },
  "KDGQA of pooled heads, keys of 16": { ...EIGHT, keyDim: 16, nKvHeads: 4, grouping: "key_norm" },
  "KDGQA with a window": { ...kv(EIGHT, 4), grouping: "key_norm", window: 20 },
};

for (const [i, [what, shape]] of Object.entries(SHAPES).entries()) {
  test(`${what}: the logits of the formulas in f64`, async () => {
    const weights = randomWeights(shape, 100 + i);
    checkLogits(what, await openRandom(shape, weights), decode(shape, weights, IDS));
  });
}

test("WGQA with equal weights is GQA over averaged rows", async () => {
  const pooled: DecoderShape = { ...EIGHT, nKvHeads: 2 };
  const grouped = kv(EIGHT, 2);
  const weights = randomWeights(pooled, 7);
  const averaged: Weights = new Map(weights);
  for (let layer = 0; layer < 2; ++layer) {
    for (const kind of ["k", "v"]) {
      weights.set(`blk.${layer}.attn_${kind}_pool.weight`, new Float32Array(8).fill(1 / 4));
      averaged.delete(`blk.${layer}.attn_${kind}_pool.weight`);
      const name = `blk.${layer}.attn_${kind}.weight`;
      const [rows, columns] = tensorShapes(grouped).get(name)!;
      const source = weights.get(name)!;
      // Row d of KV head g: the mean of rows d of source heads 4g .. 4g + 3.
      const size = 8 * columns;
      const part = (i: number, j: number): number => source[i + (3 * Math.floor(i / size) + j) * size]!;
      const mean = (i: number): number => (part(i, 0) + part(i, 1) + part(i, 2) + part(i, 3)) / 4;
      averaged.set(name, floats(rows * columns, mean));
    }
  }
  const model = await openRandom(pooled, weights);
  checkLogits("mean pooling", model, decode(grouped, averaged, IDS));
  const plain = allLogits(await openRandom(grouped, averaged), IDS, 64);
  assert.ok(distance(allLogits(model, IDS, 64), Array.from(plain)) <= 1e-4);
});

const KEY_DRIVEN = SHAPES["KDGQA, 8 query heads, 4 KV heads"]!;

test("KDGQA: the groups differ from token to token and from even ones, and the logits with them", () => {
  const weights = randomWeights(KEY_DRIVEN, 5);
  const { logits, shares } = decode(KEY_DRIVEN, weights, IDS);
  for (const layer of shares) {
    const distinct = new Set(layer.map(String));
    assert.ok(distinct.size >= 4, `${distinct.size} ways to share`);
    assert.ok(layer.flat().includes(0), "some KV head has no query head");
    assert.not(distinct.has("2,2,2,2"), "even");
  }
  const even = decode({ ...KEY_DRIVEN, grouping: "even" }, weights, IDS);
  assert.ok(distance(even.logits.flat(), logits.flat()) > 0.1);
});

/** Feeds ids one by one; logits that must be those of the positions in `expected`. */
function feed(model: Model, session: number, ids: readonly number[], expected?: Float32Array): void {
  const { engine, config } = model;
  for (const input of ids) {
    const position = engine.runtime.exports.sessionLength(session);
    model.forward([{ session, input, position, logits: true }]);
    const logits = expected?.subarray(position * config.vocabSize, (position + 1) * config.vocabSize);
    assert.ok(logits === undefined || sameBits(engine.logits(0), logits), `position ${position}`);
  }
}

/** The squares of keys that a session's heads have, as bits: fields 8 to 11 of each HeadView, of all keys and of closed pages. */
function keySquares({ engine, config }: Model, session: number): number[] {
  const nHeads = config.nLayers * config.nKvHeads;
  const words = engine.runtime.words(session + SESSION_BYTES, (nHeads * HEAD_BYTES) / 4);
  return Array.from(words).filter((_, i) => i % 14 >= 8 && i % 14 < 12);
}

test("KDGQA: chunks of 1, 7 and 64, sessions side by side, and what is left after a truncation: the same bits", async () => {
  for (const shape of [KEY_DRIVEN, SHAPES["KDGQA with a window"]!]) {
    const model = await openRandom(shape, randomWeights(shape, 5));
    const { exports } = model.engine.runtime;
    const other = randomIds(120, shape.vocabSize, 32);
    const alone = [IDS, other].map((ids) => allLogits(model, ids, 1));
    for (const chunk of [7, 64]) assert.ok(sameBits(allLogits(model, IDS, chunk), alone[0]!), `chunk ${chunk}`);
    const sessions = [model.engine.openSession(), model.engine.openSession()];
    for (let at = 0; at < 80; at += 5) {
      const rows = [IDS, other].flatMap((ids, s) =>
        ids.slice(at, at + 5).map((input, i) => ({ session: sessions[s]!, input, position: at + i, logits: true })),
      );
      model.forward(rows);
      rows.forEach(({ session, position }, i) => {
        const expected = alone[sessions.indexOf(session)]!.subarray(position * shape.vocabSize);
        const logits = model.engine.logits(i);
        assert.ok(sameBits(logits, expected.subarray(0, logits.length)), `position ${position} of two sessions`);
      });
    }
    const squares = keySquares(model, sessions[0]!);
    for (const to of [79, 33, 32, 1]) {
      for (const length of [80, 120]) {
        const session = model.engine.openSession();
        feed(model, session, [...IDS.slice(0, to), ...other].slice(0, length));
        const kept = exports.sessionTruncate(session, to);
        assert.is(kept, shape.window > 0 && length === 120 ? 0 : to, "nothing, where keys to measure are gone");
        feed(model, session, IDS.slice(kept), alone[0]);
        assert.equal(keySquares(model, session), squares);
        exports.sessionClose(session);
      }
    }
  }
});

test("KDGQA: KV heads with the same keys in another order, whose norms differ by a rounding at most", async () => {
  const shape: DecoderShape = { ...kv(EIGHT, 2), nLayers: 1, keyDim: 16, grouping: "key_norm" };
  const weights = randomWeights(shape, 3);
  const keys = weights.get("blk.0.attn_k.weight")!;
  for (let d = 0; d < 16; ++d) keys.set(keys.slice((15 - d) * 64, (16 - d) * 64), (16 + d) * 64);
  const model = await openRandom(shape, weights);
  for (let input = 0; input < shape.vocabSize; ++input) {
    const session = model.engine.openSession();
    model.forward([{ session, input, position: 0, logits: true }]);
    assert.ok(model.engine.logits(0).every(Number.isFinite), `token ${input}`);
    model.engine.runtime.exports.sessionClose(session);
  }
});

test.run();
