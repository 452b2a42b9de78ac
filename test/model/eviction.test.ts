/**
 * Sessions that evict, on small random llamas: logits against a forward pass in f64 that knows only which tokens are left
 * and takes their places among those as positions (StreamingLLM's definition), and bits against themselves.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Status } from "../../assembly/memory/status.ts";
import type { Model } from "../../host/model.ts";
import { report } from "../kernel/compare.ts";
import { decode } from "../oracle/decoder.ts";
import { randomIds, sameBits } from "./load.ts";
import { deviation, distance, openRandom, randomWeights, SMALL_SHAPE } from "./random-llama.ts";

const test = suite("eviction");

const WEIGHTS = randomWeights(SMALL_SHAPE, 11);
const IDS = randomIds(330, SMALL_SHAPE.vocabSize, 5);

interface Rule {
  readonly maxPages: number;
  readonly sinkPages: number;
  readonly windowPages: number;
  readonly pins?: readonly (readonly [first: number, end: number])[];
}

/** Pages in the order the rule leaves them, by what the formula says: full and at the limit, the oldest that may go goes. */
function leftOf({ maxPages, sinkPages, windowPages, pins = [] }: Rule): (t: number) => number[] {
  const pagesAt: number[][] = []; // first positions of the pages that token t sees
  let pages: number[] = [];
  for (let t = 0; t < IDS.length; ++t) {
    if (t % 32 === 0) pages = [...pages, t];
    pagesAt.push(pages);
    if (t % 32 !== 31 || pages.length < maxPages) continue;
    const isPinned = (first: number): boolean => pins.some(([a, b]) => a < first + 32 && first < b);
    const goes = pages.slice(sinkPages, pages.length - 1 - windowPages).find((first) => !isPinned(first));
    pages = pages.filter((first) => first !== goes);
  }
  return (t) =>
    pagesAt[t]!.flatMap((first) => Array.from({ length: Math.min(32, t + 1 - first) }, (_, i) => first + i));
}

/** Logits of every token of a session that evicts. */
function run(
  model: Model,
  { maxPages, sinkPages, windowPages, pins = [] }: Rule,
  chunk: number,
  ids = IDS,
): Float32Array {
  const { engine } = model;
  const { exports } = engine.runtime;
  const session = engine.openSession();
  for (const [first, end] of pins) assert.is(exports.sessionPin(session, first, end), Status.OK);
  assert.is(exports.sessionEvict(session, maxPages, sinkPages, windowPages), Status.OK);
  const out = new Float32Array(ids.length * SMALL_SHAPE.vocabSize);
  for (let at = 0; at < ids.length; at += chunk) {
    const rows = ids.slice(at, at + chunk).map((input, i) => ({ session, input, position: at + i, logits: true }));
    model.forward(rows);
    for (const [i, { position }] of rows.entries()) out.set(engine.logits(i), position * SMALL_SHAPE.vocabSize);
  }
  exports.sessionClose(session);
  assert.is(exports.poolFreePages(), exports.poolPages());
  return out;
}

const RULES: Record<string, Rule> = {
  "sinks and a window": { maxPages: 5, sinkPages: 1, windowPages: 2 },
  "no sinks, no window": { maxPages: 3, sinkPages: 0, windowPages: 0 },
  "the least": { maxPages: 2, sinkPages: 0, windowPages: 0 },
  "pins between": {
    maxPages: 7,
    sinkPages: 1,
    windowPages: 1,
    pins: [
      [70, 71],
      [126, 130],
    ],
  },
};

test("f32 pages: logits are those of a model that sees only what is left, at places among it", async () => {
  for (const kvRotation of [false, true]) {
    const model = await openRandom(SMALL_SHAPE, WEIGHTS, {
      contextLength: 224,
      keys: "f32",
      values: "f32",
      kvRotation,
    });
    for (const [what, rule] of Object.entries(RULES)) {
      const expected = decode(SMALL_SHAPE, WEIGHTS, IDS, { visible: leftOf(rule), byPlace: true }).logits.flat();
      assert.ok(deviation(expected) > 0.8);
      const error = distance(run(model, rule, 64), expected);
      report(`${what}, rotated: ${kvRotation}`, error, "standard deviations");
      assert.ok(error <= 1e-4, `${what}, rotated ${kvRotation}: ${error} standard deviations off`);
    }
    await model.close();
  }
});

