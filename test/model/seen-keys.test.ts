/**
 * Policies in a session that evicts look at what is left as attention does, at cache-relative positions: slots that stay against
 * the formulas in f64 on a random llama of one layer, whose queries and keys do not depend on what went.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Status } from "../../assembly/memory/status.ts";
import { CALIBRATION, calibrate } from "../../host/calibration.ts";
import { beginPrompt, evictPrompt, heldPositions, observedRows } from "../../host/prompt-end.ts";
import { type DecoderShape, decode, projected, ROPE_BASE, rotate } from "../oracle/decoder.ts";
import {
  expected64,
  filtered64,
  finch64,
  keyDiff64,
  lagKv64,
  qFilter64,
  type Rows,
  snapKv64,
  tova64,
} from "../oracle/policies.ts";
import { randomIds } from "./load.ts";
import { openRandom, randomWeights, SMALL_SHAPE } from "./random-llama.ts";

const test = suite("policies see what is left");

const SHAPE: DecoderShape = { ...SMALL_SHAPE, nLayers: 1, nHeads: 6 };
const GROUP = 3;
const WEIGHTS = randomWeights(SHAPE, 33);
/** Pages of a head at most, and of its first tokens: the rest goes oldest first. */
const [MAX_PAGES, SINK_PAGES] = [5, 1];
const IDS = randomIds(340, SHAPE.vocabSize, 6);
/** Positions that are left: a page of sinks, and from page 7 on. */
const LEFT = [...IDS.keys()].filter((t) => t < 32 || t >= 7 * 32);
const WINDOW = 16;

interface Seen {
  /** Of the group's heads, all tokens, before RoPE. */
  readonly plain: readonly Rows[];
  /** The last WINDOW queries at their places, and the keys left; or all at positions of the sequence. */
  readonly queries: readonly Rows[];
  readonly keys: Rows;
  readonly values: Rows;
}

const { plainQueries, plainKeys, values } = projected(SHAPE, WEIGHTS, decode(SHAPE, WEIGHTS, IDS).inputs, 0);

function seenBy(kv: number, byPlace: boolean): Seen {
  const at = (place: number): number => (byPlace ? place : LEFT[place]!);
  const newest = LEFT.slice(-WINDOW);
  const plain = plainQueries.slice(kv * GROUP, (kv + 1) * GROUP);
  return {
    plain,
    queries: plain.map((rows) => newest.map((t, i) => rotate(rows[t]!, at(LEFT.length - WINDOW + i)))),
    keys: LEFT.map((t, place) => rotate(plainKeys[kv]![t]!, at(place))),
    values: LEFT.map((t) => values[kv]![t]!),
  };
}

const [BY_PLACE, BY_SEQUENCE] = [true, false].map((byPlace) => [0, 1].map((kv) => seenBy(kv, byPlace))) as [
  Seen[],
  Seen[],
];

/** Another text, and the filters it gives. */
const OTHER = randomIds(128, SHAPE.vocabSize, 7);
function filterOf(kv: number): readonly number[] {
  const { queries } = projected(SHAPE, WEIGHTS, decode(SHAPE, WEIGHTS, OTHER).inputs, 0);
  return qFilter64(queries.slice(kv * GROUP, (kv + 1) * GROUP));
}

const FORMULAS: Record<string, (head: Seen, layer: readonly Seen[], kv: number) => number[]> = {
  [`snapkv:window=${WINDOW},kernel=5`]: ({ queries, keys }) => snapKv64(queries, keys, 5),
  [`finch:window=${WINDOW}`]: ({ queries, keys }) => finch64(queries, keys),
  tova: (_, layer) =>
    tova64(
      layer.map(({ queries }) => queries.map((rows) => rows.at(-1)!)),
      layer.map(({ keys }) => keys),
    ),
  "expected-attention:sinks=4,future=40,epsilon=0": ({ plain, keys, values }) =>
    expected64(plain, keys, values, {
      sinks: 4,
      future: 40,
      covariance: true,
      vnorm: true,
      epsilon: 0,
      ropeBase: ROPE_BASE,
    }),
  "key-diff": ({ keys }) => keyDiff64(keys),
  "lagkv:sinks=4,lag=20": ({ keys, values }) => lagKv64(keys, values, 4, 20),
  "q-filter": ({ keys }, _, kv) => filtered64(keys, filterOf(kv)),
};

/** Slots that scores are against: of those that stayed the lowest, of those that went the highest. */
function isChoice(stayed: ReadonlySet<number>, scores: readonly number[], left: readonly number[] = LEFT): boolean {
  const finite = scores.filter(Number.isFinite);
  const slack = 1e-5 * (Math.max(...finite) - Math.min(...finite));
  const lowest = Math.min(...scores.filter((_, place) => stayed.has(left[place]!)));
  return scores.every((score, place) => stayed.has(left[place]!) || score <= lowest + slack);
}

