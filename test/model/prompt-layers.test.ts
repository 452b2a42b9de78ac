/**
 * Prompts that go layer by layer against the same ones in chunks, on small random llamas: what stays, every byte of every page,
 * the logits and what follows are the same; one layer at a time holds all of a prompt.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Status } from "../../assembly/memory/status.ts";
import { CALIBRATION, calibrate } from "../../host/calibration.ts";
import { modelDigest } from "../../host/head-scores.ts";
import type { LoadOptions } from "../../host/load-engine.ts";
import type { Model } from "../../host/model.ts";
import { beginPrompt, evictPrompt, heldPositions, type PromptRule } from "../../host/prompt-end.ts";
import { computeByLayers, goesByLayers } from "../../host/prompt-layers.ts";
import type { DecoderShape } from "../oracle/decoder.ts";
import { load, platform, randomIds, sameBits } from "./load.ts";
import { openRandom, randomWeights, SMALL_SHAPE } from "./random-llama.ts";

const SHAPE: DecoderShape = { ...SMALL_SHAPE, nLayers: 3, nHeads: 6 };
const WEIGHTS = randomWeights(SHAPE, 22);
const IDS = randomIds(220, SHAPE.vocabSize, 3);
const HALF: PromptRule = { keep: { share: 0.5 }, sinks: 0, window: 0 };
const NONE = { overflow: "stop", maxPages: 7 } as const;

const POLICIES = [
  "streaming",
  "key-norm",
  "key-diff",
  "snapkv:window=16",
  "pyramidkv:window=8,kernel=3,beta=4",
  "adakv:window=16,safeguard=0.3",
  "tova",
  "lagkv:sinks=3,lag=20",
  "finch:window=16",
  "chunkkv:window=16,chunk=10",
  "observed-attention",
  "h2o",
  "compactor:chunk=32,sketch=12",
  "criticaladakv:window=16,safeguard=0.3",
  "expected-attention:future=50",
  "adakv-expected:covariance=0",
  "q-filter",
  "simlayerkv:threshold=0.4,window=5",
  "duo-attention:sinks=4,recent=30",
];
const FORMS = [
  { keys: "f32", values: "f32" },
  { keys: "q8", values: "q8" },
  { keys: "q4", values: "q4", kvWindow: 32 },
] as const;

const filters = openRandom(SHAPE, WEIGHTS, CALIBRATION).then(async (model) => {
  const found = await calibrate(model, [IDS]);
  await model.close();
  return found;
});

const SCORES = [
  [0.3, 0.1],
  [0.5, 0.2],
  [0.9, 0.7],
];
const headScores = openRandom(SHAPE, WEIGHTS).then(async (model) => {
  const digest = await modelDigest(model.calibrated);
  await model.close();
  return { thimble: "head-scores", version: 1, kind: "duo", model: digest, tokens: 9, scores: SCORES } as const;
});

async function open(policy: string, options: LoadOptions, prompts: "chunks" | "layers"): Promise<Model> {
  const needed = {
    ...(policy === "q-filter" ? { filters: await filters } : {}),
    ...(policy.startsWith("duo") ? { headScores: await headScores } : {}),
  };
  const outputs = { maxOutputs: 1, contextLength: 224, keep: { ratio: 0.5 } };
  return openRandom(SHAPE, WEIGHTS, { ...outputs, ...options, ...needed, policy, prompts });
}

const done = { host: platform, check: () => {} };

/** Tokens [from, to) as the end of a prompt: logits of the last one. */
async function prompt(model: Model, session: number, from: number, to: number, rule = HALF): Promise<Float32Array> {
  const { engine } = model;
  if (goesByLayers(engine, session, rule, to - from, NONE)) {
    let logits = new Float32Array(0);
    const onLogits = (): void => {
      logits = engine.logits(0).slice();
    };
    await computeByLayers(engine, session, IDS.slice(0, to), from, rule, { ...done, onLogits });
    return logits;
  }
  assert.is(engine.sizes.prompts, "chunks");
  beginPrompt(engine, session, from);
  const { maxRows } = engine.sizes;
  for (let at = from; at < to; at += maxRows) {
    const rows = IDS.slice(at, Math.min(to, at + maxRows)).map((input, i) => ({ session, input, position: at + i }));
    model.forward(rows.map((row, i) => ({ ...row, logits: i === rows.length - 1 })));
  }
  const logits = engine.logits(0).slice();
  evictPrompt(engine, session, rule);
  return logits;
}

function decode(model: Model, session: number, from: number, to: number): Float32Array {
  for (let position = from; position < to; ++position) {
    model.forward([{ session, input: IDS[position]!, position, logits: true }]);
  }
  return model.engine.logits(0).slice();
}

