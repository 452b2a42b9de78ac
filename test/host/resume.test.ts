/** Turns that pause at a time quota and go on, and forks: the same tokens as without. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openFile } from "../../bindings/node/file-source.ts";
import type { ThimbleError } from "../../host/errors.ts";
import type { GenerateOptions } from "../../host/generation.ts";
import { loadFrom } from "../../host/model.ts";
import type { Prompt, Session } from "../../host/session.ts";
import { DEFAULT_MODEL, load, platform } from "../model/load.ts";

const SAMPLED: GenerateOptions = { temperature: 0.9, topK: 40, seed: 5, maxTokens: 40 };
const STORY = "Tell me a long story about a fox, a hen and the farmer who never slept. ".repeat(6);

/** A model whose clock jumps by `stepMs` at every look, so that a quota ends after a known number of steps. */
async function clocked(stepMs: number, contextLength?: number) {
  let now = 0;
  const clock = { ...platform, now: () => (now += stepMs) };
  return loadFrom(clock, await openFile(DEFAULT_MODEL), {
    chunk: 16,
    keys: "q4",
    values: "q4",
    ...(contextLength === undefined ? {} : { contextLength }),
  });
}

/** Slices of a turn until it is over: the pieces of text of each. */
async function slices(session: Session, prompt: Prompt, options: GenerateOptions) {
  const pieces: string[] = [];
  let generation = session.generate(prompt, options);
  for (;;) {
    let text = "";
    for await (const piece of generation) text += piece;
    pieces.push(text);
    const result = await generation.result;
    if (result.finishReason !== "paused") return { pieces, result };
    assert.ok(session.isPaused);
    generation = session.resume(options);
  }
}

test("a turn in slices, paused in prefill and in decoding, is the turn without them", async () => {
  const whole = await load(DEFAULT_MODEL, { chunk: 16, keys: "q4", values: "q4" });
  for (const options of [SAMPLED, { ...SAMPLED, temperature: 0 }, { ...SAMPLED, stop: ["the"] }]) {
    const expected = await whole.session().complete(STORY, options);
    const model = await clocked(10);
    for (const cpuMs of [1, 45, 200]) {
      const session = model.session();
      const { pieces, result } = await slices(session, STORY, { ...options, cpuMs });
      assert.ok(pieces.length > 1, `${cpuMs} ms: ${pieces.length} slices`);
      assert.is(pieces.join(""), expected.text);
      assert.is(result.text, expected.text);
      assert.equal(result.completionIds, expected.completionIds);
      assert.is(result.finishReason, expected.finishReason);
      assert.not(session.isPaused);
      assert.equal(session.tokens, [...expected.promptIds, ...expected.completionIds]);
      session.close();
    }
  }
});

test("a quota of 1 ms still computes a chunk or a token a slice", async () => {
  const model = await clocked(10);
  const session = model.session();
  const ids = model.encodeChat([{ role: "user", content: STORY }]);
  const { pieces, result } = await slices(session, STORY, { ...SAMPLED, cpuMs: 1 });
  const last = result.finishReason === "stop" ? 1 : 0; // the end-of-turn token is found in a slice of its own
  assert.is(pieces.length, Math.ceil(ids.length / 16) - 1 + result.completionIds.length + last);
});

test("a turn that fills the context is over, and not paused, after its last token", async () => {
  const model = await clocked(10, 40);
  const ids = Array.from({ length: 33 }, (_, i) => 300 + i);
  for (const cpuMs of [1, 35, 75]) {
    const session = model.session();
    const { result } = await slices(session, { ids }, { ...SAMPLED, ignoreEos: true, cpuMs });
    assert.equal([result.finishReason, result.overflow, result.completionIds.length], ["length", "context", 8]);
    session.close();
  }
});

test("without a paused turn, resume is a typed error; another turn drops the paused one", async () => {
  const model = await clocked(10);
  const session = model.session();
  const code = async (): Promise<string> => {
    try {
      for await (const _ of session.resume());
    } catch (error) {
      return (error as ThimbleError).code;
    }
    return "nothing was thrown";
  };
  assert.is(await code(), "invalid_option");
  await session.complete(STORY, { ...SAMPLED, cpuMs: 1 });
  assert.ok(session.isPaused);
  assert.equal(session.messages, [], "the turn is not over");
  await session.complete("Hello.", { ...SAMPLED, maxTokens: 3 });
  assert.not(session.isPaused);
  assert.is(await code(), "invalid_option");
});

