/**
 * Sessions whose prompts go layer by layer: the turns of those whose prompts go in chunks, within a budget that has no room for
 * chunks; a prompt that is left leaves everybody as they were.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openFile } from "../../bindings/node/file-source.ts";
import type { ThimbleError } from "../../host/errors.ts";
import type { LoadOptions } from "../../host/load-engine.ts";
import type { Model } from "../../host/model.ts";
import { perplexity } from "../../host/perplexity.ts";
import { planFrom } from "../../host/plan-source.ts";
import type { Session } from "../../host/session.ts";
import { DEFAULT_MODEL, load, randomIds } from "../model/load.ts";

const test = suite("prompts layer by layer");

const greedy = { temperature: 0, ignoreEos: true, maxTokens: 6 } as const;
/** Layers with sliding windows and without. */
const SMALL = "test/golden/architectures/gemma3.f32.gguf";
const PROMPT = randomIds(240, 280, 5);
const BASE = { contextLength: 256, policy: "snapkv:window=16", keep: { ratio: 0.5 } } as const;

const open = (options: LoadOptions = {}) => load(SMALL, { ...BASE, prompts: "layers", ...options });

async function refusal(run: () => unknown): Promise<readonly [code: string, subject: string | undefined]> {
  try {
    await run();
    return ["none", undefined];
  } catch (error) {
    return [(error as ThimbleError).code, (error as ThimbleError).subject];
  }
}

/** Everything that a session says of itself. */
function stateOf(session: Session) {
  const { tokens, cachedTokens, cacheBytes, evictedTokens, evictedBytes } = session.stats;
  return {
    tokens,
    cachedTokens,
    cacheBytes,
    evictedTokens,
    evictedBytes,
    kept: session.kept(),
    ledger: session.ledger,
  };
}

/** Three turns, the last one in a fork. */
async function converse(model: Model) {
  const session = model.session({ keep: { ratio: 0.4 } });
  const results: unknown[] = [];
  const take = async (of: Session, ids: readonly number[]): Promise<void> => {
    const { completionIds, usage } = await of.complete({ ids }, greedy);
    results.push(completionIds, usage, stateOf(of));
  };
  await take(session, PROMPT.slice(0, 130));
  await take(session, PROMPT.slice(130, 190));
  const fork = session.fork();
  session.close();
  await take(fork, PROMPT.slice(190, 193));
  fork.close();
  const { exports } = model.engine.runtime;
  assert.is(exports.poolFreePages(), exports.poolPages(), "no page is lost");
  return results;
}

test("turn after turn the same tokens, kept positions and ledger as in chunks", async () => {
  for (const [policy, form] of [
    ["snapkv:window=16", "q4"],
    ["observed-attention", "q8"],
    ["expected-attention", "q8"],
    ["adakv:window=40", "f32"],
  ] as const) {
    const options = { policy, keys: form, values: form } as const;
    await using inChunks = await open({ ...options, prompts: "chunks" });
    const expected = await converse(inChunks);
    await using model = await open({ ...options, chunk: 33 });
    assert.is(model.stats.prompts, "layers");
    assert.equal(await converse(model), expected, `${policy}, ${form}`);
  }
});

test("where nothing would go, and where a context that is full forgets before, prompts go in chunks and give the same", async () => {
  const run = async (prompts: "chunks" | "layers") => {
    await using model = await open({ prompts, contextLength: 224, policy: "key-diff" });
    const all = model.session({ keep: { slots: 220 } });
    const turn = await all.complete({ ids: PROMPT.slice(0, 100) }, greedy);
    const endless = model.session({ keep: { ratio: 0.5 }, overflow: "evict", sinks: 32, window: 64 });
    const results: unknown[] = [turn.completionIds, stateOf(all)];
    for (const [at, end] of [
      [0, 150],
      [150, 230],
      [230, 240],
    ] as const) {
      const { completionIds } = await endless.complete({ ids: PROMPT.slice(at, end) }, { ...greedy, maxTokens: 30 });
      results.push(completionIds, stateOf(endless));
    }
    return results;
  };
  assert.equal(await run("layers"), await run("chunks"));
});