/** Bytes of all pages of a session but the first word, which counts references. */
function pages(model: Model, session: number): string {
  const { runtime } = model.engine;
  const { exports } = runtime;
  const all: string[] = [];
  for (let head = 0; head < exports.imageHeads(); ++head) {
    const slots = exports.headSlots(session, head);
    for (let i = 0; i < Math.ceil(slots / 32); ++i) {
      const page = exports.headPage(session, head, i) >>> 0;
      const used = i < Math.floor(slots / 32) ? exports.pageSize(page) / 4 : 1; // an open page has old slots behind its own
      all.push(runtime.words(page + 4, used - 1).join());
    }
    all.push(`${slots} ${exports.headBase(session, head)}`);
  }
  return all.join(";");
}

interface Turns {
  readonly logits: readonly Float32Array[];
  readonly kept: readonly string[];
  readonly pages: readonly string[];
}

/** Two prompts with answers behind them, the second one begun in a fork. */
async function turns(model: Model, rule = HALF): Promise<Turns> {
  const { engine } = model;
  const { exports } = engine.runtime;
  const logits: Float32Array[] = [];
  const kept: string[] = [];
  const bytes: string[] = [];
  let session = engine.openSession();
  for (const [from, end, to] of [
    [0, 111, 118],
    [118, 190, 198],
  ] as const) {
    const fork = engine.forkSession(session);
    logits.push(await prompt(model, fork, from, end, rule));
    exports.sessionClose(session);
    session = fork;
    kept.push(heldPositions(engine, session).join(";"));
    bytes.push(pages(model, session));
    logits.push(decode(model, session, end, to));
  }
  exports.sessionClose(session);
  assert.is(exports.poolFreePages(), exports.poolPages(), "no page is lost");
  return { logits, kept, pages: bytes };
}

function assertSame(actual: Turns, expected: Turns, label: string): void {
  assert.equal(actual.kept, expected.kept, `${label}: what stays`);
  assert.ok(actual.pages.join() === expected.pages.join(), `${label}: pages`);
  actual.logits.forEach((logits, i) => {
    assert.ok(logits.length > 0 && logits.every(Number.isFinite));
    assert.ok(sameBits(logits, expected.logits[i]!), `${label}: logits ${i}`);
  });
}

for (const policy of POLICIES) {
  test(`${policy}: what stays, pages and logits are those of chunks`, async () => {
    const forms = policy.startsWith("snapkv") ? FORMS : [FORMS[POLICIES.indexOf(policy) % 3]!];
    for (const form of forms) {
      const inChunks = await open(policy, form, "chunks");
      const expected = await turns(inChunks);
      await inChunks.close();
      const chunks = policy.startsWith("snapkv") ? [1, 7, 64] : [[1], [7], [64]][(POLICIES.indexOf(policy) + 1) % 3]!;
      for (const chunk of chunks) {
        const model = await open(policy, { ...form, chunk, maxOutputs: 1 }, "layers");
        assertSame(await turns(model), expected, `${form.keys}, chunks of ${chunk}`);
        await model.close();
      }
    }
  });
}

test("slots, sinks and newest tokens stay as in chunks", async () => {
  const results: Turns[] = [];
  for (const prompts of ["chunks", "layers"] as const) {
    const model = await open("snapkv:window=16", { chunk: 20 }, prompts);
    results.push(await turns(model, { keep: { slots: 50 }, sinks: 6, window: 9 }));
    await model.close();
  }
  assertSame(results[1]!, results[0]!, "slots");
  const heads = results[0]!.kept[1]!.split(";").map((positions) => positions.split(",").length);
  assert.equal(heads, Array(SHAPE.nLayers * SHAPE.nKvHeads).fill(50));
});

test("threads give the same", async () => {
  for (const policy of ["adakv:window=16", "observed-attention"]) {
    const results: Turns[] = [];
    for (const [prompts, threads] of [
      ["chunks", 1],
      ["layers", 2],
      ["layers", 3],
    ] as const) {
      const model = await open(policy, { threads, activations: "int8", chunk: 33, maxOutputs: 1 }, prompts);
      assert.is(model.engine.threads, threads);
      results.push(await turns(model));
      await model.close();
    }
    for (const result of results.slice(1)) assertSame(result, results[0]!, policy);
  }
});

test("layers with sliding windows beside others keep their window", async () => {
  const run = async (prompts: "chunks" | "layers"): Promise<Turns> => {
    const options = { contextLength: 224, policy: "key-diff", keep: { ratio: 0.5 }, keys: "q4", values: "q8" } as const;
    const model = await load("test/golden/architectures/gemma3.f32.gguf", { ...options, prompts });
    const windows = model.config.layers.map(({ window }) => window);
    assert.ok(windows.includes(0) && windows.some((window) => window > 0 && window < 32), `${windows}`);
    const result = await turns(model);
    await model.close();
    return result;
  };
  assertSame(await run("layers"), await run("chunks"), "windows");
});