for (const [policy, formula] of Object.entries(FORMULAS)) {
  test(`${policy}: places in the cache count, not in the sequence`, async () => {
    // LagKV counts channels as they are stored.
    for (const kvRotation of policy.startsWith("lagkv") ? [false] : [false, true]) {
      const options = { contextLength: 224, keys: "f32", values: "f32", kvRotation } as const;
      const filters = policy === "q-filter" ? { filters: await filtersOf(options) } : {};
      const model = await openRandom(SHAPE, WEIGHTS, { ...options, ...filters, policy });
      const { engine } = model;
      const { exports } = engine.runtime;
      const session = engine.openSession();
      assert.is(exports.sessionEvict(session, MAX_PAGES, SINK_PAGES, 1), Status.OK);
      beginPrompt(engine, session, 0);
      exports.observeRows(session, IDS.length - Math.max(1, observedRows(engine)));
      for (let at = 0; at < IDS.length; at += 64) {
        model.forward(IDS.slice(at, at + 64).map((input, i) => ({ session, input, position: at + i })));
      }
      assert.equal(Array.from(heldPositions(engine, session)[0]!), LEFT);
      evictPrompt(engine, session, { keep: { share: 0.5 }, sinks: 0, window: 0 });
      let isTold = false;
      for (const kv of [0, 1]) {
        const stayed = new Set(heldPositions(engine, session)[kv]!);
        assert.is(stayed.size, LEFT.length / 2);
        assert.ok(isChoice(stayed, formula(BY_PLACE[kv]!, BY_PLACE, kv)), `head ${kv}, rotated ${kvRotation}`);
        isTold ||= !isChoice(stayed, formula(BY_SEQUENCE[kv]!, BY_SEQUENCE, kv));
      }
      assert.ok(isTold, "positions of the sequence would choose the same");
      await model.close();
    }
  });
}

/** Tokens when single ones go for the first time, and when for the second. */
const [FIRST, SECOND] = [150, 195];

type GappedKeys = Record<"seen" | "placed", Rows>;

/**
 * Keys of what is left in a head, `kept` of the first FIRST tokens and all that came since, as queries see them and at their
 * places: pages of 32 slots stand by their last token (or by their first), and empty slots never take one away.
 */
function gappedKeys(kv: number, kept: readonly number[], left: readonly number[], by: "last" | "first"): GappedKeys {
  const lead = 32 * Math.ceil(kept.length / 32) - FIRST;
  const missing = kept.map((_, slot) => {
    const at = by === "first" ? slot - (slot % 32) : Math.min(slot | 31, kept.length - 1);
    return kept[at]! - at;
  });
  const nearer = missing.map((n) => Math.max(0, -n - lead));
  const up = missing.map((n) => Math.max(0, n));
  return {
    seen: left.map((t, i) => rotate(plainKeys[kv]![t]!, t + (nearer[i] ?? 0))),
    placed: left.map((t, i) => rotate(plainKeys[kv]![t]!, t - (up[i] ?? -lead))),
  };
}

const GAPPED: Record<string, (kv: number, left: readonly number[], keys: GappedKeys) => number[]> = {
  // The oracle has no empty slots, which a kernel of more would pool.
  [`snapkv:window=${WINDOW},kernel=1`]: (kv, left, { seen }) => {
    const plain = plainQueries.slice(kv * GROUP, (kv + 1) * GROUP);
    const newest = plain.map((rows) => left.slice(-WINDOW).map((t) => rotate(rows[t]!, t)));
    return snapKv64(newest, seen, 1);
  },
  "key-diff": (_, __, { placed }) => keyDiff64(placed),
};

for (const [policy, formula] of Object.entries(GAPPED)) {
  test(`${policy}: once single slots have gone, keys stand by the last ones of their pages`, async () => {
    const model = await openRandom(SHAPE, WEIGHTS, { contextLength: 256, keys: "f32", values: "f32", policy });
    const { engine } = model;
    const { exports } = engine.runtime;
    const session = engine.openSession();
    assert.is(exports.sessionEvict(session, 8, 1, 1), Status.OK);
    const feed = (first: number, end: number): void => {
      beginPrompt(engine, session, first);
      exports.observeRows(session, end - Math.max(1, observedRows(engine)));
      for (let at = first; at < end; at += 50) {
        const ids = IDS.slice(at, Math.min(end, at + 50));
        model.forward(ids.map((input, i) => ({ session, input, position: at + i })));
      }
    };
    feed(0, FIRST);
    evictPrompt(engine, session, { keep: { share: 0.6 }, sinks: 0, window: 0 });
    const kept = heldPositions(engine, session).map((positions) => Array.from(positions));
    feed(FIRST, SECOND);
    evictPrompt(engine, session, { keep: { share: 0.6 }, sinks: 0, window: 0 });
    let isTold = false;
    for (const kv of [0, 1]) {
      const stayed = new Set(heldPositions(engine, session)[kv]!);
      const left = [...kept[kv]!, ...Array.from({ length: SECOND - FIRST }, (_, i) => FIRST + i)];
      const chosen = (by: "last" | "first"): boolean =>
        isChoice(stayed, formula(kv, left, gappedKeys(kv, kept[kv]!, left, by)), left);
      assert.ok(chosen("last"), `head ${kv}`);
      isTold ||= !chosen("first");
    }
    assert.ok(isTold, "pages that stand by their first tokens would choose the same");
    await model.close();
  });
}

function filtersOf(options: { readonly contextLength: number }): Promise<Awaited<ReturnType<typeof calibrate>>> {
  return openRandom(SHAPE, WEIGHTS, { ...options, keys: "f32", values: "f32", ...CALIBRATION }).then(async (model) => {
    const filters = await calibrate(model, [OTHER]);
    await model.close();
    return filters;
  });
}

test.run();
