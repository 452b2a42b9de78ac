/**
 * After a prompt's end, on small random llamas: what is computed then against a forward pass in f64 that sees only what stayed,
 * and bits against themselves, however the session came there.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Status } from "../../assembly/memory/status.ts";
import { beginPrompt, evictPrompt, heldPositions, observedRows, type PromptRule } from "../../host/prompt-end.ts";
import { report } from "../kernel/compare.ts";
import { decode } from "../oracle/decoder.ts";
import { laziness64 } from "../oracle/policies.ts";
import { randomIds, sameBits } from "./load.ts";
import {
  EXACT,
  feed,
  GROUP,
  HALF,
  HEADS,
  IDS,
  open,
  POLICIES,
  PROMPT,
  prompted,
  SHAPE,
  scoredLayers,
  WEIGHTS,
} from "./prompted.ts";
import { distance, openRandom } from "./random-llama.ts";

const test = suite("prompt's end");

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

test.run();
