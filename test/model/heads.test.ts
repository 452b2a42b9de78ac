/**
 * Heads that keep all and heads that keep the first and newest slots: their scores by calibration against the formulas in f64,
 * budgets dealt by them, and files of scores that are not what they should be.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { CALIBRATION, calibrateHeads } from "../../host/calibrate-heads.ts";
import type { ThimbleError } from "../../host/errors.ts";
import { headBudgets } from "../../host/head-budgets.ts";
import { type HeadScores, modelDigest, parseHeadScores } from "../../host/head-scores.ts";
import type { LoadOptions } from "../../host/load-engine.ts";
import type { Model } from "../../host/model.ts";
import { parsePolicy } from "../../host/policy.ts";
import { evictPrompt, heldPositions } from "../../host/prompt-end.ts";
import { createRandom } from "../../host/random.ts";
import { report } from "../kernel/compare.ts";
import { type DecoderShape, decode, projected } from "../oracle/decoder.ts";
import { duoScore64, lookScores64, type Rows } from "../oracle/policies.ts";
import { randomIds } from "./load.ts";
import { openRandom, randomWeights, SMALL_SHAPE } from "./random-llama.ts";

const test = suite("heads");

const SHAPE: DecoderShape = { ...SMALL_SHAPE, nHeads: 6 };
const WEIGHTS = randomWeights(SHAPE, 23);
const open = (options: LoadOptions): Promise<Model> => openRandom(SHAPE, WEIGHTS, { contextLength: 224, ...options });

/** Largest difference of scores, and the sum of how far they lie apart. */
function compare(actual: readonly (readonly number[])[], expected: readonly (readonly number[])[]): [number, number] {
  const pairs = actual.flatMap((heads, layer) => heads.map((x, kv) => [x, expected[layer]![kv]!] as const));
  const spread = Math.max(...pairs.map(([, x]) => x)) - Math.min(...pairs.map(([, x]) => x));
  return [Math.max(...pairs.map(([a, b]) => Math.abs(a - b))), spread];
}

/** Scores [layer][KV head] from the queries of a group and its keys. */
function scored(ids: readonly number[], isRotated: boolean, of: (queries: readonly Rows[], keys: Rows) => number) {
  const { inputs } = decode(SHAPE, WEIGHTS, ids);
  return Array.from({ length: SHAPE.nLayers }, (_, layer) => {
    const all = projected(SHAPE, WEIGHTS, inputs, layer);
    const queries = isRotated ? all.queries : all.plainQueries;
    const keys = isRotated ? all.keys : all.plainKeys;
    return keys.map((rows, kv) => of(queries.slice(kv * 3, (kv + 1) * 3), rows));
  });
}

test("duo: the area under the mean query's attention to the mean key, over texts; not without rotation, nor rotated twice", async () => {
  await using model = await open(CALIBRATION);
  const texts = [randomIds(100, SHAPE.vocabSize, 3), randomIds(70, SHAPE.vocabSize, 4)];
  const { scores, kind, tokens, model: of } = await calibrateHeads(model, "duo", texts);
  assert.equal([kind, tokens, of], ["duo", 170, await modelDigest(model.calibrated)]);
  const all = texts.map((ids) => scored(ids, false, duoScore64));
  const expected = all[0]!.map((heads, layer) => heads.map((x, kv) => (x + all[1]![layer]![kv]!) / 2));
  const [error, spread] = compare(scores, expected);
  report("duo scores", error, "of 1");
  assert.ok(error <= 2e-6 && spread > 0.005, `${error} of ${spread}`);
  const rotated = scored(texts[0]!, true, duoScore64);
  assert.ok(compare(scores, rotated)[0] > 1e-3, "means are taken before RoPE");
  assert.ok(compare(scores, all[0]!)[0] > 1e-4, "of both texts");
});

test("razor: the largest attention of a group's heads to the same token before, or to what came after it", async () => {
  await using model = await open(CALIBRATION);
  for (const times of [2, 3]) {
    const { scores, kind, tokens } = await calibrateHeads(model, "razor", [], { length: 50, times, seed: 5 });
    assert.equal([kind, tokens], ["razor", 50 * times]);
    const random = createRandom(5);
    const once = Array.from({ length: 50 }, () => Math.floor(random.next() * SHAPE.vocabSize));
    const ids = Array.from({ length: times }, () => once).flat();
    const of = (which: "both" | "echo" | "induction") =>
      scored(ids, true, (queries, keys) => lookScores64(queries, keys, 50, which));
    const [error, spread] = compare(scores, of("both"));
    report("razor scores", error, "of 1");
    assert.ok(error <= 2e-6 && spread > 1e-3, `${error} of ${spread}`);
    for (const less of ["echo", "induction"] as const)
      assert.ok(compare(scores, of(less))[0] > 1e-5, `not ${less} alone`);
  }
});

/** Scores for the random model, in the order of `order`. */
async function made(kind: HeadScores["kind"], scores: readonly (readonly number[])[], options: LoadOptions = {}) {
  await using model = await open(options);
  const digest = await modelDigest(model.calibrated);
  return { thimble: "head-scores", version: 1, kind, model: digest, tokens: 9, scores } as const;
}

const SCORES = [
  [0.9, 0.2],
  [0.3, 0.7],
];

