/** Sessions: turns, reuse of the cache, limits, stops, abort as if the turn had never been, misuse. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { ThimbleError, ThimbleErrorCode } from "../../host/errors.ts";
import type { GenerateOptions } from "../../host/generation.ts";
import type { Model } from "../../host/model.ts";
import { perplexity } from "../../host/perplexity.ts";
import type { Prompt, Session } from "../../host/session.ts";
import { DEFAULT_MODEL, load } from "../model/load.ts";

const GREEDY: GenerateOptions = { temperature: 0, maxTokens: 24 };
const FOX = "Tell me a story about a fox.";

const model: Model = await load(DEFAULT_MODEL);
const text = async (session: Session, prompt: Prompt, options = GREEDY): Promise<string> =>
  (await session.complete(prompt, options)).text;

async function rejects(code: ThimbleErrorCode, run: () => Promise<unknown>): Promise<ThimbleError> {
  try {
    await run();
  } catch (error) {
    assert.is((error as ThimbleError).code, code, String(error));
    return error as ThimbleError;
  }
  throw new Error(`nothing was thrown; expected ${code}`);
}

test("pieces add up to the text, and the ids to the pieces", async () => {
  const session = model.session();
  const generation = session.generate(FOX, GREEDY);
  let pieces = "";
  for await (const piece of generation) pieces += piece;
  const { text: whole, completionIds, promptIds, finishReason, usage } = await generation.result;
  assert.is(pieces, whole);
  assert.is(model.detokenize(completionIds), whole);
  assert.is(finishReason, "length");
  assert.is(usage.completionTokens, 24);
  assert.is(usage.promptTokens, promptIds.length);
  assert.equal(promptIds, model.encodeChat([{ role: "user", content: FOX }]));
  assert.equal(session.tokens, [...promptIds, ...completionIds]);
  assert.equal(session.messages, [
    { role: "user", content: FOX },
    { role: "assistant", content: whole },
  ]);
  session.close();
});

test("a second turn reuses the cache and gives what a fresh session gives", async () => {
  const session = model.session();
  const options = { ...GREEDY, maxTokens: 400 };
  await session.complete("What is the capital of France?", options);
  const second = await session.complete("Tell me a short story.", options);
  assert.ok(second.usage.reusedTokens > 15, `${second.usage.reusedTokens} reused`);
  const fresh = model.session();
  assert.is(await text(fresh, session.messages.slice(0, 3), options), second.text);
  session.close();
  fresh.close();
});

test("messages that share a beginning reuse it; others do not", async () => {
  const exact = await load(DEFAULT_MODEL, { keys: "f32", values: "f32" }); // goes back to any token
  const session = exact.session();
  await session.complete([{ role: "user", content: FOX }], GREEDY);
  const same = await session.complete([{ role: "user", content: FOX }], GREEDY);
  assert.is(same.usage.reusedTokens, same.usage.promptTokens - 1, "the last token is evaluated again for its logits");
  const other = await session.complete([{ role: "user", content: "Hello!" }], GREEDY);
  assert.ok(other.usage.reusedTokens < 5);
  assert.is(other.text, await text(model.session(), "Hello!"));
  session.close();
});

test("raw text and ids continue the tokens so far", async () => {
  const session = model.session();
  await session.complete({ text: "Once upon a time" }, GREEDY);
  const before = session.tokens.length;
  const next = await session.complete({ ids: [10, 11, 12] }, GREEDY);
  assert.is(next.promptIds.length, before + 3);
  assert.is(next.usage.reusedTokens, before - 1, "all but the last sampled token were in the cache");
  session.close();
});

test("aborting leaves the session as before the turn", async () => {
  const session = model.session();
  await session.complete(FOX, GREEDY);
  const before = { tokens: [...session.tokens], messages: [...session.messages] };
  const expected = await text(model.session(), [...before.messages, { role: "user", content: "And then?" }]);

  const controller = new AbortController();
  let seen = 0;
  const reason = new Error("enough");
  try {
    for await (const _ of session.generate("And then?", { ...GREEDY, signal: controller.signal })) {
      if (++seen === 3) controller.abort(reason);
    }
    throw new Error("the abort was not heard");
  } catch (error) {
    assert.is(error, reason);
  }
  assert.equal(session.tokens, before.tokens);
  assert.equal(session.messages, before.messages);
  assert.ok(session.stats.cachedTokens <= before.tokens.length);
  assert.is(await text(session, "And then?"), expected);
  session.close();
});

test("leaving the loop early is an abort too, and the result says so", async () => {
  const session = model.session();
  const generation = session.generate(FOX, GREEDY);
  for await (const _ of generation) break;
  try {
    await generation.result;
    throw new Error("a result without an end");
  } catch (error) {
    assert.is((error as Error).name, "AbortError");
  }
  assert.equal(session.tokens, []);
  assert.is(await text(session, FOX), await text(model.session(), FOX));
  session.close();
});

test("a turn lasts until its last piece is taken, though all its tokens are computed", async () => {
  const whole = await text(model.session(), FOX);
  const session = model.session();
  // The end of the text could be the beginning of a stop: it comes when there are no more tokens.
  const generation = session.generate(FOX, { ...GREEDY, stop: [`${whole.slice(-1)}###`] });
  let pieces = "";
  for await (const piece of generation) {
    pieces += piece;
    for (const use of [() => session.fork(), () => session.trim(), () => session.save()]) {
      await rejects("busy", async () => use());
    }
    await rejects("busy", () => session.complete("And then?", GREEDY));
  }
  assert.is(pieces, whole);
  assert.is(session.messages.length, 2);
  session.fork().close();
  session.close();
});

test("an abort during prefill stops between chunks", async () => {
  const session = model.session();
  const controller = new AbortController();
  const ids = Array.from({ length: 640 }, (_, i) => 10 + (i % 1000));
  let chunks = 0;
  try {
    const onPrefill = (): void => {
      if (++chunks === 2) controller.abort();
    };
    await session.complete({ ids }, { ...GREEDY, signal: controller.signal, onPrefill });
    throw new Error("the abort was not heard");
  } catch (error) {
    assert.is((error as Error).name, "AbortError");
  }
  assert.is(chunks, 2);
  assert.is(session.stats.cachedTokens, 0);
  session.close();
});

test("a signal that is aborted already stops before anything runs", async () => {
  const session = model.session();
  const signal = AbortSignal.abort();
  try {
    await session.complete(FOX, { signal });
    throw new Error("the abort was not heard");
  } catch (error) {
    assert.is((error as Error).name, "AbortError");
  }
  session.close();
});

test("maxTokens, stop texts, end of turn, ignoreEos", async () => {
  const session = model.session();
  const nothing = await session.complete({ text: "Hello" }, { ...GREEDY, maxTokens: 0 });
  assert.equal([nothing.text, nothing.completionIds, nothing.finishReason], ["", [], "length"]);
  const france = [{ role: "user", content: "What is the capital of France?" }] as const;
  const whole = await session.complete(france, GREEDY);
  assert.is(whole.finishReason, "stop");
  assert.not(whole.completionIds.some((id) => model.tokenizer.eosIds.includes(id)));
  const cut = await session.complete(france, { ...GREEDY, stop: ["is Par"] });
  assert.is(cut.text, whole.text.slice(0, whole.text.indexOf("is Par")));
  assert.is(cut.finishReason, "stop");
  const on = await session.complete(france, { ...GREEDY, ignoreEos: true });
  assert.is(on.completionIds.length, 24);
  assert.is(on.finishReason, "length");
  session.close();
});

test("a seed repeats a sampled turn; another seed gives another", async () => {
  const run = async (seed: number): Promise<string> =>
    text(model.session(), FOX, { temperature: 1, maxTokens: 24, seed });
  assert.is(await run(7), await run(7));
  assert.is.not(await run(7), await run(8));
  const drawn = await model.session().complete(FOX, { temperature: 1, maxTokens: 24 });
  assert.is(await run(drawn.seed), drawn.text);
});

test("log-probabilities come with every token and are those of perplexity", async () => {
  const { logprobs, completionIds, promptIds } = await model.session().complete(FOX, { ...GREEDY, logprobs: 20 });
  assert.equal(
    logprobs!.map(({ id }) => id),
    completionIds,
  );
  const { nll } = await perplexity(model, [...promptIds, ...completionIds], { from: promptIds.length });
  logprobs!.forEach(({ id, logprob, top }, i) => {
    assert.is(top!.length, 20);
    assert.equal(top![0], { id, logprob });
    assert.ok(Math.abs(logprob! + nll[i]!) < 1e-6, `${logprob} against ${nll[i]}`);
    assert.ok(top!.reduce((sum, entry) => sum + Math.exp(entry.logprob), 0) <= 1 + 1e-6);
  });
});

test("a mask keeps every other token out", async () => {
  const mask = new Uint32Array(Math.ceil(model.tokenizer.vocabSize / 32));
  const allowed = [40, 41, 42];
  for (const id of allowed) mask[id >> 5]! |= 1 << (id & 31);
  const { completionIds } = await model.session().complete(FOX, { temperature: 1, seed: 3, maxTokens: 12, mask });
  assert.ok(completionIds.length > 0 && completionIds.every((id) => allowed.includes(id)));
});

test("the context is a limit: too long a prompt throws, decoding stops with length", async () => {
  const small = await load(DEFAULT_MODEL, { contextLength: 40 });
  const session = small.session();
  const error = await rejects("context_length_exceeded", () =>
    session.complete({ ids: Array.from({ length: 41 }, () => 50) }, GREEDY),
  );
  assert.equal([error.needed, error.available], [41, 40]);
  const full = await session.complete({ ids: Array.from({ length: 38 }, () => 50) }, { ...GREEDY, ignoreEos: true });
  assert.is(full.finishReason, "length");
  assert.is(full.completionIds.length, 3, "two fit the cache; the third is sampled from the last slot's logits");
  await rejects("context_length_exceeded", () => session.complete({ text: "more" }, GREEDY));
  await small.close();
});

test("misuse is a typed error", async () => {
  const session = model.session();
  await rejects("empty_prompt", () => session.complete({ text: "" }, GREEDY));
  await rejects("empty_prompt", () => session.complete({ ids: [] }, GREEDY));
  await rejects("invalid_option", () => session.complete({ ids: [1, 99999] }, GREEDY));
  await rejects("invalid_option", () => session.complete({ ids: [-1] }, GREEDY));
  await rejects("invalid_option", () => session.complete({ ids: [0.5] }, GREEDY));
  await rejects("invalid_option", () => session.complete(FOX, { ...GREEDY, maxTokens: -1 }));
  await rejects("invalid_option", () => session.complete(FOX, { temperature: Number.NaN }));
  await rejects("invalid_text", () => session.complete("\ud800", GREEDY));
  assert.equal(session.tokens, []);
  const turn = session.generate(FOX, GREEDY)[Symbol.asyncIterator]();
  await turn.next();
  await rejects("busy", () => session.complete("Hello", GREEDY));
  await turn.return?.(undefined);
  session.close();
  session.close();
  await rejects("closed", () => session.complete(FOX, GREEDY));
});

test("closing a session during its turn ends the turn", async () => {
  const session = model.session();
  await rejects("closed", async () => {
    for await (const _ of session.generate(FOX, GREEDY)) session.close();
  });
});

test("pages come back: many sessions do not grow memory", async () => {
  const pool = (): number => model.engine.runtime.exports.poolPages();
  for (let i = 0; i < 3; ++i) {
    const session = model.session();
    await session.complete(FOX, GREEDY);
    session.close();
  }
  const before = [pool(), model.stats.peakBytes];
  for (let i = 0; i < 30; ++i) {
    const session = model.session();
    await session.complete({ ids: [5, 6, 7] }, { ...GREEDY, maxTokens: 2 });
    session.close();
  }
  assert.equal([pool(), model.stats.peakBytes], before);
});

test("two sessions that take turns token by token give what each gives alone", async () => {
  const prompts = [FOX, "What is the capital of France?"];
  const alone = await Promise.all(prompts.map((prompt) => text(model.session(), prompt)));
  const mixed = ["", ""];
  const turns = prompts.map((prompt) => model.session().generate(prompt, GREEDY)[Symbol.asyncIterator]());
  for (let open = turns.length; open > 0; ) {
    open = 0;
    for (const [i, turn] of turns.entries()) {
      const { done, value } = await turn.next();
      if (done) continue;
      mixed[i] += value;
      open += 1;
    }
  }
  assert.equal(mixed, alone);
});

test("a closed model refuses sessions", async () => {
  const other = await load("test/golden/architectures/llama.f32.gguf");
  await using session = other.session();
  await other.close();
  await other.close();
  assert.throws(
    () => other.session(),
    (error: ThimbleError) => error.code === "closed",
  );
  await rejects("closed", () => session.complete({ ids: [1] }, GREEDY));
});

test("tokenize, detokenize, count", () => {
  const ids = model.tokenize("Hello, world!");
  assert.is(model.detokenize(ids), "Hello, world!");
  assert.is(model.count("Hello, world!"), ids.length);
  const chat = [{ role: "user", content: FOX }] as const;
  assert.is(model.count(chat), model.encodeChat(chat).length);
});

test.run();
