/**
 * What stays at the end of a prompt, on small random llamas with f32 pages: scores and choices of every policy against its
 * formula in f64, what is computed afterwards against a forward pass that sees only what stayed, and bits against themselves.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Status } from "../../assembly/memory/status.ts";
import { CALIBRATION, calibrate } from "../../host/calibration.ts";
import type { LoadOptions } from "../../host/load-engine.ts";
import type { Model } from "../../host/model.ts";
import { layerBudgets, parsePolicy } from "../../host/policy.ts";
import { beginPrompt, evictPrompt, heldPositions, observedRows, type PromptRule } from "../../host/prompt-end.ts";
import { report } from "../kernel/compare.ts";
import { type DecoderShape, decode, projected, ROPE_BASE } from "../oracle/decoder.ts";
import {
  chunkAttention64,
  chunkKv64,
  criticalKv64,
  dealt64,
  type Expectation,
  expected64,
  filtered64,
  finch64,
  keyDiff64,
  keyNorm64,
  lagKv64,
  laziness64,
  leverage64,
  observed64,
  outputNorms64,
  qFilter64,
  type Rows,
  snapKv64,
  standard64,
  tova64,
} from "../oracle/policies.ts";
import { randomIds, sameBits } from "./load.ts";
import { distance, openRandom, randomWeights, SMALL_SHAPE } from "./random-llama.ts";

const test = suite("prompt's end");

const SHAPE: DecoderShape = { ...SMALL_SHAPE, nHeads: 6 };
const GROUP = SHAPE.nHeads / SHAPE.nKvHeads;
const HEADS = SHAPE.nLayers * SHAPE.nKvHeads;
const WEIGHTS = randomWeights(SHAPE, 21);
const IDS = randomIds(170, SHAPE.vocabSize, 8);
const PROMPT = 140;
const HALF: PromptRule = { keep: { share: 0.5 }, sinks: 0, window: 0 };
const EXACT = { contextLength: 224, keys: "f32", values: "f32" } as const;

const POLICIES = [
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

async function open(policy: string, options: LoadOptions = EXACT): Promise<Model> {
  const filters = policy === "q-filter" ? { filters: await FILTERS } : {};
  return openRandom(SHAPE, WEIGHTS, { ...options, ...filters, policy });
}

/** Tokens [from, to) into a session in chunks; logits of the last one. */
function feed(model: Model, session: number, from: number, to: number, chunk = 64, ids = IDS): Float32Array {
  for (let at = from; at < to; at += chunk) {
    const rows = ids.slice(at, Math.min(to, at + chunk)).map((input, i) => ({ session, input, position: at + i }));
    model.forward(rows.map((row, i) => ({ ...row, logits: i === rows.length - 1 })));
  }
  return model.engine.logits(0).slice();
}

/** A session whose prompt has ended. */
function prompted(model: Model, rule: PromptRule = HALF, chunk = 64): number {
  const session = model.engine.openSession();
  beginPrompt(model.engine, session, 0);
  model.engine.runtime.exports.observeRows(session, Math.max(0, PROMPT - observedRows(model.engine)));
  feed(model, session, 0, PROMPT, chunk);
  evictPrompt(model.engine, session, rule);
  return session;
}

interface Scored {
  readonly queries: readonly Rows[];
  /** The same before RoPE. */
  readonly plainQueries: readonly Rows[];
  readonly keys: Rows;
  /** Before RoPE, in the engine's order of dims. */
  readonly plainKeys: Rows;
  readonly values: Rows;
}