test("one layer at a time holds the whole prompt", async () => {
  const model = await open("key-diff", { keys: "f32", values: "f32", chunk: 16 }, "layers");
  const { exports } = model.engine.runtime;
  const session = model.engine.openSession();
  let most = 0;
  const check = (): void => {
    most = Math.max(most, exports.sessionPages(session));
  };
  await computeByLayers(
    model.engine,
    session,
    IDS.slice(0, 192),
    0,
    { keep: { slots: 32 }, sinks: 0, window: 0 },
    {
      host: platform,
      check,
    },
  );
  const { nLayers, nKvHeads } = SHAPE;
  assert.is(exports.sessionPages(session), nLayers * nKvHeads);
  assert.ok(most >= nKvHeads * 5 && most <= nKvHeads * (6 + nLayers - 1), `${most} pages`);
  assert.ok(exports.poolPages() <= nKvHeads * (6 + (nLayers - 1) + 2), `${exports.poolPages()} pages in the pool`);
  await model.close();
});

test("rows that are not the layer's next, too many, of two sessions or of no vocabulary change nothing", async () => {
  const model = await open("key-diff", { keys: "q8", values: "q8", chunk: 16, maxOutputs: 1 }, "layers");
  const { engine } = model;
  const { exports } = engine.runtime;
  const [session, other] = [engine.openSession(), engine.openSession()];
  exports.poolReserve(100);
  const words = engine.runtime.words(exports.rowsAddress(), 17 * 8);
  const rows = (
    n: number,
    change: (row: number) => Partial<{ session: number; token: number; position: number; flags: number }> = () => ({}),
  ): number => {
    for (let r = 0; r < n; ++r) {
      const row = { session, token: 3, position: r, flags: 0, ...change(r) };
      words.set([row.session, row.token, row.position, row.flags, 0, 0, 0, 0], r * 8);
    }
    return n;
  };
  const statuses = [
    [exports.forwardLayer(0, 0, rows(0)), Status.TOO_MANY_ROWS],
    [exports.forwardLayer(0, 0, 17), Status.TOO_MANY_ROWS],
    [exports.forwardLayer(0, 220, rows(5)), Status.TOO_MANY_ROWS],
    [exports.forwardLayer(0, 2 ** 32 - 3, rows(5)), Status.TOO_MANY_ROWS],
    [exports.forwardLayer(3, 0, rows(5)), Status.BAD_ARGUMENT],
    [
      exports.forwardLayer(
        0,
        0,
        rows(5, (r) => ({ position: r + 1 })),
      ),
      Status.BAD_POSITION,
    ],
    [
      exports.forwardLayer(
        0,
        0,
        rows(5, (r) => ({ position: r === 4 ? 5 : r })),
      ),
      Status.BAD_POSITION,
    ],
    [
      exports.forwardLayer(
        0,
        0,
        rows(5, (r) => (r === 3 ? { session: other } : {})),
      ),
      Status.BAD_ARGUMENT,
    ],
    [
      exports.forwardLayer(
        0,
        0,
        rows(5, (r) => (r === 3 ? { token: 40 } : {})),
      ),
      Status.BAD_TOKEN,
    ],
    [
      exports.forwardLayer(
        0,
        0,
        rows(5, () => ({ flags: 1 })),
      ),
      Status.TOO_MANY_ROWS,
    ],
  ] as const;
  for (const [i, [status, expected]] of statuses.entries()) assert.is(status, expected, `case ${i}`);
  assert.is(exports.sessionLength(session), 0);
  assert.is(exports.forwardLayer(0, 0, rows(16)), Status.OK);
  assert.is(exports.forwardLayer(0, 16, rows(16)), Status.BAD_POSITION, "not again");
  assert.is(exports.forwardLayer(1, 0, rows(16)), Status.OK, "each layer has its own next position");
  for (let at = 16; at < 224; at += 16) {
    assert.is(
      exports.forwardLayer(
        0,
        at,
        rows(16, (r) => ({ position: at + r })),
      ),
      Status.OK,
    );
  }
  assert.is(
    exports.forwardLayer(
      0,
      0,
      rows(1, () => ({ position: 224 })),
    ),
    Status.BAD_POSITION,
    "the context is full",
  );
  exports.sessionClose(session);
  const plain = await openRandom(SHAPE, WEIGHTS, { contextLength: 224 });
  assert.is(plain.engine.runtime.exports.forwardLayer(0, 0, 1), Status.TOO_MANY_ROWS, "no room for any row");
  await plain.close();
  await model.close();
});

test.run();