test("a budget that has no room for the prompt in all layers: auto takes layers, it runs, and memory stays within the plan", async () => {
  for (const [policy, form, sessions] of [
    ["snapkv:window=16", "f32", 1],
    ["adakv:window=16", "f32", 2],
  ] as const) {
    const options = {
      ...{ contextLength: 512, policy, keys: form, values: form, chunk: 16, maxOutputs: 1, sessions },
      keep: { slots: 64 },
    } as const;
    const { peaks, memory, prompts } = await planFrom(await openFile(DEFAULT_MODEL), options);
    assert.is(prompts, "chunks", "without a budget nothing has to be saved");
    assert.is(peaks.chunks, memory.total);
    const budget = peaks.layers!;
    assert.ok(budget < peaks.chunks, `${policy}: ${budget} of ${peaks.chunks} bytes`);
    assert.equal(await refusal(() => load(DEFAULT_MODEL, { ...options, budget, prompts: "chunks" })), [
      "over_budget",
      "budget",
    ]);
    await using model = await load(DEFAULT_MODEL, { ...options, budget });
    assert.is(model.stats.prompts, "layers");
    assert.is(model.stats.plan.total, budget);
    const talks = Array.from({ length: sessions }, () => model.session({ keep: { slots: 40 }, sinks: 2, window: 6 }));
    for (const length of [480, 400, 150]) {
      const ids = randomIds(length, 4000, length);
      const turns = talks.map((session) => session.complete({ ids }, { ...greedy, maxTokens: 9 }));
      for (const { completionIds } of await Promise.all(turns)) assert.is(completionIds.length, 9);
      assert.ok(model.stats.peakBytes <= budget, `${model.stats.peakBytes} of ${budget} bytes`);
    }
    const { exports } = model.engine.runtime;
    const used = exports.arenaBytes();
    assert.ok(used > budget - (peaks.chunks - budget) / 2, `${used} of ${budget} bytes: the plan is not far above it`);
  }
});

test("a prompt that memory has no room for is refused, its session as it was; a short one behind much may still go in chunks", async () => {
  const forms = { keys: "f32", values: "f32" } as const;
  const options = { contextLength: 512, policy: "key-diff", keep: { slots: 192 }, sessions: 2, ...forms } as const;
  const { peaks } = await planFrom(await openFile(DEFAULT_MODEL), options);
  await using model = await load(DEFAULT_MODEL, { ...options, prompts: "layers", budget: peaks.layers! });
  const keeps = model.session({ keep: { slots: 192 }, sinks: 8, window: 16 });
  const take = async (ids: readonly number[]): Promise<number> => {
    let steps = 0;
    await keeps.complete(
      { ids },
      {
        ...greedy,
        maxTokens: 0,
        onPrefill: () => {
          steps += 1;
        },
      },
    );
    return steps;
  };
  assert.is(await take(PROMPT), 4 * model.config.nLayers);
  const [all, third] = [model.session(), model.session()];
  await third.complete({ ids: PROMPT.slice(0, 96) }, { ...greedy, maxTokens: 0 });
  const fill = () => refusal(() => all.complete({ ids: PROMPT.slice(0, 64) }, { ...greedy, maxTokens: 0 }));
  let filled = await fill();
  while (filled[0] === "none") filled = await fill();
  assert.equal(filled, ["over_budget", "budget"], "it has taken what there was");
  const before = stateOf(keeps);
  assert.equal(await refusal(() => take(PROMPT)), ["over_budget", "budget"]);
  assert.equal(stateOf(keeps), before);
  third.close();
  assert.is(await take([1, 2, 3]), 1, "in chunks");
  assert.ok(keeps.kept().every((heads) => heads.every(({ length }) => length === 192)));
  all.close();
  assert.is(await take([1, 2, 3]), model.config.nLayers, "by layers again");
  assert.ok(model.stats.peakBytes <= peaks.layers!);
});

test("a prompt that is left at any layer leaves its session as it was, and the others", async () => {
  for (const [policy, form] of [
    ["snapkv:window=40", "q4"],
    ["observed-attention", "f32"],
  ] as const) {
    await using model = await open({ policy, keys: form, values: form, chunk: 32, maxOutputs: 1 });
    const { exports } = model.engine.runtime;
    const used = () => exports.poolPages() - exports.poolFreePages();
    const session = model.session({ keep: { ratio: 0.4 } });
    const talker = model.session();
    const answer = (await talker.complete({ ids: [5, 6, 7] }, greedy)).completionIds;
    const steps = model.config.nLayers * Math.ceil(110 / 32);
    for (const ids of [PROMPT.slice(0, 110), PROMPT.slice(110, 220)]) {
      const before = stateOf(session);
      const pages = used();
      for (const last of [1, Math.floor(steps / 2), steps]) {
        const stop = new AbortController();
        let n = 0;
        const onPrefill = (): void => {
          n += 1;
          if (n === last) stop.abort(new Error("enough"));
        };
        const other = model.session();
        const [reason, meanwhile] = await Promise.all([
          session
            .complete({ ids }, { ...greedy, signal: stop.signal, onPrefill })
            .catch((error: Error) => error.message),
          other.complete({ ids: [5, 6, 7] }, greedy),
        ]);
        assert.is(reason, "enough");
        assert.equal(meanwhile.completionIds, answer, "the other session");
        other.close();
        assert.equal(stateOf(session), before, `left after step ${last}`);
        assert.is(used(), pages, "pages in use");
      }
      const alone = session.fork();
      await session.complete({ ids }, greedy);
      const next = await alone.complete({ ids }, greedy);
      assert.equal(stateOf(alone), stateOf(session));
      assert.is(next.completionIds.length, 6);
      alone.close();
    }
    session.close();
    talker.close();
    assert.is(used(), 0);
  }
});

