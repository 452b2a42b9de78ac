/**
 * A prompt read once more to find out what stays (KVzip): scores and choices on a small random llama against the formula in f64,
 * bits against themselves, and passes that cannot be or are left.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { ThimbleError } from "../../host/errors.ts";
import { overallBudgets } from "../../host/head-budgets.ts";
import type { LoadOptions } from "../../host/load-engine.ts";
import type { Model } from "../../host/model.ts";
import { endPrompt, evictPrompt, heldPositions } from "../../host/prompt-end.ts";
import { repeatContext } from "../../host/repeat.ts";
import { report } from "../kernel/compare.ts";
import { type DecoderShape, decode, projected } from "../oracle/decoder.ts";
import { repeated64 } from "../oracle/policies.ts";
import { platform, randomIds, sameBits } from "./load.ts";
import { openRandom, randomWeights, SMALL_SHAPE } from "./random-llama.ts";

const test = suite("a prompt read once more");

const SHAPE: DecoderShape = { ...SMALL_SHAPE, nHeads: 6 };
const WEIGHTS = randomWeights(SHAPE, 27);
const WORDING = { before: [1, 2, 3, 4, 5, 6], after: [7, 8], first: [9, 10, 11], next: [12, 13] };
const TEXT = randomIds(104, SHAPE.vocabSize, 8);
const IDS = [...WORDING.before, ...TEXT.slice(0, 82), ...WORDING.after];
const N = IDS.length; // 90
const PASS = { host: platform, check: () => {} };
const HALF = { keep: { share: 0.5 }, sinks: 0, window: 0 };

async function open(options: LoadOptions = {}): Promise<Model> {
  const exact = { contextLength: 256, keys: "f32", values: "f32", policy: "kvzip:chunk=32" } as const;
  const model = await openRandom(SHAPE, WEIGHTS, { ...exact, ...options });
  model.engine.wording = () => WORDING;
  return model;
}

function feed(model: Model, session: number, ids: readonly number[], at: number): Float32Array {
  const { maxRows } = model.engine.sizes;
  for (let from = 0; from < ids.length; from += maxRows) {
    const rows = ids.slice(from, from + maxRows).map((input, i) => ({ session, input, position: at + from + i }));
    model.forward(rows.map((row, i) => ({ ...row, logits: i === rows.length - 1 })));
  }
  return model.engine.logits(0).slice();
}

function prompted(model: Model): number {
  const session = model.engine.openSession();
  feed(model, session, IDS, 0);
  return session;
}

interface Terms {
  readonly sinks?: number;
  readonly named?: number;
  readonly heads?: number;
}

interface Chunk {
  readonly low: number;
  readonly high: number;
  /** Positions before the chunk that its rows see. */
  readonly sinks: number;
  readonly question: readonly number[];
}

/** Scores of every KV head's slots in f64. */
function scored(chunks: readonly Chunk[], heads = 3): number[][] {
  const scores = Array.from({ length: 4 }, () => new Array<number>(N).fill(0));
  for (const { low, high, sinks, question } of chunks) {
    const all = [...IDS, ...question, ...WORDING.after, ...IDS.slice(low, high)];
    const { inputs } = decode(SHAPE, WEIGHTS, all);
    for (let layer = 0; layer < 2; ++layer) {
      const { queries, keys } = projected(SHAPE, WEIGHTS, inputs, layer);
      keys.forEach((rows, kv) => {
        const group = queries.slice(kv * 3, kv * 3 + heads);
        const most = repeated64(group, rows, { sinks, low, high, own: N });
        for (let j = low; j < high; ++j) scores[layer * 2 + kv]![j] = most[j]!;
      });
    }
  }
  return scores;
}

/** "Repeat the part that begins with", and the tokens before `low`. */
function nextQuestion(low: number, begin: number, named = 8): number[] {
  return [...WORDING.next, ...IDS.slice(Math.max(begin, low - named), low)];
}

