/**
 * Models with sliding windows (the fixtures of their families): a session holds the pages that the plan names, whatever it
 * is fed by, and one that goes back further than its windows allow starts again and says so.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { cachePages } from "../../host/cache-pages.ts";
import type { Model } from "../../host/model.ts";
import { TokenSession } from "../../host/token-session.ts";
import { allLogits, load, platform, randomIds, sameBits } from "./load.ts";

const CONTEXT = 250;
const FILES = ["gemma2", "gemma3", "mistral-swa", "cohere2"].map((name) => ({
  name,
  open: (contextLength = CONTEXT) =>
    load(`test/golden/architectures/${name}.f32.gguf`, { contextLength, maxOutputs: 64, activations: "f32" }),
}));

/** Appends ids to a session; the logits of the last one. */
function feed(model: Model, session: number, ids: readonly number[], step = 64): Float32Array {
  const { engine } = model;
  for (let at = 0; at < ids.length; at += step) {
    const first = engine.runtime.exports.sessionLength(session);
    const piece = ids.slice(at, at + step);
    model.forward(piece.map((input, i) => ({ session, input, position: first + i, logits: i === piece.length - 1 })));
  }
  return engine.logits(0).slice();
}

/** A turn of greedy tokens: what came out, what was reused, and how many rows the engine ran for it. */
async function turn(model: Model, session: TokenSession, ids: readonly number[], maxTokens: number) {
  const { engine } = model;
  let rows = 0;
  const forward = engine.forward;
  engine.forward = (requests) => {
    rows += requests.length;
    forward.call(engine, requests);
  };
  try {
    const vocabulary = { size: model.config.vocabSize, eosIds: [] };
    const generation = session.generate(ids, vocabulary, { temperature: 0, maxTokens });
    for (;;) {
      const { done, value } = await generation.next();
      if (done) return { ...value, rows, logits: engine.logits(0).slice() };
    }
  } finally {
    engine.forward = forward;
  }
}