test("a session and a model that are closed meanwhile", async () => {
  const model = await open({ chunk: 32, maxOutputs: 1 });
  const { exports } = model.engine.runtime;
  for (const ids of [[], [1, 2, 3]]) {
    const session = model.session({ keep: { ratio: 0.4 } });
    if (ids.length > 0) await session.complete({ ids }, greedy);
    let n = 0;
    const onPrefill = (): void => {
      n += 1;
      if (n === 10) session.close();
    };
    const refused = await refusal(() => session.complete({ ids: PROMPT }, { ...greedy, onPrefill }));
    assert.equal(refused, ["closed", undefined]);
    assert.is(exports.poolFreePages(), exports.poolPages());
  }
  const session = model.session({ keep: { ratio: 0.4 } });
  const turn = refusal(() => session.complete({ ids: PROMPT }, { ...greedy, onPrefill: () => void model.close() }));
  assert.equal(await turn, ["closed", undefined]);
});

test("between the chunks of a layer others have their turn; a time quota is looked at when the prompt has ended", async () => {
  await using model = await open({ chunk: 32, maxOutputs: 1 });
  const whole = model.session({ keep: { ratio: 0.4 } });
  const expected = await whole.complete({ ids: PROMPT }, greedy);
  const session = model.session({ keep: { ratio: 0.4 } });
  const done: number[] = [];
  const ticks: number[] = [];
  let isOver = false;
  const tick = (): void => {
    ticks.push(done.length);
    if (!isOver) setImmediate(tick);
  };
  setImmediate(tick);
  let result = await session.complete({ ids: PROMPT }, { ...greedy, cpuMs: 1, onPrefill: (n) => void done.push(n) });
  isOver = true;
  const steps = model.config.nLayers * Math.ceil(PROMPT.length / 32);
  assert.is(done.length, steps);
  assert.ok(done.every((n, i) => i === 0 || n >= done[i - 1]!));
  assert.is(done.at(-1), PROMPT.length);
  // The last rows of each layer, whose queries are observed, go together.
  assert.ok(new Set(ticks).size >= steps - 2 * model.config.nLayers, `${new Set(ticks).size} of ${steps}`);
  assert.is(result.finishReason, "paused");
  assert.ok(result.completionIds.length >= 1, "the prompt has ended");
  while (session.isPaused) {
    const rest = session.resume({ ...greedy, cpuMs: 1 });
    for await (const _ of rest);
    result = await rest.result;
  }
  assert.equal(result.completionIds, expected.completionIds);
  assert.equal(session.kept(), whole.kept());
});

test("prompts that begin at once wait for each other, others compute meanwhile, and all give what they give alone", async () => {
  for (const policy of ["snapkv:window=16", "observed-attention"]) {
    await using model = await open({ policy, chunk: 32, maxOutputs: 1 });
    const prompts = [PROMPT, PROMPT.slice(100), randomIds(50, 280, 6)];
    // More than the context: it goes in chunks, and its last rows are observed between the layers of others.
    const long = { ids: randomIds(300, 280, 7) };
    const forgetting = { keep: { ratio: 0.5 }, overflow: "evict" } as const;
    const [endless, other] = [model.session(forgetting), model.session(forgetting)];
    const alone: unknown[] = [];
    const short = { ...greedy, maxTokens: 3 };
    for (const ids of prompts) {
      const session = model.session({ keep: { ratio: 0.5 } });
      const { completionIds } = await session.complete({ ids }, short);
      alone.push(completionIds, session.kept());
    }
    const talk = { ids: [5, 6, 7] };
    const said = await model.session().complete(talk, greedy);
    await endless.complete(long, short);
    const sessions = prompts.map(() => model.session({ keep: { ratio: 0.5 } }));
    const [, again, ...results] = await Promise.all([
      other.complete(long, short),
      model.session().complete(talk, greedy),
      ...sessions.map((session, i) => session.complete({ ids: prompts[i]! }, short)),
    ]);
    assert.equal(again.completionIds, said.completionIds);
    assert.equal(stateOf(other), stateOf(endless));
    assert.equal(
      results.flatMap(({ completionIds }, i) => [completionIds, sessions[i]!.kept()]),
      alone,
    );
  }
});

