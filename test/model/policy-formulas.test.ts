/**
 * Policies that score each slot: what stays of a prompt against the formula in f64, in every head of small random llamas with f32
 * pages.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { heldPositions } from "../../host/prompt-end.ts";
import { ROPE_BASE } from "../oracle/decoder.ts";
import {
  chunkAttention64,
  type Expectation,
  expected64,
  filtered64,
  finch64,
  keyDiff64,
  keyNorm64,
  lagKv64,
  leverage64,
  observed64,
  qFilter64,
  type Rows,
  snapKv64,
  standard64,
  tova64,
} from "../oracle/policies.ts";
import { EXACT, HEADS, open, PROMPT, prompted, type Scored, SHAPE, scoredLayers } from "./prompted.ts";

const test = suite("formulas of policies");

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

test.run();