/** A whole prompt in chunks of 32, from 6 to 88. */
function expected({ sinks = 4, named = 8, heads = 3 }: Terms = {}): number[][] {
  const chunks = [6, 38, 70].map((low): Chunk => {
    const question = low === 6 ? WORDING.first : nextQuestion(low, 6, named);
    return { low, high: Math.min(88, low + 32), sinks, question };
  });
  return scored(chunks, heads);
}

const EXPECTED = expected();

const worst = (a: readonly (readonly number[])[], b: readonly (readonly number[])[]): number =>
  Math.max(...a.flatMap((of, head) => of.map((x, j) => Math.abs(x - b[head]![j]!))));

test("scores are the largest attention that the repetition gives each slot; formulas with a term less give others", async () => {
  await using model = await open();
  const { engine } = model;
  const session = prompted(model);
  const { tokens, recent } = await repeatContext(engine, session, IDS, engine.sizes.cache.policy!, PASS);
  assert.equal([tokens, recent], [82 + 3 + 2 * 10 + 3 * 2, 2]);
  const scores = Array.from({ length: 4 }, (_, head) =>
    Array.from(engine.runtime.floats(engine.runtime.exports.observedSumsAddress(session, head), N)),
  );
  const error = worst(scores, EXPECTED);
  report("kvzip scores", error, "of 1");
  assert.ok(error <= 1e-5, `${error}`);
  for (const terms of [{ sinks: 0 }, { named: 0 }, { heads: 1 }]) {
    assert.ok(worst(scores, expected(terms)) > 1e-3, JSON.stringify(terms));
  }
});

test("what is scored later is read from where it begins, and competes with all that is held before it", async () => {
  await using model = await open();
  const { engine } = model;
  const session = prompted(model);
  for (const span of [
    { start: 0, end: 40 },
    { start: 40, end: 88 },
  ]) {
    await repeatContext(engine, session, IDS, engine.sizes.cache.policy!, PASS, span);
  }
  const scores = Array.from({ length: 4 }, (_, head) =>
    Array.from(engine.runtime.floats(engine.runtime.exports.observedSumsAddress(session, head), N)),
  );
  const first = [
    { low: 0, high: 32, sinks: 0, question: WORDING.first },
    { low: 32, high: 40, sinks: 0, question: nextQuestion(32, 0) },
  ];
  const later = (sinks?: number, question?: readonly number[]): Chunk[] => [
    { low: 40, high: 72, sinks: sinks ?? 40, question: question ?? nextQuestion(40, 0) },
    { low: 72, high: 88, sinks: sinks ?? 72, question: nextQuestion(72, 0) },
  ];
  const error = worst(scores, scored([...first, ...later()]));
  report("kvzip scores, later", error, "of 1");
  assert.ok(error <= 1e-5, `${error}`);
  for (const other of [later(0), later(40), later(undefined, WORDING.first)]) {
    assert.ok(worst(scores, scored([...first, ...other])) > 1e-3);
  }
});

test("the highest of a layer stay, or of all layers; sinks and the end of the user's turn in any case", async () => {
  const scores = EXPECTED.map((of) => of.map((x, j) => (j < 4 || j >= 88 ? Number.POSITIVE_INFINITY : x)));
  for (const [policy, groups] of [
    ["kvzip-layerwise:chunk=32", [0, 2]],
    ["kvzip:chunk=32", [0]],
  ] as const) {
    await using model = await open({ policy });
    const session = prompted(model);
    const { repeatedTokens, spans } = await endPrompt(model.engine, session, HALF, IDS, PASS);
    assert.is(repeatedTokens, 111);
    assert.ok(spans.length > 0);
    const kept = heldPositions(model.engine, session);
    const size = 4 / groups.length;
    for (const first of groups) {
      const heads = Array.from({ length: size }, (_, i) => first + i);
      assert.is(
        heads.reduce((sum, head) => sum + kept[head]!.length, 0),
        (size * N) / 2,
      );
      const stays = heads.flatMap((head) => Array.from(kept[head]!, (j) => scores[head]![j]!));
      const goes = heads.flatMap((head) => scores[head]!.filter((_, j) => !kept[head]!.includes(j)));
      assert.ok(Math.max(...goes) <= Math.min(...stays) + 1e-5, policy);
    }
    const perLayer = [0, 1].map((layer) => kept[2 * layer]!.length + kept[2 * layer + 1]!.length);
    assert.is(perLayer[0] === N, policy.startsWith("kvzip-"), "layers differ where all compete");
  }
});