test("every form of pages: chunks of 1, 7 and 64 give the same bits, and near those of f32 pages", async () => {
  const rule: Rule = { maxPages: 6, sinkPages: 1, windowPages: 2 };
  const exact = decode(SMALL_SHAPE, WEIGHTS, IDS, { visible: leftOf(rule), byPlace: true }).logits.flat();
  for (const [keys, values, bound] of [
    ["f32", "f32", 1e-4],
    ["q8", "q8", 0.1],
    ["q8", "q4", 0.5],
    ["q4", "q4", 1],
    ["q3", "q3", 1.5],
  ] as const) {
    const model = await openRandom(SMALL_SHAPE, WEIGHTS, { contextLength: 224, keys, values, kvGroup: 32 });
    const whole = run(model, rule, 64);
    assert.ok(whole.every(Number.isFinite));
    const error = distance(whole, exact);
    report(`${keys}:${values}`, error, "standard deviations");
    assert.ok(error <= bound, `${keys}:${values}: ${error}`);
    for (const chunk of [1, 7])
      assert.ok(sameBits(run(model, rule, chunk), whole), `${keys}:${values}, chunk ${chunk}`);
    await model.close();
  }
});

test("pages stay at the limit, the pool at its size, and the log names every page of every head once, oldest first", async () => {
  const model = await openRandom(SMALL_SHAPE, WEIGHTS, { contextLength: 224, keys: "q4", values: "q4" });
  const { engine } = model;
  const { exports } = engine.runtime;
  const rule: Rule = { maxPages: 6, sinkPages: 1, windowPages: 2 };
  const session = engine.openSession();
  assert.is(exports.sessionEvict(session, 6, 1, 2), Status.OK);
  const gone = new Map<number, number[]>();
  let size: number | undefined;
  for (let t = 0; t < IDS.length; ++t) {
    model.forward([{ session, input: IDS[t]!, position: t }]);
    const words = engine.runtime.words(exports.evictedLog(session), exports.evictedPages(session) * 4);
    for (let i = 0; i < words.length; i += 4) {
      gone.set(words[i]!, [...(gone.get(words[i]!) ?? []), words[i + 1]!]);
      assert.is(words[i + 2], words[i + 1]! + 32);
    }
    assert.is(exports.sessionSlots(session), leftOf(rule)(t).length + (t % 32 === 31 && t >= 191 ? -32 : 0));
    if (t === 192) size = exports.poolPages();
    if (t > 192) assert.is(exports.poolPages(), size, "no page more");
  }
  const evicted = Array.from({ length: 5 }, (_, i) => 32 * (i + 1));
  assert.equal(Array.from(gone.values()), Array(4).fill(evicted));
  exports.sessionClose(session);
  assert.is(exports.poolFreePages(), exports.poolPages());
  await model.close();
});

test("a fork and its parent forget apart from each other: each as if it were alone", async () => {
  for (const form of ["f32", "q8", "q4"] as const) {
    const model = await openRandom(SMALL_SHAPE, WEIGHTS, { contextLength: 224, keys: form, values: form });
    const { engine } = model;
    const { exports } = engine.runtime;
    const rule: Rule = { maxPages: 5, sinkPages: 1, windowPages: 2 };
    const other = [...IDS.slice(0, 200), ...randomIds(130, SMALL_SHAPE.vocabSize, 77)];
    const alone = [IDS, other].map((ids) => run(model, rule, 64, ids));
    const parent = engine.openSession();
    assert.is(exports.sessionEvict(parent, rule.maxPages, rule.sinkPages, rule.windowPages), Status.OK);
    for (let t = 0; t < 200; ++t) model.forward([{ session: parent, input: IDS[t]!, position: t }]);
    const fork = engine.forkSession(parent);
    for (let t = 200; t < 330; ++t) {
      const rows = [
        { session: parent, input: IDS[t]!, position: t, logits: true },
        { session: fork, input: other[t]!, position: t, logits: true },
      ];
      model.forward(rows);
      for (const i of [0, 1]) {
        const expected = alone[i]!.subarray(t * SMALL_SHAPE.vocabSize, (t + 1) * SMALL_SHAPE.vocabSize);
        assert.ok(sameBits(engine.logits(i), expected), `${form}: ${i === 0 ? "parent" : "fork"}, token ${t}`);
      }
    }
    for (const session of [parent, fork]) exports.sessionClose(session);
    assert.is(exports.poolFreePages(), exports.poolPages());
    await model.close();
  }
});