/** Queries of its group, keys and values of every KV head, by layer, in f64. */
function scoredLayers(): Scored[][] {
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

/** Compactor's scores of one head of a layer; terms that are left out have weight 0. */
function compactor64(
  head: Scored,
  layer: readonly Scored[],
  { sinks = 8, recent = 4, leverage = 0.5, attention = 1, chunk = 32, ridge = 0.01 },
): number[] {
  const part = (rows: Rows): Rows => rows.slice(sinks, PROMPT - recent);
  const first = standard64(layer.map(({ plainKeys }) => leverage64(part(plainKeys), 12, ridge)));
  const second = standard64(
    layer.map(({ queries, keys, values }) => chunkAttention64(queries.map(part), part(keys), part(values), chunk)),
  );
  const kv = layer.indexOf(head);
  return head.keys.map((_, j) =>
    j < sinks || j >= PROMPT - recent
      ? Number.POSITIVE_INFINITY
      : leverage * first[kv]![j - sinks]! + attention * second[kv]![j - sinks]!,
  );
}

/** False unless every slot that stayed scores as high as every one that went, up to rounding. */
function isChoice(kept: Uint32Array, scores: readonly number[]): boolean {
  const stays = new Set(kept);
  const finite = scores.filter(Number.isFinite);
  const slack = 1e-5 * (Math.max(...finite) - Math.min(...finite));
  const lowest = Math.min(...scores.filter((_, j) => stays.has(j)));
  return stays.size === PROMPT / 2 && scores.every((score, j) => stays.has(j) || score <= lowest + slack);
}

const EXPECTATION: Expectation = {
  sinks: 3,
  future: 40,
  covariance: true,
  vnorm: true,
  epsilon: 0,
  ropeBase: ROPE_BASE,
};
const expecting =
  (by: Partial<Expectation>) =>
  ({ plainQueries, keys, values }: Scored): number[] =>
    expected64(plainQueries, keys, values, { ...EXPECTATION, ...by });

/** The formula of each policy, and others like it that it is not: the slots that stay must tell them apart. */
const FORMULAS: Record<string, readonly ((head: Scored, layer: readonly Scored[]) => number[])[]> = {
  streaming: [
    ({ keys }) => keys.map((_, j) => (j < 4 ? Number.POSITIVE_INFINITY : j)),
    ({ keys }) => keys.map((_, j) => j), // no sinks
  ],
  "key-norm": [({ keys }) => keyNorm64(keys), ({ keys }) => keyNorm64(keys).map((x) => -x)],
  "key-diff": [
    ({ keys }) => keyDiff64(keys),
    ({ keys }) => keyDiff64(keys, false),
    ({ keys }) => keyDiff64(keys).map((x) => -x),
  ],
  "lagkv:sinks=3,lag=20": [
    ({ keys, values }) => lagKv64(keys, values, 3, 20),
    ({ keys }) => lagKv64(keys, keys, 3, 20), // keys alone
    ({ values }) => lagKv64(values, values, 3, 20), // values alone
    ({ keys, values }) => lagKv64(keys, values, 3, 16),
  ],
  "snapkv:window=16,kernel=5": [
    ({ queries, keys }) =>
      snapKv64(
        queries.map((rows) => rows.slice(-16)),
        keys,
        5,
      ),
    ({ queries, keys }) =>
      snapKv64(
        queries.map((rows) => rows.slice(-16)),
        keys,
        1,
      ), // not smoothed
    ({ queries, keys }) =>
      snapKv64(
        queries.map((rows) => rows.slice(-4)),
        keys,
        5,
      ), // another window
    ({ queries, keys }) =>
      snapKv64(
        queries.slice(0, 1).map((rows) => rows.slice(-16)),
        keys,
        5,
      ), // one head of the group
  ],
  "finch:window=16": [
    ({ queries, keys }) =>
      finch64(
        queries.map((rows) => rows.slice(-16)),
        keys,
      ),
    ({ queries, keys }) =>
      finch64(
        queries.map((rows) => rows.slice(-8)),
        keys,
      ), // another window
    ({ queries, keys }) =>
      snapKv64(
        queries.map((rows) => rows.slice(-16)),
        keys,
        5,
      ), // smoothed
  ],
  "observed-attention": [
    ({ queries, keys }) => observed64(queries, keys),
    ({ queries, keys }) => observed64(queries, keys, false), // the sum, which early slots win
    ({ queries, keys }) => observed64(queries.slice(0, 1), keys), // one head of the group
    ({ queries, keys }) =>
      snapKv64(
        queries.map((rows) => rows.slice(-16)),
        keys,
        1,
      ), // the last rows only
  ],
  "compactor:chunk=32,sketch=12": [
    (head, layer) => compactor64(head, layer, {}),
    (head, layer) => compactor64(head, layer, { leverage: 0 }),
    (head, layer) => compactor64(head, layer, { attention: 0 }),
    (head, layer) => compactor64(head, layer, { sinks: 0 }),
    (head, layer) => compactor64(head, layer, { recent: 0 }),
    (head, layer) => compactor64(head, layer, { chunk: 64 }),
    (head, layer) => compactor64(head, layer, { ridge: 50 }),
  ],
  "compactor:chunk=40,sketch=12,blend=0.9,recent=0": [
    (head, layer) => compactor64(head, layer, { chunk: 40, leverage: 0.9, recent: 0 }),
    (head, layer) => compactor64(head, layer, { chunk: 40, recent: 0 }),
  ],
  "leverage:sketch=12": [
    ({ plainKeys }) => leverage64(plainKeys, 12),
    ({ keys }) => leverage64(keys, 12), // after RoPE
    ({ plainKeys }) => leverage64(plainKeys, 11),
  ],
  "non-causal-attention:chunk=32": [
    ({ queries, keys, values }) => chunkAttention64(queries, keys, values, 32),
    ({ queries, keys, values }) =>
      chunkAttention64(
        queries,
        keys,
        values.map((row) => row.map((_, d) => (d === 0 ? 1 : 0))),
        32,
      ), // values do not count
    ({ queries, keys, values }) => chunkAttention64(queries.slice(0, 1), keys, values, 32),
  ],
  "h2o:recent=0": [
    ({ queries, keys }) => observed64(queries, keys, false),
    ({ queries, keys }) => observed64(queries, keys),
  ],
  h2o: [
    ({ queries, keys }) =>
      observed64(queries, keys, false).map((x, j) => (j >= PROMPT * 0.75 ? Number.POSITIVE_INFINITY : x)),
    ({ queries, keys }) => observed64(queries, keys, false), // nothing recent
  ],
  tova: [
    (_, layer) =>
      tova64(
        layer.map(({ queries }) => queries.map((rows) => rows.at(-1)!)),
        layer.map(({ keys }) => keys),
      ),
    (_, layer) =>
      tova64(
        layer.map(({ queries }) => queries.map((rows) => rows.at(-2)!)),
        layer.map(({ keys }) => keys),
      ),
    ({ queries, keys }) => tova64([queries.map((rows) => rows.at(-1)!)], [keys]), // the head's own group only
  ],
  "q-filter": [
    ({ queries, keys }) => filtered64(keys, qFilter64(queries)),
    ({ queries, keys }) => filtered64(keys, qFilter64(queries.slice(1))), // a head less
    ({ plainQueries, keys }) => filtered64(keys, qFilter64(plainQueries)), // queries before RoPE
    ({ queries, keys }) =>
      filtered64(
        keys,
        qFilter64(queries).map((x) => -x),
      ),
    ({ queries, keys }) => {
      const all = queries.flat(); // the mean query
      return filtered64(
        keys,
        keys[0]!.map((_, d) => all.reduce((sum, q) => sum + q[d]!, 0)),
      );
    },
  ],
  "expected-attention:sinks=3,future=40": [
    expecting({}),
    expecting({ covariance: false }),
    expecting({ vnorm: false }),
    expecting({ epsilon: 0.01 }),
    expecting({ future: 1 }),
    expecting({ sinks: 0 }),
    ({ plainQueries, keys, values }) => expected64(plainQueries.slice(0, 1), keys, values, EXPECTATION), // one head of the group
    ({ queries, keys, values }) => expected64(queries, keys, values, EXPECTATION), // queries after RoPE
  ],
  "expected-attention:sinks=3,future=40,covariance=0,vnorm=0": [
    expecting({ covariance: false, vnorm: false }),
    expecting({ vnorm: false }),
    expecting({ covariance: false }),
  ],
  "expected-attention:sinks=0,future=1,epsilon=0.02": [
    expecting({ sinks: 0, future: 1, epsilon: 0.02 }),
    expecting({ sinks: 0, future: 1 }),
  ],
};

test("the slots that stay are those of the formula, in every head; formulas with a term less or another choose others", async () => {
  const layers = scoredLayers();
  for (const [policy, [formula, ...others]] of Object.entries(FORMULAS)) {
    const model = await open(policy);
    const kept = heldPositions(model.engine, prompted(model));
    const agree = (of: (head: Scored, layer: readonly Scored[]) => number[]): number =>
      kept.filter((positions, i) => {
        const layer = layers[Math.floor(i / SHAPE.nKvHeads)]!;
        return isChoice(positions, of(layer[i % SHAPE.nKvHeads]!, layer));
      }).length;
    assert.is(agree(formula!), HEADS, policy);
    for (const [i, other] of others.entries()) assert.ok(agree(other) < HEADS, `${policy} is not formula ${i + 1}`);
    await model.close();
  }
});

test("where queries and keys are rotated besides the same slots stay", async () => {
  for (const policy of ["expected-attention", "q-filter"]) {
    const [plain, rotated] = await Promise.all(
      [false, true].map(async (kvRotation) => {
        const model = await open(policy, { ...EXACT, kvRotation });
        return heldPositions(model.engine, prompted(model)).map((positions) => positions.join());
      }),
    );
    assert.equal(rotated, plain, policy);
  }
});

test("counted queries: the same bits in chunks, beside other sessions, in a fork, a used region, and after a start anew", async () => {
  const model = await open("expected-attention", { contextLength: 224, keys: "q8", values: "q4" });
  const { engine } = model;
  const { exports } = engine.runtime;
  const others = randomIds(PROMPT, SHAPE.vocabSize, 9);
  const end = (session: number): Float32Array => {
    evictPrompt(engine, session, HALF);
    const logits = feed(model, session, PROMPT, 160);
    exports.sessionClose(session);
    return logits;
  };
  const begun = (): number => {
    const session = engine.openSession();
    beginPrompt(engine, session, 0);
    return session;
  };
  const computed = (chunk: number): number => {
    const session = begun();
    feed(model, session, 0, PROMPT, chunk);
    return session;
  };
  const whole = end(computed(64));
  const ways: Record<string, () => number> = {
    chunks: () => computed(7),
    fork: () => {
      const parent = begun();
      feed(model, parent, 0, 70);
      const fork = engine.forkSession(parent);
      feed(model, parent, 70, PROMPT, 64, others);
      exports.sessionClose(parent);
      feed(model, fork, 70, PROMPT);
      return fork;
    },
    "beside another": () => {
      const [session, other] = [begun(), begun()];
      for (let at = 0; at < PROMPT; ++at) {
        const rows = [
          { session: other, input: others[at]!, position: at },
          { session, input: IDS[at]!, position: at },
        ];
        model.forward(rows);
      }
      exports.sessionClose(other);
      return session;
    },
    anew: () => {
      const session = begun();
      feed(model, session, 0, 96, 64, others);
      exports.sessionTruncate(session, 0);
      beginPrompt(engine, session, 0);
      feed(model, session, 0, PROMPT);
      return session;
    },
  };
  for (const [way, run] of Object.entries(ways)) assert.ok(sameBits(end(run()), whole), way);
  const uncounted = engine.openSession();
  feed(model, uncounted, 0, PROMPT);
  evictPrompt(engine, uncounted, HALF);
  assert.ok(
    heldPositions(engine, uncounted).every(({ length }) => length === PROMPT),
    "nothing counted, nothing goes",
  );
  await model.close();
});

test("LagKV: where less may stay than it does not compare, the sinks do and the newest slots", async () => {
  const model = await open("lagkv:sinks=3,lag=20");
  const session = prompted(model, { ...HALF, keep: { share: 0.15 } });
  const newest = Array.from({ length: 18 }, (_, i) => PROMPT - 18 + i);
  for (const kept of heldPositions(model.engine, session)) assert.equal(Array.from(kept), [0, 1, 2, ...newest]);
  await model.close();
});

test("ChunkKV: the chunks that the formula chooses, the same in all heads of a layer, whole", async () => {
  const layers = scoredLayers();
  for (const chunk of [7, 20]) {
    const model = await open(`chunkkv:window=16,chunk=${chunk}`);
    const kept = heldPositions(model.engine, prompted(model));
    for (const [i, layer] of layers.entries()) {
      const scores = layer.map(({ queries, keys }) =>
        snapKv64(
          queries.map((rows) => rows.slice(-16)),
          keys,
          5,
        ),
      );
      const stays = chunkKv64(scores, chunk, 0.5).flatMap((side, j) => (side > 0 ? [j] : []));
      for (const positions of kept.slice(2 * i, 2 * i + 2)) assert.equal(Array.from(positions), stays, `layer ${i}`);
      const alone = chunkKv64(scores.slice(0, 1), chunk, 0.5).flatMap((side, j) => (side > 0 ? [j] : []));
      if (i === 0 && chunk === 7) assert.not.equal(alone, stays, "both heads count");
    }
    await model.close();
  }
});

test("CriticalKV: two stages, the second by what a slot can change; alone and with budgets by score", async () => {
  const layers = scoredLayers();
  const half = PROMPT / 2;
  for (const [name, safe] of [
    ["criticalkv:window=16,first=0.9,epsilon=0.001", undefined],
    ["criticaladakv:window=16,first=0.9,epsilon=0.001,safeguard=0.2", Math.floor(half * 0.2)],
  ] as const) {
    const model = await open(name);
    const kept = heldPositions(model.engine, prompted(model));
    const differ = [0, 0, 0, 0, 0];
    let dealt = 0;
    for (const [i, layer] of layers.entries()) {
      const output = WEIGHTS.get(`blk.${i}.attn_output.weight`)!;
      const scores = layer.map(({ queries, keys }) =>
        snapKv64(
          queries.map((rows) => rows.slice(-16)),
          keys,
          5,
        ),
      );
      const budgets = safe === undefined ? scores.map(() => half) : dealt64(scores, half, safe);
      if (safe !== undefined && budgets[0] !== half) dealt += 1;
      for (const [kv, { values }] of layer.entries()) {
        const heads = Array.from({ length: GROUP }, (_, h) => kv * GROUP + h);
        const norms = outputNorms64(values, output, SHAPE.hiddenDim, heads);
        const of = (by: readonly number[], first: number, epsilon: number): string =>
          criticalKv64(scores[kv]!, by, budgets[kv]!, first, epsilon).join();
        const actual = Array.from(kept[2 * i + kv]!).join();
        assert.is(actual, of(norms, 0.9, 0.001), `${name}, layer ${i}, head ${kv}`);
        const others = [
          of(norms.fill.call([...norms], 1), 0.9, 0.001), // attention alone
          of(outputNorms64(values, output, SHAPE.hiddenDim, heads.slice(1)), 0.9, 0.001), // a head less
          of(outputNorms64(values, output, SHAPE.hiddenDim - 8, heads), 0.9, 0.001), // a tile less
          of(norms, 0.4, 0.001), // another first stage
          of(norms, 0.9, 1), // another epsilon
        ];
        for (const [o, other] of others.entries()) if (other !== actual) differ[o] = differ[o]! + 1;
      }
    }
    assert.ok(
      differ.every((n) => n > 0),
      `${name}: heads in which other formulas choose others: ${differ}`,
    );
    assert.is(dealt > 0, safe !== undefined, "budgets are not the same for both heads");
    await model.close();
  }
});

test("SimLayerKV: a layer lets go exactly where its queries look at little else; others keep all", async () => {
  const [sinks, budget, all] = [3, 60, Array.from({ length: PROMPT }, (_, j) => j)];
  const rule: PromptRule = { keep: { slots: budget }, sinks: 0, window: 0 };
  const stays = all.filter((j) => j < sinks || j >= PROMPT - (budget - sinks));
  for (const window of [1, 5]) {
    const lazy = scoredLayers().map((layer) =>
      [sinks, 0].map((first) =>
        laziness64(
          layer.map(({ queries }) => queries.map((rows) => rows.slice(-window))),
          layer.map(({ keys }) => keys),
          first,
          budget - sinks + window,
        ),
      ),
    );
    const edges = lazy.flatMap(([value]) => [value! - 1e-4, value! + 1e-4]);
    for (const threshold of edges) {
      const model = await open(`simlayerkv:sinks=${sinks},window=${window},threshold=${threshold}`);
      const kept = heldPositions(model.engine, prompted(model, rule));
      for (const [i, positions] of kept.entries()) {
        const [value, without] = lazy[Math.floor(i / SHAPE.nKvHeads)]!;
        assert.ok(value! - without! > 1e-3, "sinks count");
        assert.equal(Array.from(positions), value! > threshold ? stays : all, `window ${window}, head ${i}`);
      }
      await model.close();
    }
  }
});

test("layers of which one lets go and one does not stay apart: what follows is computed in each one's own slots", async () => {
  const slots = 60;
  const rule: PromptRule = { keep: { slots }, sinks: 0, window: 0 };
  const [first, second] = scoredLayers().map((layer) =>
    laziness64(
      layer.map(({ queries }) => queries.map((rows) => rows.slice(-1))),
      layer.map(({ keys }) => keys),
      3,
      slots - 2,
    ),
  );
  const model = await open(`simlayerkv:sinks=3,threshold=${(first! + second!) / 2}`);
  const session = prompted(model, rule);
  const kept = heldPositions(model.engine, session);
  assert.equal(kept.map(({ length }) => length).sort(), [PROMPT, PROMPT, slots, slots]);
  const visible = (t: number, layer: number, kv: number): number[] =>
    t < PROMPT
      ? Array.from({ length: t + 1 }, (_, j) => j)
      : [...kept[layer * SHAPE.nKvHeads + kv]!, ...Array.from({ length: t + 1 - PROMPT }, (_, j) => PROMPT + j)];
  const expected = decode(SHAPE, WEIGHTS, IDS, { visible, byPlace: false }).logits;
  for (const t of [PROMPT, 151, 160, 169]) {
    const error = distance(
      feed(model, session, model.engine.runtime.exports.sessionLength(session), t + 1),
      expected[t]!,
    );
    assert.ok(error <= 2e-4, `token ${t}: ${error} standard deviations`);
  }
  await model.close();
});

test("adaptive budgets: the highest scores of all heads of a layer; each head at least its safeguard's share", async () => {
  const layers = scoredLayers();
  const keptOf = async (safeguard: number): Promise<Uint32Array[]> => {
    const model = await open(`adakv:window=16,safeguard=${safeguard}`);
    return heldPositions(model.engine, prompted(model));
  };
  const [free, guarded] = await Promise.all([keptOf(0), keptOf(0.99)]);
  for (const [i, layer] of layers.entries()) {
    const sets = free.slice(2 * i, 2 * i + 2).map((positions) => new Set(positions));
    assert.is(sets[0]!.size + sets[1]!.size, PROMPT, "the layer's budget");
    const scores = layer.map(({ queries, keys }) =>
      snapKv64(
        queries.map((rows) => rows.slice(-16)),
        keys,
        5,
      ),
    );
    const stays = scores.flatMap((of, kv) => of.filter((_, j) => sets[kv]!.has(j)));
    const goes = scores.flatMap((of, kv) => of.filter((_, j) => !sets[kv]!.has(j)));
    assert.ok(Math.max(...goes) <= Math.min(...stays) + 1e-7, `layer ${i}`);
  }
  assert.ok(
    free.some(({ length }) => length !== PROMPT / 2),
    "not the same for all",
  );
  for (const { length } of guarded) assert.ok(length >= Math.floor(0.99 * (PROMPT / 2)), `${length}`);
});

test("what follows a prompt's end is what a model computes that sees only what stayed, at the old positions", async () => {
  for (const policy of POLICIES) {
    for (const kvRotation of policy === "tova" ? [false, true] : [false]) {
      const model = await open(policy, { ...EXACT, kvRotation });
      const session = prompted(model);
      const kept = heldPositions(model.engine, session);
      const sum = kept.reduce((total, { length }) => total + length, 0);
      if (!/^(pyramid|chunk)/.test(policy)) assert.is(sum, (HEADS * PROMPT) / 2, policy);
      const all = (t: number) => Array.from({ length: t + 1 }, (_, j) => j);
      const after = (t: number) => Array.from({ length: t + 1 - PROMPT }, (_, j) => PROMPT + j);
      const visible = (t: number, layer: number, kv: number): number[] =>
        t < PROMPT ? all(t) : [...kept[layer * SHAPE.nKvHeads + kv]!, ...after(t)];
      const expected = decode(SHAPE, WEIGHTS, IDS, { visible, byPlace: false }).logits;
      for (const t of [PROMPT, 150, 169]) {
        const logits = feed(model, session, model.engine.runtime.exports.sessionLength(session), t + 1, 7);
        const error = distance(logits, expected[t]!);
        report(`${policy}, token ${t}`, error, "standard deviations");
        assert.ok(error <= 2e-4, `${policy}, token ${t}: ${error} standard deviations`);
      }
      model.engine.runtime.exports.sessionClose(session);
      const { exports } = model.engine.runtime;
      assert.is(exports.poolFreePages(), exports.poolPages());
      await model.close();
    }
  }
});

test("chunks, a fork, a second prompt's end: the same bits for the same events, in every form of pages", async () => {
  for (const [keys, values] of [
    ["f32", "f32"],
    ["q8", "q8"],
    ["q8", "q4"],
    ["q4", "q4"],
    ["q3", "q4"],
  ] as const) {
    const options = { contextLength: 224, keys, values, kvWindow: 32, kvSinks: 32 };
    for (const policy of [
      "key-diff",
      "adakv:window=16",
      "snapkv:window=16",
      "observed-attention",
      "compactor:chunk=24,sketch=8",
    ]) {
      const model = await open(policy, options);
      const { exports } = model.engine.runtime;
      const run = (chunk: number, forks: boolean): Float32Array => {
        let session = prompted(model, HALF, chunk);
        feed(model, session, PROMPT, 150, chunk);
        if (forks) {
          const fork = model.engine.forkSession(session);
          exports.sessionClose(session);
          session = fork;
        }
        exports.observeRows(session, 160 - Math.min(10, observedRows(model.engine)));
        feed(model, session, 150, 160, chunk);
        evictPrompt(model.engine, session, HALF);
        const logits = feed(model, session, 160, 170, chunk);
        exports.sessionClose(session);
        assert.is(exports.poolFreePages(), exports.poolPages(), "no page is lost");
        return logits;
      };
      const whole = run(64, false);
      assert.ok(whole.every(Number.isFinite));
      for (const [chunk, forks] of [
        [1, false],
        [7, true],
      ] as const) {
        assert.ok(sameBits(run(chunk, forks), whole), `${keys}:${values}, ${policy}, chunk ${chunk}`);
      }
      await model.close();
    }
  }
});

test("threads choose what one chooses, where all rows are added up", async () => {
  const run = async (threads: number): Promise<readonly [Uint32Array[], Float32Array]> => {
    const model = await openRandom(SHAPE, WEIGHTS, { contextLength: 224, policy: "observed-attention", threads });
    assert.is(model.engine.threads, threads);
    const session = prompted(model);
    const result = [heldPositions(model.engine, session), feed(model, session, PROMPT, 170).slice()] as const;
    await model.close();
    return result;
  };
  const [kept, logits] = await run(1);
  for (const threads of [2, 3]) {
    const [others, bits] = await run(threads);
    assert.equal(others, kept);
    assert.ok(sameBits(bits, logits));
  }
});

test("what all rows give the slots: a row gives each head its share; with a page that is evicted goes what it was given", async () => {
  for (const chunk of [1, 64]) {
    const model = await open("observed-attention", { contextLength: 96, keys: "q8", values: "q8" });
    const { runtime } = model.engine;
    const session = model.engine.openSession();
    assert.is(runtime.exports.sessionEvict(session, 3, 1, 0), Status.OK);
    runtime.exports.observeRows(session, 0);
    let total = 0;
    for (const end of [60, 96, 140, 170]) {
      feed(model, session, runtime.exports.sessionLength(session), end, chunk);
      const slots = runtime.exports.headSlots(session, 3);
      const sums = runtime.floats(runtime.exports.observedSumsAddress(session, 3), 96 + 32);
      assert.ok(sums.subarray(0, slots).every((x) => x > 0));
      assert.ok(sums.subarray(slots).every((x) => x === 0));
      assert.ok(sums[slots - 1]! <= GROUP, "one row has seen the newest");
      const sum = sums.reduce((a, b) => a + b);
      if (end < 96) assert.ok(Math.abs(sum - end * GROUP) < 1e-3, `${sum}`);
      else assert.ok(sum < end * GROUP - 1, "some has gone");
      total += sum;
    }
    report(`sums, chunks of ${chunk}`, total, "rows times heads");
    runtime.exports.observeRows(session, 170);
    assert.ok(runtime.floats(runtime.exports.observedSumsAddress(session, 0), 500).every((x) => x === 0));
    await model.close();
  }
});

test("a fork keeps what its parent gives up, and pages of both are counted", async () => {
  const model = await open("key-norm", { contextLength: 224, keys: "q4", values: "q4" });
  const { exports } = model.engine.runtime;
  const parent = model.engine.openSession();
  feed(model, parent, 0, PROMPT);
  const fork = model.engine.forkSession(parent);
  const alone = feed(model, fork, PROMPT, 150);
  evictPrompt(model.engine, parent, HALF);
  const second = model.engine.forkSession(parent);
  feed(model, parent, PROMPT, 170);
  const other = model.engine.openSession();
  feed(model, other, 0, PROMPT);
  assert.ok(sameBits(feed(model, other, PROMPT, 150), alone));
  for (const session of [parent, fork, second, other]) exports.sessionClose(session);
  assert.is(exports.poolFreePages(), exports.poolPages());
  await model.close();
});

test("sinks, window and pins stay, whatever the policy says of them", async () => {
  for (const policy of POLICIES) {
    const model = await open(policy);
    const { engine } = model;
    const session = engine.openSession();
    assert.is(engine.runtime.exports.sessionPin(session, 60, 67), Status.OK);
    engine.runtime.exports.observeRows(session, Math.max(0, PROMPT - observedRows(engine)));
    feed(model, session, 0, PROMPT);
    evictPrompt(engine, session, { keep: { slots: 50 }, sinks: 6, window: 9 });
    const must = [0, 1, 2, 3, 4, 5, 60, 61, 62, 63, 64, 65, 66, ...Array.from({ length: 9 }, (_, i) => PROMPT - 9 + i)];
    for (const positions of heldPositions(engine, session)) {
      for (const position of must) assert.ok(positions.includes(position), `${policy}: ${position}`);
      assert.ok(
        positions.every((position, i) => i === 0 || positions[i - 1]! < position),
        "in order",
      );
    }
    await model.close();
  }
});

test("the pyramid's budgets: kvpress's numbers, their mean the uniform one; where it cannot be, all alike", () => {
  const spec = parsePolicy("pyramidkv");
  const budgets = layerBudgets(spec, 30, 1024, 0.5);
  assert.equal([budgets[0], budgets[15], budgets[29]], [960, 497, 64]);
  assert.ok(Math.abs(budgets.reduce((a, b) => a + b, 0) / 30 - 512) < 1);
  assert.equal(layerBudgets(spec, 4, 100, 0.5), [50, 50, 50, 50]);
  assert.equal(layerBudgets(parsePolicy("snapkv"), 3, 1001, 0.3), [300, 300, 300]);
});

test("policies by name: parameters within their bounds; anything else is refused by name", () => {
  assert.equal(
    [...parsePolicy("snapkv:kernel=7,window=32").values],
    [
      ["kernel", 7],
      ["window", 32],
    ],
  );
  assert.equal(parsePolicy("lagkv:lag=64").taken, [4, 64]);
  for (const text of [
    "",
    "snap",
    "snapkv:",
    "snapkv:window",
    "snapkv:window=",
    "snapkv:window=0",
    "snapkv:window=1.5",
    "snapkv:x=1",
    "adakv:safeguard=2",
    "toString",
    "tova:window=1",
    "criticalkv:first=1.5",
    "criticalkv:safeguard=0.2",
    "criticaladakv:epsilon=x",
    "expected-attention:covariance=0.5",
    "expected-attention:future=0",
    "expected-attention:epsilon=2",
    "q-filter:window=1",
    "simlayerkv:threshold=1.1",
    "simlayerkv:window=0",
    7,
    null,
  ]) {
    try {
      parsePolicy(text);
      assert.unreachable(String(text));
    } catch (error) {
      assert.equal(
        [(error as { code: string }).code, (error as { subject: string }).subject],
        ["invalid_option", "policy"],
      );
    }
  }
});

test.run();