test("chunks of the pass, threads, a second turn: the same bits for the same events; nothing is left of the fork", async () => {
  for (const [keys, values] of [
    ["f32", "f32"],
    ["q8", "q4"],
    ["q4", "q4"],
  ] as const) {
    const run = async (options: LoadOptions): Promise<Float32Array> => {
      await using model = await open({ keys, values, kvWindow: 32, kvSinks: 32, ...options });
      const { exports } = model.engine.runtime;
      const session = prompted(model);
      await endPrompt(model.engine, session, HALF, IDS, PASS);
      const all = [...IDS, ...TEXT.slice(40)];
      feed(model, session, all.slice(N), N);
      await endPrompt(model.engine, session, HALF, all, PASS);
      const logits = feed(model, session, TEXT.slice(0, 9), all.length);
      exports.sessionClose(session);
      assert.is(exports.poolFreePages(), exports.poolPages(), "no page is lost");
      return logits;
    };
    const whole = await run({});
    assert.ok(whole.every(Number.isFinite));
    for (const options of [{ chunk: 7, maxOutputs: 1 }, { chunk: 1, maxOutputs: 1 }, { threads: 2 }]) {
      assert.ok(sameBits(await run(options), whole), `${keys}:${values}, ${JSON.stringify(options)}`);
    }
  }
});

test("a pass without room is refused, one that is left changes nothing", async () => {
  const codeOf = async (run: Promise<unknown>): Promise<readonly unknown[]> =>
    run.then(
      () => ["none"],
      (error: ThimbleError) => [error.code ?? error.message, error.needed, error.available],
    );
  await using small = await open({ contextLength: 120 });
  const tight = prompted(small);
  const before = heldPositions(small.engine, tight);
  assert.equal(await codeOf(endPrompt(small.engine, tight, HALF, IDS, PASS)), ["context_length_exceeded", 134, 120]);
  assert.equal(heldPositions(small.engine, tight), before);
  await using enough = await open({ contextLength: 134 });
  assert.equal(await codeOf(endPrompt(enough.engine, prompted(enough), HALF, IDS, PASS)), ["none"]);

  await using model = await open();
  const { engine } = model;
  const session = prompted(model);
  let passes = 0;
  const check = (): void => {
    if (++passes === 3) throw new Error("enough");
  };
  assert.equal((await codeOf(endPrompt(engine, session, HALF, IDS, { host: platform, check })))[0], "enough");
  assert.is(heldPositions(engine, session)[0]!.length, N);
  assert.equal(await codeOf(endPrompt(engine, session, HALF, IDS, PASS)), ["none"], "the observation was ended");
  const other = prompted(model);
  assert.throws(
    () => evictPrompt(engine, other, HALF),
    (error: ThimbleError) => error.code === "invalid_option",
    "nothing was repeated",
  );
});

test("budgets over all layers: the highest, ties once, each layer's sum shared out", () => {
  const layers = [
    [5, 1, 4, 1],
    [2, 1, 1, 3],
  ].map((of) => Float32Array.from(of));
  assert.equal(overallBudgets(layers, 2, 4), [1, 1, 1, 1]);
  assert.equal(overallBudgets(layers, 2, 3), [1, 1, 0, 1]);
  assert.equal(overallBudgets(layers, 2, 5), [1, 2, 1, 1]);
  assert.equal(overallBudgets(layers, 2, 8), [2, 2, 2, 2]);
  assert.equal(overallBudgets(layers, 2, 0), [0, 0, 0, 0]);
});

test.run();
