/**
 * Policies that choose by more than a score for each slot: chunks, two stages, whole layers, budgets by score; against their
 * formulas in f64, on small random llamas with f32 pages.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { heldPositions, type PromptRule } from "../../host/prompt-end.ts";
import { chunkKv64, criticalKv64, dealt64, laziness64, outputNorms64, snapKv64 } from "../oracle/policies.ts";
import { GROUP, HALF, open, PROMPT, prompted, SHAPE, scoredLayers, WEIGHTS } from "./prompted.ts";

const test = suite("choices of policies");

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

test.run();