test("the heads of lowest score keep sinks and newest, the others all; as many as the budget takes", async () => {
  const headScores = await made("duo", SCORES);
  const ids = randomIds(140, SHAPE.vocabSize, 8);
  for (const [parameters, share, streaming] of [
    [",heads=0.5", 0.9, [1, 2]],
    ["", 0.9, [1]],
    ["", 0.65, [1, 2]],
    ["", 0.3, [0, 1, 2, 3]],
  ] as const) {
    const policy = `duo-attention:sinks=8,recent=30${parameters}`;
    await using model = await open({ policy, keys: "q8", values: "q4", headScores: JSON.stringify(headScores) });
    const session = model.engine.openSession();
    for (let at = 0; at < 140; at += 64) {
      model.forward(ids.slice(at, at + 64).map((input, i) => ({ session, input, position: at + i })));
    }
    evictPrompt(model.engine, session, { keep: { share }, sinks: 0, window: 0 });
    heldPositions(model.engine, session).forEach((positions, head) => {
      const all = Array.from({ length: 140 }, (_, p) => p);
      const few = all.filter((p) => p < 8 || p >= 110);
      assert.equal(
        Array.from(positions),
        (streaming as readonly number[]).includes(head) ? few : all,
        `${policy} ${head}`,
      );
    });
    // Heads of different lengths go on in step.
    model.forward(ids.slice(0, 60).map((input, i) => ({ session, input, position: 140 + i })));
  }
});

test("budgets: never below what streaming heads keep; a buffer that grows with the prompt; heads that are none of ours", () => {
  const duo = parsePolicy("duo-attention");
  assert.equal(headBudgets(duo, [0.1, 0.5, 0.3], 1000, 0.7), [384, 1000, 384]);
  assert.equal(headBudgets(duo, [0.1, 0.5, 0.3], 1000, 0.8), [384, 1000, 1000]);
  assert.equal(headBudgets(duo, [0.1, 0.5, 0.3], 384, 0.5), [384, 384, 384], "nothing to gain");
  assert.equal(headBudgets(duo, [0.1, Number.NaN, 0.3], 1000, 0.1), [384, 1000, 384]);
  assert.equal(headBudgets(parsePolicy("razor:recent=100,heads=0.34"), [0.3, 0.2, 0.1], 1000, 0.9), [1000, 1000, 204]);
  assert.equal(headBudgets(parsePolicy("razor"), [0.3, 0.2, 0.1], 1000, 0.1), [1000, 1000, 1000]);
});

async function refusal(run: () => unknown): Promise<readonly unknown[]> {
  try {
    await run();
    return ["none"];
  } catch (error) {
    return [(error as ThimbleError).code, (error as ThimbleError).subject];
  }
}

test("scores that are missing, foreign, of another kind, cut or out of range are refused by name", async () => {
  const good = await made("duo", SCORES);
  const load =
    (policy: string | undefined, headScores: unknown, options: LoadOptions = {}) =>
    async () => {
      const model = await open({ policy, headScores, ...options } as LoadOptions);
      await model.close();
    };
  assert.equal(await refusal(load("duo-attention", good)), ["none"]);
  assert.equal(await refusal(load("duo-attention", undefined)), ["invalid_option", "headScores"]);
  assert.equal(await refusal(load("snapkv", good)), ["invalid_option", "headScores"]);
  assert.equal(await refusal(load(undefined, good)), ["invalid_option", "headScores"]);
  assert.equal(await refusal(load("razor", good)), ["calibration_mismatch", "kind"]);
  assert.equal(await refusal(load("duo-attention", { ...good, model: "0".repeat(64) })), [
    "calibration_mismatch",
    "model",
  ]);
  for (const scores of [[[0.1, 0.2]], [[0.1], [0.2]]]) {
    assert.equal(await refusal(load("duo-attention", { ...good, scores })), ["calibration_mismatch", "model"]);
  }
  const text = JSON.stringify(good);
  const bad: unknown[] = [
    "",
    "[]",
    "null",
    ...[1, 20, text.length - 1].map((n) => text.slice(0, n)),
    7,
    { ...good, thimble: "q-filters" },
    { ...good, version: 2 },
    { ...good, kind: "quo" },
    { ...good, model: "abc" },
    { ...good, tokens: 0 },
    { ...good, scores: [] },
    { ...good, scores: [[]] },
    { ...good, scores: [[0.1, 1.5]] },
    { ...good, scores: [[0.1, -0.1]] },
    { ...good, scores: [[0.1, null]] },
    { ...good, scores: "none" },
  ];
  for (const one of bad) {
    assert.equal(
      await refusal(() => parseHeadScores(one)),
      ["calibration_malformed", "headScores"],
      JSON.stringify(one),
    );
  }
});

test("a calibration refuses what it cannot look at", async () => {
  await using model = await open({ policy: "tova" });
  assert.equal(await refusal(() => calibrateHeads(model, "razor", [])), ["invalid_option", "policy"]);
  await using fit = await open(CALIBRATION);
  assert.equal((await refusal(() => calibrateHeads(fit, "duo", [])))[0], "empty_prompt");
  assert.equal((await refusal(() => calibrateHeads(fit, "duo", [[1]])))[0], "empty_prompt");
  assert.equal((await refusal(() => calibrateHeads(fit, "duo", [randomIds(300, 40)])))[0], "context_length_exceeded");
  assert.equal((await refusal(() => calibrateHeads(fit, "razor", [], { length: 1 })))[0], "invalid_option");
  const stop = AbortSignal.abort(new Error("enough"));
  const reason = await calibrateHeads(fit, "razor", [], { signal: stop, length: 50 }).catch(
    (error: Error) => error.message,
  );
  assert.is(reason, "enough");
});

test("keep in slots is at least what a streaming head keeps", async () => {
  await using model = await open({
    policy: "duo-attention:sinks=40,recent=100",
    headScores: await made("duo", SCORES),
  });
  assert.equal(await refusal(() => model.session({ keep: { slots: 130 }, sinks: 0, window: 0 })), [
    "invalid_option",
    "keep",
  ]);
  assert.equal(await refusal(() => model.session({ keep: { slots: 140 }, sinks: 0, window: 0 })), ["none"]);
});

test.run();
