/**
 * Promise 3 inside one build: the logits bits do not depend on the chunk size, on other sessions, on batching, or on what
 * was truncated before.
 */
import { readdirSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Model } from "../../host/model.ts";
import { allLogits, DEFAULT_MODEL, load, randomIds, sameBits } from "./load.ts";

const FIXTURES = "test/golden/architectures";
const files = Object.fromEntries([
  ["thimble-15m Q4_0", DEFAULT_MODEL],
  ...readdirSync(FIXTURES)
    .filter((name) => name.endsWith(".gguf"))
    .map((name) => [name, `${FIXTURES}/${name}`]),
]) as Readonly<Record<string, string>>;

/** Logits of two sequences that share forward calls, `a` and `b` rows of each at a time. */
function together(model: Model, first: readonly number[], second: readonly number[], step: number): Float32Array[] {
  const { engine } = model;
  const { vocabSize } = model.config;
  const sequences = [first, second].map((ids) => ({
    ids,
    session: engine.openSession(),
    out: new Float32Array(ids.length * vocabSize),
  }));
  for (let at = 0; at < Math.max(first.length, second.length); at += step) {
    const rows = sequences.flatMap(({ ids, session, out }) =>
      ids.slice(at, at + step).map((input, i) => ({ session, input, position: at + i, logits: true, out })),
    );
    model.forward(rows);
    rows.forEach((row, i) => {
      row.out.set(engine.logits(i), row.position * vocabSize);
    });
  }
  for (const { session } of sequences) engine.runtime.exports.sessionClose(session);
  return sequences.map(({ out }) => out);
}

/** Forms of the cache, one or the other for each file: all take the same way. */
const FORMS = [
  { keys: "q8", values: "q8" },
  { keys: "q4", values: "q4", kvWindow: 32, kvSinks: 0 },
  { keys: "f32", values: "f32" },
  { keys: "q3", values: "q8", kvGroup: 32 },
  { keys: "q8", values: "q4", kvSinks: 64 },
  { keys: "q4", values: "q3", kvWindow: 32, kvFormat: "mean,outliers:2,factors,salient:3" },
  { keys: "q3", values: "q8", kvWindow: 32, kvSinks: 0, kvFormat: "channels,salient:1" },
  { keys: "q8", values: "q8", kvFormat: "planes:0.2" },
  { keys: "q4", values: "q3", kvWindow: 32, kvFormat: "heads:0.0/1.0,channels" },
] as const;

for (const [i, [name, path]] of Object.entries(files).entries()) {
  const forms = FORMS[i % FORMS.length]!;
  test(`${name}: chunks of 1, 7, 64 and 512 give the same bits`, async () => {
    const model = await load(path, { ...forms, chunk: 512, maxOutputs: 512 });
    const ids = randomIds(200, model.config.vocabSize);
    const expected = allLogits(model, ids, 1);
    for (const chunk of [3, 7, 64, 512]) {
      assert.ok(sameBits(allLogits(model, ids, chunk), expected), `chunk ${chunk} differs from one by one`);
    }
  });

  test(`${name}: two sessions, interleaved or batched, give the bits they give alone`, async () => {
    const model = await load(path, { ...forms, chunk: 64, maxOutputs: 64 });
    const first = randomIds(60, model.config.vocabSize, 11);
    const second = randomIds(45, model.config.vocabSize, 22);
    const alone = [allLogits(model, first, 64), allLogits(model, second, 64)];
    for (const step of [1, 5, 30]) {
      together(model, first, second, step).forEach((logits, i) => {
        assert.ok(sameBits(logits, alone[i]!), `session ${i} with ${step} rows a call`);
      });
    }
    assert.not(sameBits(alone[0]!.subarray(0, 100), alone[1]!.subarray(0, 100)), "the sequences must differ");
  });

  test(`${name}: a truncated session continues as a fresh one, from the mark at least`, async () => {
    const model = await load(path, { ...forms, chunk: 64, maxOutputs: 64 });
    const { engine, config } = model;
    const kept = randomIds(37, config.vocabSize, 5);
    const hasWindow = config.layers.some(({ window }) => window > 0);
    const expected = allLogits(model, [...kept, 7], 64).subarray(kept.length * config.vocabSize);
    for (const dropped of [20, 60]) {
      const session = engine.openSession();
      const feed = (ids: readonly number[], position: number): void =>
        model.forward(
          ids.map((input, i) => ({ session, input, position: position + i, logits: i === ids.length - 1 })),
        );
      feed(kept, 0);
      engine.runtime.exports.sessionMark(session);
      feed(randomIds(dropped, config.vocabSize, 6), kept.length);
      const length = engine.runtime.exports.sessionTruncate(session, kept.length);
      if (!hasWindow || dropped <= 32) assert.is(length, kept.length);
      feed([...kept, 7].slice(length), length);
      assert.ok(sameBits(engine.logits(0), expected), `${dropped} tokens taken back`);
    }
  });
}