test("perplexity of what follows a prompt is the same", async () => {
  const run = async (prompts: "chunks" | "layers") => {
    await using model = await open({ prompts, maxOutputs: 20 });
    return await perplexity(model, PROMPT, { from: 150, keep: { ratio: 0.5 } });
  };
  assert.equal(await run("layers"), await run("chunks"));
});

test("capsules hold no trace of how prompts went", async () => {
  await using model = await open({});
  const session = model.session({ keep: { ratio: 0.5 } });
  await session.complete({ ids: PROMPT }, greedy);
  await using other = await open({ prompts: "chunks" });
  const restored = await other.restore(session.save());
  assert.equal(restored.kept(), session.kept());
  const [a, b] = await Promise.all([session, restored].map((one) => one.complete({ ids: [7, 8] }, greedy)));
  assert.equal(a!.completionIds, b!.completionIds);
});

test("refused by name; auto takes chunks where there is no other way", async () => {
  const wrong: readonly (readonly [LoadOptions, string])[] = [
    [{ prompts: "rows" as "layers" }, "prompts"],
    [{ prompts: "layers" }, "prompts"],
    [{ prompts: "layers", policy: "key-diff" }, "prompts"],
    [{ prompts: "layers", policy: "kvzip", keep: { ratio: 0.5 } }, "prompts"],
    [{ prompts: "layers", policy: "kvzip-layerwise", keep: { ratio: 0.5 } }, "prompts"],
    [{ keep: { ratio: 0.5 } }, "keep"],
    [{ policy: "key-diff", keep: {} }, "keep"],
    [{ policy: "key-diff", keep: { ratio: 1 } }, "keep"],
    [{ policy: "key-diff", keep: { slots: 0 } }, "keep"],
    [{ policy: "key-diff", keep: { slots: 1.5 } }, "keep"],
    [{ policy: "key-diff", keep: { bytes: 0.5 } }, "keep.bytes"],
  ];
  for (const [options, subject] of wrong) {
    const planned = async () => planFrom(await openFile(DEFAULT_MODEL), options);
    const refused = await refusal(() => load(DEFAULT_MODEL, options));
    assert.equal(refused, ["invalid_option", subject], JSON.stringify(options));
    assert.equal(await refusal(planned), ["invalid_option", subject], "and by plan");
  }
  const chunked = await planFrom(await openFile(DEFAULT_MODEL), {
    policy: "kvzip",
    keep: { ratio: 0.5 },
    budget: "40MB",
  });
  assert.equal([chunked.prompts, chunked.peaks.layers, chunked.load?.prompts], ["chunks", undefined, "chunks"]);
});

test("plan: the same whoever asks; a budget between the two takes layers before smaller forms", async () => {
  const options = { contextLength: 4096, policy: "key-diff", keep: { slots: 96 } } as const;
  const of = async (more: LoadOptions) => planFrom(await openFile(DEFAULT_MODEL), { ...options, ...more });
  const free = await of({});
  const { chunks, layers } = free.peaks;
  assert.ok(layers! < chunks);
  assert.equal((await of({ prompts: "layers" })).memory.total, layers);
  assert.equal((await of({ budget: chunks })).load, { ...free.load! });
  const tight = await of({ budget: chunks - 65_536 });
  assert.equal([tight.load?.keys, tight.load?.prompts, tight.load?.memory.total], ["q8", "layers", layers]);
  assert.equal([tight.prompts, tight.fits, tight.firstFit?.prompts], ["layers", true, "layers"]);
  const { stream, held, prompt, session, weights, runState, context } = tight.load!.memory;
  assert.is(stream, 4096 * 384 * 4);
  assert.ok(held < context / 8);
  assert.ok(weights + runState + session + held + prompt <= layers!);
  const below = await of({ budget: layers! - 65_536 });
  assert.ok(below.load?.values !== "q8" && below.load?.contextLength === 4096);
  assert.equal((await of({ budget: layers! - 65_536, keys: "q8", values: "q8" })).load, undefined);
});

test.run();
