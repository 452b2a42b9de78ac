/**
 * Where tokens are when single ones have gone from a session that evicts: logits against a forward pass in f64 that knows what
 * is left, and at which positions the numeric contract has it.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Status } from "../../assembly/memory/status.ts";
import { beginPrompt, evictPrompt, heldPositions } from "../../host/prompt-end.ts";
import { report } from "../kernel/compare.ts";
import { decode } from "../oracle/decoder.ts";
import { randomIds } from "./load.ts";
import { distance, openRandom, randomWeights, SMALL_SHAPE } from "./random-llama.ts";

const test = suite("thinned positions");

const WEIGHTS = randomWeights(SMALL_SHAPE, 21);
/** Tokens before some go, and after. */
const [BEFORE, ALL] = [150, 190];
const IDS = randomIds(ALL, SMALL_SHAPE.vocabSize, 8);

/**
 * Positions of what stayed of a head, as queries see them: pages of 32 in order, each as near as it may, its last token at its
 * place among all slots, but never farther than it is; the slots are as many more than the tokens as the last page is not full.
 */
function placesOf(kept: ArrayLike<number>): number[] {
  const positions = Array.from(kept);
  const lead = 32 * Math.ceil(positions.length / 32) - BEFORE;
  return positions.map((position, slot) => {
    const last = Math.min(slot | 31, positions.length - 1);
    return position + Math.max(0, last - positions[last]! - lead);
  });
}

for (const [policy, share] of [
  ["adakv:window=16,safeguard=0", 0.7],
  ["adakv:window=16,safeguard=0", 0.9],
  ["key-norm", 0.5],
  ["key-norm", 0.95],
] as const) {
  test(`${policy}, ${share} stays: pages keep their tokens' distances, none comes to lie behind the query or goes away`, async () => {
    for (const kvRotation of [false, true]) {
      const options = { contextLength: 256, keys: "f32", values: "f32", kvRotation } as const;
      const model = await openRandom(SMALL_SHAPE, WEIGHTS, { ...options, policy });
      const { engine } = model;
      const { exports } = engine.runtime;
      const session = engine.openSession();
      assert.is(exports.sessionEvict(session, 8, 1, 1), Status.OK);
      const logits: number[] = [];
      const feed = (first: number, end: number): void => {
        for (let at = first; at < end; at += 50) {
          const ids = IDS.slice(at, Math.min(end, at + 50));
          model.forward(ids.map((input, i) => ({ session, input, position: at + i, logits: true })));
          for (const i of ids.keys()) logits.push(...engine.logits(i));
        }
      };
      beginPrompt(engine, session, 0);
      exports.observeRows(session, BEFORE - 16);
      feed(0, BEFORE);
      evictPrompt(engine, session, { keep: { share }, sinks: 0, window: 0 });
      const kept = heldPositions(engine, session).map((positions) => Array.from(positions));
      const places = kept.map(placesOf);
      const turned = kept.some((positions, i) => positions.some((position, slot) => places[i]![slot] !== position));
      assert.is(turned, share < 0.95, "some are nearer, where more has gone than empty slots make up for");
      const isLast = places.every((of) => of.every((place) => place < BEFORE));
      assert.ok(isLast, "none is behind the query");
      feed(BEFORE, ALL);
      const seen = (of: readonly (readonly number[])[]) => (t: number, layer: number, kv: number) => {
        const after = Array.from({ length: t + 1 - BEFORE }, (_, j) => BEFORE + j);
        const all = Array.from({ length: t + 1 }, (_, j) => j);
        return t < BEFORE ? all : [...of[layer * SMALL_SHAPE.nKvHeads + kv]!, ...after];
      };
      const expected = decode(SMALL_SHAPE, WEIGHTS, IDS, { visible: seen(kept), byPlace: seen(places) }).logits.flat();
      const error = distance(logits, expected);
      report(`${policy} ${share}, rotated: ${kvRotation}`, error, "standard deviations");
      assert.ok(error <= 2e-4, `rotated ${kvRotation}: ${error} standard deviations off`);
      await model.close();
    }
  });
}

test("heads that have lost nothing but have empty slots see what they would see alone", () => {
  assert.equal(placesOf(Array.from({ length: BEFORE }, (_, i) => i)), [...Array(BEFORE).keys()]);
});

test.run();