test("a fork goes on with the conversation, and neither hears of the other's turns", async () => {
  for (const form of ["f32", "q8", "q4", "q3"] as const) {
    const model = await load(DEFAULT_MODEL, { keys: form, values: form });
    const options = { ...SAMPLED, maxTokens: 30 };
    const first = model.session();
    await first.complete(STORY, options);
    const second = first.fork();
    assert.equal(second.messages, first.messages);
    const [a, b] = [await first.complete("And the hen?", options), await second.complete("Stop.", options)];
    const alone = async (question: string) => {
      const session = model.session();
      await session.complete(STORY, options);
      const answer = await session.complete(question, options);
      session.close();
      return answer;
    };
    assert.equal(a.completionIds, (await alone("And the hen?")).completionIds, form);
    const expected = await alone("Stop.");
    assert.equal(b.completionIds, expected.completionIds, form);
    assert.is(b.usage.reusedTokens, expected.usage.reusedTokens, "what the fork shares is not computed again");
    first.close();
    second.close();
    const { exports } = model.engine.runtime;
    assert.is(exports.poolFreePages(), exports.poolPages());
  }
});

test("a full context, or a full budget, ends a turn and says so; or throws and undoes it", async () => {
  const options = { temperature: 0, maxTokens: 500, ignoreEos: true } as const;
  const small = await load(DEFAULT_MODEL, { contextLength: 60 });
  const forms = { keys: "q8", values: "q8", contextLength: 256 } as const;
  const { plan, peakBytes } = (await load(DEFAULT_MODEL, forms)).stats;
  const tight = await load(DEFAULT_MODEL, {
    ...forms,
    budget: Math.ceil(peakBytes + 2 * plan.session + 1.2 * plan.context),
  });
  const first = tight.session(); // takes most of the pages
  await first.complete("A hen", { ...options, maxTokens: 200 });
  for (const [model, full, code] of [
    [small, "context", "context_length_exceeded"],
    [tight, "budget", "over_budget"],
  ] as const) {
    const session = model.session();
    const result = await session.complete("A fox", options);
    assert.is(result.finishReason, "length");
    assert.is(result.overflow, full);
    session.close();
    const other = model.session();
    try {
      await other.complete("A fox", { ...options, overflow: "throw" });
      assert.unreachable("nothing was thrown");
    } catch (error) {
      assert.is((error as ThimbleError).code, code, String(error));
    }
    assert.equal(other.tokens, []);
    other.close();
  }
  first.close();
});

test("trim gives pages back, and the conversation goes on with the same tokens", async () => {
  const model = await load(DEFAULT_MODEL, { keys: "q4", values: "q4" });
  const { exports } = model.engine.runtime;
  const options = { ...SAMPLED, maxTokens: 20 };
  const turns = async (level?: "half" | "all") => {
    const session = model.session();
    await session.complete(STORY, options);
    if (level !== undefined) {
      const free = exports.poolFreePages();
      const bytes = session.trim(level);
      assert.is((exports.poolFreePages() - free) * model.stats.plan.page, bytes);
      assert.ok(bytes > 0, `${bytes} bytes`);
    }
    const { completionIds } = await session.complete("And the hen?", options);
    session.close();
    return completionIds;
  };
  const expected = await turns();
  for (const level of ["half", "all"] as const) assert.equal(await turns(level), expected, level);
});

test("an aborted turn takes nothing from the cache, whatever the form", async () => {
  for (const form of ["q8", "q4", "q3"] as const) {
    const model = await load(DEFAULT_MODEL, { keys: form, values: form });
    const session = model.session();
    const { promptIds } = await session.complete(STORY, SAMPLED);
    const cached = session.stats.cachedTokens;
    assert.ok(cached > promptIds.length);
    for await (const _ of session.generate("And then? ".repeat(20), { ...SAMPLED, maxTokens: 200 })) break;
    assert.ok(session.stats.cachedTokens >= promptIds.length, `${session.stats.cachedTokens} of ${cached} tokens left`);
    session.close();
  }
});

test.run();
