/** Sessions of the embedded model that keep a part of their prompts: what the ledger says, and what is refused. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { ThimbleError } from "../../host/errors.ts";
import type { Keep, SessionOptions } from "../../host/index.ts";
import { perplexity } from "../../host/perplexity.ts";
import { load, randomIds } from "../model/load.ts";
import { SMALL_MODEL } from "../model/small-model.ts";

const test = suite("what a session keeps of its prompt");

const greedy = { temperature: 0, ignoreEos: true, maxTokens: 20 } as const;
const PROMPT = randomIds(200, 4000, 5);

const open = (policy = "snapkv:window=16") => load(SMALL_MODEL, { contextLength: 512, policy });

async function refusal(run: () => unknown): Promise<readonly [code: string, subject: string | undefined]> {
  try {
    await run();
    return ["none", undefined];
  } catch (error) {
    return [(error as ThimbleError).code, (error as ThimbleError).subject];
  }
}

test("a ratio: every head keeps its share; the ledger's spans, heads and bytes are what is missing", async () => {
  await using model = await open();
  const session = model.session({ keep: { ratio: 0.5 } });
  const told: unknown[] = [];
  session.addEventListener("contextoverflow", (event) => told.push((event as CustomEvent).detail));
  await session.complete({ ids: PROMPT }, { ...greedy, maxTokens: 0 });
  const kept = session.kept();
  const { nLayers, nKvHeads } = model.config;
  assert.equal(
    kept.map((heads) => heads.map(({ length }) => length)),
    Array(nLayers).fill(Array(nKvHeads).fill(100)),
  );
  const missing = PROMPT.map((_, p) => kept.flat().filter((head) => !head.includes(p)).length);
  for (const { first, end, heads, policy, turn } of session.ledger) {
    assert.equal([policy, turn], ["snapkv", 0]);
    assert.ok(
      missing.slice(first, end).every((n) => n > 0),
      "every token of a span is missing somewhere",
    );
    assert.is(heads, Math.max(...missing.slice(first, end)));
  }
  assert.is(session.stats.evictedTokens, missing.filter((n) => n > 0).length);
  const slotBytes = model.stats.plan.page / 32;
  const bytes = missing.reduce((a, b) => a + b) * slotBytes;
  assert.ok(
    Math.abs(session.stats.evictedBytes - bytes) <= session.ledger.length * 40,
    `${session.stats.evictedBytes}, ${bytes}`,
  );
  assert.is(told.length, 1);
  const { completionIds } = await session.complete({ ids: [7] }, greedy);
  assert.is(completionIds.length, 20);
});

test("slots and bytes: no head has more after any prompt's end; sinks and window stay", async () => {
  await using model = await open("key-diff");
  const page = model.stats.plan.page * model.config.nLayers * model.config.nKvHeads;
  for (const keep of [{ slots: 128 }, { bytes: 4 * page + page / 2 }] as Keep[]) {
    const session = model.session({ keep, sinks: 5, window: 40 });
    for (const [at, end] of [
      [0, 150],
      [150, 170],
      [170, 200],
    ] as const) {
      await session.complete({ ids: PROMPT.slice(at, end) }, { ...greedy, maxTokens: 0 });
      for (const head of session.kept().flat()) {
        assert.ok(head.length <= 128);
        assert.equal(head.slice(0, 5), [0, 1, 2, 3, 4]);
        assert.equal(
          head.slice(-40),
          Array.from({ length: 40 }, (_, i) => end - 40 + i),
        );
      }
    }
    session.close();
  }
});

test("the same tokens for the same turns: in chunks of any size, paused, forked, and after a turn that was left", async () => {
  type Way = "whole" | "paused" | "forked" | "left";
  const run = async (policy: string, chunk: number, way: Way): Promise<readonly number[]> => {
    await using model = await load(SMALL_MODEL, {
      contextLength: 512,
      chunk,
      policy,
      keys: "q4",
      values: "q4",
    });
    let session = model.session({ keep: { ratio: 0.4 } });
    if (way === "left") for await (const _ of session.generate({ ids: PROMPT }, greedy)) break;
    let result = await session.complete({ ids: PROMPT }, { ...greedy, ...(way === "paused" ? { cpuMs: 1 } : {}) });
    while (session.isPaused) {
      const rest = session.resume({ ...greedy, cpuMs: 1 });
      for await (const _ of rest);
      result = await rest.result;
    }
    if (way === "forked") session = session.fork();
    const next = await session.complete({ ids: [9, 8, 7] }, greedy);
    return [...result.completionIds, ...next.completionIds];
  };
  for (const policy of ["snapkv:window=40", "observed-attention", "expected-attention"]) {
    const expected = await run(policy, 64, "whole");
    for (const [chunk, way] of [
      [policy.startsWith("observed") ? 16 : 1, "whole"],
      [7, "paused"],
      [64, "forked"],
      [33, "left"],
    ] as const) {
      assert.equal(await run(policy, chunk, way), expected, `${policy}, ${chunk}, ${way}`);
    }
  }
});

test("where all rows are observed, prompts that begin at once wait for each other; others go on, and aborts are heard", async () => {
  await using model = await load(SMALL_MODEL, { contextLength: 512, chunk: 16, policy: "observed-attention" });
  const prompts = [PROMPT, PROMPT.slice(50), randomIds(90, 4000, 6)];
  const alone: number[][][][] = [];
  for (const ids of prompts) {
    const session = model.session({ keep: { ratio: 0.5 } });
    await session.complete({ ids }, { ...greedy, maxTokens: 0 });
    alone.push(session.kept());
    session.close();
  }
  const talker = model.session();
  const talk = await talker.complete({ ids: [1, 2, 3] }, greedy);
  const again = model.session();
  const sessions = prompts.map(() => model.session({ keep: { ratio: 0.5 } }));
  const left = model.session({ keep: { ratio: 0.5 } });
  const stop = new AbortController();
  const results = await Promise.all([
    again.complete({ ids: [1, 2, 3] }, greedy),
    ...sessions.map((session, i) => session.complete({ ids: prompts[i]! }, { ...greedy, maxTokens: i })),
    left
      .complete({ ids: PROMPT }, { ...greedy, signal: stop.signal, onPrefill: () => stop.abort(new Error("enough")) })
      .catch((error: Error) => error.message),
  ]);
  assert.is(results.at(-1), "enough");
  assert.equal((results[0] as typeof talk).completionIds, talk.completionIds);
  sessions.forEach((session, i) => {
    const kept = session
      .kept()
      .map((heads) => heads.map((positions) => positions.filter((p) => p < prompts[i]!.length)));
    assert.equal(kept, alone[i], `prompt ${i}`);
  });
  await left.complete({ ids: PROMPT }, { ...greedy, maxTokens: 0 });
  assert.equal(left.kept(), alone[0]);
});

test("KVzip: the prompt once more, counted; the end of the user's turn stays; sessions at once as one by one", async () => {
  const few = { ...greedy, maxTokens: 6 };
  await using model = await load(SMALL_MODEL, { contextLength: 512, chunk: 16, policy: "kvzip:chunk=32" });
  const ids = model.encodeChat([{ role: "user", content: "The fox ran over the hill. ".repeat(7) }]);
  const wording = model.engine.wording!();
  assert.equal(ids.slice(0, wording.before.length), wording.before);
  assert.equal(ids.slice(ids.length - wording.after.length), wording.after);
  const alone = model.session({ keep: { ratio: 0.5 } });
  const { completionIds } = await alone.complete({ ids }, few);
  const tokens = ids.length - wording.before.length - wording.after.length;
  const chunks = Math.ceil(tokens / 32);
  const asked = wording.first.length + (chunks - 1) * (wording.next.length + 8) + chunks * wording.after.length;
  assert.is(alone.stats.repeatedTokens, tokens + asked);
  const held = alone.kept().flat();
  const total = held.reduce((sum, positions) => sum + positions.filter((p) => p < ids.length).length, 0);
  assert.is(total, Math.floor((held.length * ids.length) / 2));
  for (const positions of held) {
    for (let p = ids.length - wording.after.length; p < ids.length; ++p) assert.ok(positions.includes(p));
  }
  const sessions = [0, 1].map(() => model.session({ keep: { ratio: 0.5 } }));
  const talker = model.session();
  const results = await Promise.all([...sessions, talker].map((session) => session.complete({ ids }, few)));
  for (const [i, session] of sessions.entries()) {
    assert.equal(results[i]!.completionIds, completionIds);
    assert.equal(session.kept(), alone.kept());
  }
  const stop = new AbortController();
  const left = model.session({ keep: { ratio: 0.5 } });
  const pause = setInterval(() => left.stats.cachedTokens === ids.length && stop.abort(new Error("enough")), 0);
  const reason = await left.complete({ ids }, { ...few, signal: stop.signal }).catch((error: Error) => error.message);
  clearInterval(pause);
  assert.is(reason, "enough");
  assert.equal((await left.complete({ ids }, few)).completionIds, completionIds);
  const [none, half] = [
    await perplexity(model, ids, { from: 40, keep: { ratio: 0 } }),
    await perplexity(model, ids, { from: 40, keep: { ratio: 0.5 } }),
  ];
  assert.is(half.nll[0], none.nll[0]);
  assert.not.equal(half.nll, none.nll);
});

test("a budget of what is planned is enough for the fork that repeats a prompt, and is not exceeded", async () => {
  const options = { contextLength: 256, policy: "kvzip", keys: "q4", values: "q4" } as const;
  await using plain = await load(SMALL_MODEL, options);
  const { total } = plain.stats.plan;
  await using model = await load(SMALL_MODEL, { ...options, budget: total });
  const session = model.session({ keep: { ratio: 0.5 } });
  await session.complete({ ids: PROMPT.slice(0, 150) }, { ...greedy, maxTokens: 2 });
  assert.ok(session.stats.repeatedTokens > 150);
  assert.ok(model.stats.peakBytes <= total);
});

test("a conversation that goes on past the context is thinned by the same policy", async () => {
  await using model = await load(SMALL_MODEL, { contextLength: 288, policy: "key-diff" });
  const session = model.session({ keep: { ratio: 0.5 }, overflow: "evict", sinks: 32, window: 64 });
  await session.complete({ ids: PROMPT.slice(0, 180) }, { ...greedy, maxTokens: 300 });
  assert.equal([...new Set(session.ledger.map(({ policy }) => policy))], ["key-diff"]);
  for (const head of session.kept().flat()) {
    assert.ok(head.length <= 256);
    assert.ok(head.every((position, i) => i === 0 || head[i - 1]! < position));
  }
});

test("perplexity of what follows a prompt: near that of a whole cache, and not it", async () => {
  await using model = await open("key-norm");
  const whole = await perplexity(model, PROMPT, { from: 150 });
  const [none, half] = [
    await perplexity(model, PROMPT, { from: 150, keep: { ratio: 0 } }),
    await perplexity(model, PROMPT, { from: 150, keep: { ratio: 0.5 } }),
  ];
  assert.equal(none.nll, whole.nll);
  assert.is(half.nll[0], whole.nll[0], "the first is the prompt's own");
  assert.not.equal(half.nll, whole.nll);
  assert.is(half.nll.length, whole.nll.length);
});

test("packed pages whose empty slots make up for what went are no positions: going back and capsules know", async () => {
  for (const form of ["f32", "q8", "q4"] as const) {
    await using model = await load(SMALL_MODEL, { contextLength: 256, policy: "key-diff", keys: form, values: form });
    const session = model.session({ keep: { ratio: 0.1 } });
    await session.complete({ ids: PROMPT.slice(0, 64) }, { ...greedy, maxTokens: 0 });
    assert.is(session.kept()[0]![0]!.length, 57, "in two pages, as many slots as tokens");
    const restored = await model.restore(session.save());
    assert.equal(restored.kept(), session.kept());
    session.tokenSession.trim(40);
    assert.equal([session.stats.cachedTokens, session.ledger], [0, []], "no slot is a position any more");
    const again = await session.complete({ ids: [5] }, greedy);
    assert.is(again.usage.reusedTokens, 0);
    session.close();
    restored.close();
  }
});

test("refused by name, before anything is computed", async () => {
  assert.equal(await refusal(() => open("nonsense")), ["invalid_option", "policy"]);
  await using plain = await load(SMALL_MODEL, { contextLength: 128 });
  assert.equal(await refusal(() => plain.session({ keep: { ratio: 0.5 } })), ["invalid_option", "policy"]);
  await using model = await open();
  const wrong: SessionOptions[] = [
    ...[
      { ratio: 1 },
      { ratio: -0.1 },
      { ratio: Number.NaN },
      {},
      { ratio: 0.5, slots: 200 },
      { slots: 100 },
      { slots: 200.5 },
    ].map((keep) => ({ keep })),
    ...[{ bytes: 1000 }, { bytes: 0.5 }].map((keep) => ({ keep })),
    { keep: { slots: 200 }, sinks: 100, window: 100 },
  ];
  for (const options of wrong) {
    const [code, subject] = await refusal(() => model.session(options));
    assert.is(code, "invalid_option");
    assert.match(subject!, /^keep/);
  }
  await using lazy = await open("simlayerkv");
  assert.equal(await refusal(() => lazy.session({ keep: { bytes: 2 ** 24 } })), ["invalid_option", "keep"]);
});

test.run();