for (const { name, open } of FILES) {
  test(`${name}: a session of ${CONTEXT} tokens holds the pages planned; the pool grows to them and no further`, async () => {
    const model = await open();
    const { config, engine, stats } = model;
    const { exports } = engine.runtime;
    const planned = stats.plan.context / stats.plan.page;
    const windows = config.layers.map(({ window }) => window);
    assert.ok(windows.some((window) => window > 0));
    const closed = Math.floor(CONTEXT / 32);
    const most = (window: number): number => (window === 0 ? closed : Math.min(closed, Math.floor((window + 63) / 32)));
    const counted = windows.reduce((sum, window) => sum + config.nKvHeads * most(window), 0);
    assert.is(planned, counted, "the plan");
    assert.ok(planned < config.nLayers * config.nKvHeads * closed, "fewer than without windows");
    for (const chunk of [1, 7, 64]) {
      const session = engine.openSession();
      const ids = randomIds(CONTEXT, config.vocabSize, chunk);
      let held = 0;
      for (let at = 0; at < CONTEXT; at += chunk) {
        feed(model, session, ids.slice(at, at + chunk));
        const pages = exports.sessionPages(session);
        held = Math.max(held, pages);
        assert.ok(pages + exports.sessionPagesNeeded(session, CONTEXT - exports.sessionLength(session)) <= planned);
      }
      if (chunk === 1) assert.is(held, planned);
      exports.sessionClose(session);
      assert.is(
        exports.poolPages(),
        cachePages(config, engine.sizes.cache, CONTEXT).aged,
        "the context is reserved at once",
      );
    }
    assert.is(exports.poolFreePages(), exports.poolPages());
  });

  test(`${name}: chunks of 1, 7 and 64 give the same bits`, async () => {
    const model = await open();
    const ids = randomIds(CONTEXT, model.config.vocabSize, 2);
    const expected = allLogits(model, ids, 1);
    assert.ok(expected.every((value) => Number.isFinite(value)));
    for (const chunk of [7, 64]) assert.ok(sameBits(allLogits(model, ids, chunk), expected), `chunk ${chunk}`);
  });

  test(`${name}: cut back by up to 32 tokens, or to nothing, a session continues as a fresh one`, async () => {
    const model = await open();
    const { exports } = model.engine.runtime;
    const ids = randomIds(200, model.config.vocabSize, 3);
    for (const to of [199, 190, 168, 100, 1]) {
      const session = model.engine.openSession();
      feed(model, session, ids);
      const kept = exports.sessionTruncate(session, to);
      assert.is(kept, to >= 168 ? to : 0);
      const more = randomIds(40, model.config.vocabSize, to);
      const continued = feed(model, session, kept === 0 ? [...ids.slice(0, to), ...more] : more, 7);
      exports.sessionClose(session);
      const fresh = model.engine.openSession();
      assert.ok(sameBits(continued, feed(model, fresh, [...ids.slice(0, to), ...more])), `cut to ${to}`);
      exports.sessionClose(fresh);
    }
  });

  test(`${name}: turns that diverge give a fresh session's tokens, and say how much they reused`, async () => {
    const model = await open();
    const { vocabSize } = model.config;
    const session = new TokenSession(model.engine, platform);
    const prompt = randomIds(180, vocabSize, 4);
    const check = async (ids: readonly number[], maxTokens: number, reused: number): Promise<readonly number[]> => {
      const result = await turn(model, session, ids, maxTokens);
      assert.is(result.reusedTokens, reused);
      assert.is(result.rows, ids.length - reused + maxTokens - 1, "rows that were computed");
      assert.is(session.cachedTokens, ids.length + maxTokens - 1);
      const other = new TokenSession(model.engine, platform);
      const fresh = await turn(model, other, ids, maxTokens);
      other.close();
      assert.equal(result.completionIds, fresh.completionIds);
      assert.ok(sameBits(result.logits, fresh.logits), "the last logits");
      return result.completionIds;
    };
    const first = await check(prompt, 12, 0);
    assert.equal(await check(prompt, 12, 179), first, "the same turn again: all but its last token is there");
    await check([...prompt.slice(0, 170), ...randomIds(20, vocabSize, 5)], 12, 170);
    await check([...prompt.slice(0, 90), ...randomIds(100, vocabSize, 6)], 12, 0);
    const second = await check([...prompt.slice(0, 90), ...randomIds(100, vocabSize, 7)], 20, 0);
    const whole = [...prompt.slice(0, 90), ...randomIds(100, vocabSize, 7), ...second];
    await check([...whole, 1, 2, 3], 5, 209);
    await check(randomIds(30, vocabSize, 8), 5, 0);
    await check([...randomIds(30, vocabSize, 8).slice(0, 10), 5], 5, 10);
    session.close();
    const { exports } = model.engine.runtime;
    assert.is(exports.poolFreePages(), exports.poolPages());
  });

  test(`${name}: a turn that is left early takes nothing with it that the next one needs`, async () => {
    const model = await open();
    const { vocabSize } = model.config;
    const vocabulary = { size: vocabSize, eosIds: [] };
    const session = new TokenSession(model.engine, platform);
    const ids = randomIds(120, vocabSize, 9);
    await turn(model, session, ids, 5);
    const longer = [...ids, ...randomIds(100, vocabSize, 10)];
    for await (const _ of session.generate(longer, vocabulary, { temperature: 0 })) break;
    assert.is(session.cachedTokens, 0, "100 tokens are more than its windows can take back");
    const again = await turn(model, session, ids, 5);
    const other = new TokenSession(model.engine, platform);
    const fresh = await turn(model, other, ids, 5);
    assert.equal([again.reusedTokens, again.completionIds], [0, fresh.completionIds]);
    assert.ok(sameBits(again.logits, fresh.logits));
  });

  test(`${name}: two sessions in turns, or in the same calls, give the bits they give alone`, async () => {
    const model = await open();
    const { engine } = model;
    const sequences = [randomIds(150, model.config.vocabSize, 11), randomIds(130, model.config.vocabSize, 12)];
    const alone = sequences.map((ids) => allLogits(model, ids, 64));
    for (const step of [1, 5, 30]) {
      const sessions = sequences.map(() => engine.openSession());
      for (let at = 0; at < 150; at += step) {
        const rows = sequences.flatMap((ids, s) =>
          ids
            .slice(at, at + step)
            .map((input, i) => ({ s, session: sessions[s]!, input, position: at + i, logits: true })),
        );
        const isTogether = at % 2 === 0;
        const calls = isTogether ? [rows] : [0, 1].map((s) => rows.filter((row) => row.s === s));
        for (const call of calls.filter(({ length }) => length > 0)) {
          model.forward(call);
          call.forEach(({ s, position }, i) => {
            const expected = alone[s]!.subarray(
              position * model.config.vocabSize,
              (position + 1) * model.config.vocabSize,
            );
            assert.ok(sameBits(engine.logits(i), expected), `session ${s}, position ${position}, ${step} a call`);
          });
        }
      }
      for (const session of sessions) engine.runtime.exports.sessionClose(session);
    }
  });
}

test.run();