test("a fork, and what it was forked from, go on as if they were alone", async () => {
  for (const forms of FORMS) {
    // The large model in one form, a small one with the same ages of pages in the others.
    const path = forms === FORMS[1] ? DEFAULT_MODEL : `${FIXTURES}/llama.q8_0.gguf`;
    const model = await load(path, { ...forms, chunk: 64, maxOutputs: 64 });
    const { engine, config } = model;
    const { vocabSize } = config;
    const { sessionClose, sessionFork, poolFreePages, poolPages } = engine.runtime.exports;
    const shared = randomIds(150, vocabSize, 1);
    const tails = [2, 3].map((seed) => randomIds(70, vocabSize, seed));
    const alone = tails.map((tail) => allLogits(model, [...shared, ...tail], 64).subarray(150 * vocabSize));
    const first = engine.openSession();
    for (let at = 0; at < 150; at += 50) {
      model.forward(shared.slice(at, at + 50).map((input, i) => ({ session: first, input, position: at + i })));
    }
    const sessions = [first, sessionFork(first)];
    for (let at = 0; at < 70; at += 5) {
      const rows = tails.flatMap((tail, s) =>
        tail
          .slice(at, at + 5)
          .map((input, i) => ({ s, session: sessions[s]!, input, position: 150 + at + i, logits: true })),
      );
      model.forward(rows);
      for (const [i, { s, position }] of rows.entries()) {
        const expected = alone[s]!.subarray((position - 150) * vocabSize, (position - 149) * vocabSize);
        assert.ok(sameBits(engine.logits(i), expected), `session ${s}, position ${position}`);
      }
    }
    for (const session of sessions) sessionClose(session);
    assert.is(poolFreePages(), poolPages(), "every page comes back");
  }
});

test("past a span of 1,024 slots, chunks of 64 and of 7 still agree", async () => {
  const model = await load(DEFAULT_MODEL, { chunk: 64 });
  const { engine } = model;
  const ids = randomIds(1100, model.config.vocabSize, 3);
  const last = [64, 7].map((chunk) => {
    const session = engine.openSession();
    for (let at = 0; at < ids.length; at += chunk) {
      const piece = ids.slice(at, at + chunk);
      const isLast = at + chunk >= ids.length;
      model.forward(
        piece.map((input, i) => ({ session, input, position: at + i, logits: isLast && i === piece.length - 1 })),
      );
    }
    return engine.logits(0).slice();
  });
  assert.ok(sameBits(last[0]!, last[1]!));
});

test("an input vector that repeats an embedding gives the token's bits", async () => {
  const model = await load("test/golden/architectures/llama.f32.gguf", { chunk: 8, maxOutputs: 8 });
  const { engine, config } = model;
  const ids = randomIds(8, config.vocabSize, 9);
  const expected = allLogits(model, ids, 8);
  const { exports } = engine.runtime;
  const scratch = exports.scratchAddress();
  const session = engine.openSession();
  const embedding = engine.runtime.words(exports.linearAddress(7, 0), 2); // Slot.EMBEDDING: address of tiles, form
  const rows = ids.map((id, position) => {
    exports.unpackRow(scratch, embedding[0]!, embedding[1]!, id, config.hiddenDim);
    const input = engine.runtime.floats(scratch, config.hiddenDim).slice();
    return { session, input, position, logits: true, hidden: true };
  });
  model.forward(rows);
  const logits = new Float32Array(ids.length * config.vocabSize);
  ids.forEach((_, i) => {
    logits.set(engine.logits(i), i * config.vocabSize);
  });
  assert.ok(sameBits(logits, expected));
  assert.is(engine.hidden(0).length, config.hiddenDim);
  assert.ok(engine.hidden(7).some((value) => value !== 0));
});

test.run();