test("taken back: within the open page and to a mark with nothing evicted since; else the session starts again", async () => {
  const model = await openRandom(SMALL_SHAPE, WEIGHTS, { contextLength: 224, keys: "q4", values: "q4" });
  const { engine } = model;
  const { exports } = engine.runtime;
  const rule: Rule = { maxPages: 5, sinkPages: 1, windowPages: 2 };
  const expected = run(model, rule, 64);
  const grow = (session: number, to: number): void => {
    for (let t = exports.sessionLength(session); t < to; ++t) {
      model.forward([{ session, input: IDS[t]!, position: t, logits: true }]);
    }
    const at = (to - 1) * SMALL_SHAPE.vocabSize;
    assert.ok(sameBits(engine.logits(0), expected.subarray(at, at + SMALL_SHAPE.vocabSize)), `token ${to - 1}`);
  };
  for (const [from, back, mark, kept] of [
    [300, 290, undefined, 290], // page 9 is open from 288 on
    [300, 287, undefined, 0],
    [300, 295, 270, 295],
    [310, 280, 280, 280], // nothing went between 280 and 287, the eviction at 287 did
    [286, 280, 260, 280],
    [287, 256, 256, 256],
    [319, 288, 288, 288],
  ] as const) {
    const session = engine.openSession();
    assert.is(exports.sessionEvict(session, rule.maxPages, rule.sinkPages, rule.windowPages), Status.OK);
    if (mark !== undefined) {
      grow(session, mark);
      exports.sessionMark(session);
    }
    grow(session, from);
    const evicted = mark !== undefined && Math.floor(mark / 32) !== Math.floor(from / 32);
    const reached = exports.sessionTruncate(session, back);
    assert.is(reached, evicted && back < Math.floor(from / 32) * 32 ? 0 : kept, `${from} to ${back}, mark ${mark}`);
    grow(session, 330);
    exports.sessionClose(session);
  }
  assert.is(exports.poolFreePages(), exports.poolPages());
  await model.close();
});

test("refused: nothing left to evict, too many pins, pins that leave nothing, less than what stays at 8 bits", async () => {
  const model = await openRandom(SMALL_SHAPE, WEIGHTS, { contextLength: 224, keys: "q4", values: "q4" });
  const { exports } = model.engine.runtime;
  const session = model.engine.openSession();
  for (const [maxPages, sinkPages, windowPages, status] of [
    [8, 1, 2, Status.BAD_ARGUMENT], // the context has 7
    [4, 1, 2, Status.BAD_ARGUMENT],
    [5, 0, 2, Status.BAD_ARGUMENT], // sinks at 8 bits
    [5, 1, 1, Status.BAD_ARGUMENT], // recent pages at 8 bits
    [5, 2, 2, Status.BAD_ARGUMENT],
    [5, 1, 2, Status.OK],
  ] as const) {
    assert.is(
      exports.sessionEvict(session, maxPages, sinkPages, windowPages),
      status,
      `${maxPages} ${sinkPages} ${windowPages}`,
    );
  }
  assert.is(exports.sessionPin(session, 5, 5), Status.BAD_ARGUMENT);
  assert.is(exports.sessionPin(session, 100, 101), Status.BAD_ARGUMENT, "nothing would be left");
  assert.is(exports.sessionEvict(session, 7, 1, 2), Status.OK);
  assert.is(exports.sessionPin(session, 95, 97), Status.OK);
  assert.is(exports.sessionPin(session, 5, 6), Status.BAD_ARGUMENT);
  exports.sessionUnpin(session);
  assert.is(exports.sessionEvict(session, 0, 0, 0), Status.OK);
  for (let i = 0; i < 32; ++i) assert.is(exports.sessionPin(session, i, i + 1), Status.OK);
  assert.is(exports.sessionPin(session, 40, 41), Status.BAD_ARGUMENT);
  assert.is(exports.sessionEvict(session, 7, 1, 2), Status.BAD_ARGUMENT);
  exports.sessionClose(session);
  await model.close();
});

test.run();
