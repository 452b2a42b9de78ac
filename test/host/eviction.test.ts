/** Sessions of the embedded model that forget: what stays, what the ledger and the event say, and what is refused. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { ChatMessage } from "../../host/chat.ts";
import type { ThimbleError } from "../../host/errors.ts";
import { Ledger, type LedgerEntry } from "../../host/ledger.ts";
import type { Model } from "../../host/model.ts";
import type { Session } from "../../host/session.ts";
import { load } from "../model/load.ts";
import { SMALL_MODEL } from "../model/small-model.ts";
import { checkForgotten } from "./session-forgetting.ts";

const test = suite("sessions that forget");

const CONTEXT = 192;
const greedy = { temperature: 0, ignoreEos: true } as const;

async function withModel(use: (model: Model) => Promise<void>, options = {}): Promise<void> {
  await using model = await load(SMALL_MODEL, { contextLength: CONTEXT, ...options });
  await use(model);
}

async function codeOf(run: () => Promise<unknown>): Promise<string> {
  try {
    await run();
    return "none";
  } catch (error) {
    return (error as ThimbleError).code;
  }
}

const story = (n: number): string => Array.from({ length: n }, (_, i) => `Tim saw ${i} red birds.`).join(" ");

test("evict: a turn runs past the context; every page that goes is in the ledger with its text, and in the event", () =>
  withModel(async (model) => {
    const session = model.session({ overflow: "evict" });
    const told: LedgerEntry[] = [];
    session.addEventListener("contextoverflow", (event) => told.push(...(event as CustomEvent<LedgerEntry[]>).detail));
    const { finishReason, completionIds } = await session.complete({ text: story(2) }, { ...greedy, maxTokens: 400 });
    assert.equal([finishReason, completionIds.length], ["length", 400]);
    const n = session.tokens.length;
    const pages = Math.floor((n - 1) / 32) - CONTEXT / 32 + 1;
    assert.ok(pages > 5);
    const [entry, ...more] = session.ledger;
    assert.equal(more, [], "one span, one after the other");
    assert.equal([entry!.first, entry!.end, entry!.turn, entry!.policy], [32, 32 + 32 * pages, 0, "streaming"]);
    const { nLayers, nKvHeads } = model.config;
    assert.is(entry!.heads, nLayers * nKvHeads);
    assert.is(entry!.bytes, pages * nLayers * nKvHeads * model.stats.plan.page);
    assert.is(entry!.text, model.detokenize(session.tokens.slice(entry!.first, entry!.end)));
    assert.equal([session.stats.evictedTokens, session.stats.evictedBytes], [32 * pages, entry!.bytes]);
    assert.equal(
      told.map(({ first, end }) => [first, end]),
      Array.from({ length: pages }, (_, i) => [32 * (i + 1), 32 * (i + 2)]),
    );
    session.close();
  }));

test("evict: a prompt longer than the context, in one turn or turn by turn, gives the same tokens", () =>
  withModel(async (model) => {
    const texts = [story(40), ` ${story(30)}`, " Then Tim went home."];
    const whole = model.session({ overflow: "evict" });
    const ids = texts.flatMap((text) => model.tokenize(text));
    const expected = await whole.complete({ ids }, { ...greedy, maxTokens: 40 });
    const parts = model.session({ overflow: "evict" });
    for (const text of texts.slice(0, -1))
      await parts.complete({ ids: model.tokenize(text) }, { ...greedy, maxTokens: 0 });
    const last = await parts.complete({ ids: model.tokenize(texts.at(-1)!) }, { ...greedy, maxTokens: 40 });
    assert.equal(last.completionIds, expected.completionIds);
    assert.ok(last.usage.reusedTokens > CONTEXT, "what came before is not computed again");
    assert.equal(
      parts.ledger.map(({ turn }) => turn),
      [0, 1, 2],
    );
    assert.equal(parts.ledger.map(({ end }) => end).at(-1), whole.ledger.at(-1)!.end);
  }));

test("stop and throw stay as they were; throw in a session that forgets makes no room and leaves everything", () =>
  withModel(async (model) => {
    const session = model.session();
    const stopped = await session.complete({ text: story(2) }, { ...greedy, maxTokens: 400 });
    assert.equal([stopped.finishReason, stopped.overflow], ["length", "context"]);
    assert.is(await codeOf(() => session.complete({ text: story(60) }, greedy)), "context_length_exceeded");
    assert.equal(session.ledger, []);
    const forgetful = model.session({ overflow: "evict" });
    await forgetful.complete({ text: story(30) }, { ...greedy, maxTokens: 3 });
    const before = [forgetful.tokens.length, forgetful.ledger.length, forgetful.stats.evictedTokens];
    assert.ok(before[2]! > 0);
    assert.is(
      await codeOf(() => forgetful.complete({ text: story(60) }, { ...greedy, overflow: "throw" })),
      "context_length_exceeded",
    );
    assert.equal([forgetful.tokens.length, forgetful.ledger.length, forgetful.stats.evictedTokens], before);
    const { completionIds, overflow } = await forgetful.complete(
      { text: " So" },
      { ...greedy, overflow: "stop", maxTokens: 400 },
    );
    assert.is(overflow, "context");
    assert.ok(completionIds.length > 0 && completionIds.length < CONTEXT);
    assert.is(forgetful.stats.evictedTokens, before[2], "nothing went in a turn that stops");
    await forgetful.complete({ text: " And" }, { ...greedy, maxTokens: 50 });
    assert.ok(forgetful.stats.evictedTokens > before[2]!, "the session's own rule again");
  }));

const chatOf = (system: string, n: number): ChatMessage[] => [
  { role: "system", content: system },
  { role: "user", content: story(n) },
];

/** Whether a token's page is gone. */
const isGone = (session: Session, position: number): boolean =>
  session.ledger.some(({ first, end }) => first <= position && position < end);

test("the system prompt and pinned messages and spans are never evicted, however long the conversation", () =>
  withModel(
    async (model) => {
      const session = model.session({ overflow: "evict", sinks: 32 });
      const system = chatOf(`You are Tim. ${story(9)}`, 1);
      await session.complete(system, { ...greedy, maxTokens: 4 });
      const systemEnd = model.encodeChat(system.slice(0, 1)).length - 1;
      assert.ok(systemEnd > 64, `${systemEnd}`);
      session.pin(1);
      const messageEnd = session.tokens.length;
      for (let i = 0; i < 4; ++i) await session.complete(story(8), { ...greedy, maxTokens: 8 });
      session.pin({ first: 300, end: 301 });
      for (let i = 0; i < 6; ++i) await session.complete(story(8), { ...greedy, maxTokens: 8 });
      assert.ok(session.stats.evictedTokens > 400);
      for (let p = 0; p < systemEnd; ++p) assert.not(isGone(session, p), `token ${p} of the system prompt`);
      assert.not(isGone(session, systemEnd + 2), "the pinned message");
      assert.not(isGone(session, 300), "the pinned token");
      assert.ok(isGone(session, Math.ceil(messageEnd / 32) * 32));
      session.close();
    },
    { contextLength: 512 },
  ));

test("pins that leave nothing to evict: the turn says so before it begins, and the session is as it was", () =>
  withModel(async (model) => {
    const session = model.session({ overflow: "evict" });
    await session.complete({ text: story(5) }, { ...greedy, maxTokens: 2 });
    const before = session.tokens.length;
    session.pin({ first: 0, end: 150 });
    assert.is(await codeOf(() => session.complete({ text: story(60) }, greedy)), "context_length_exceeded");
    assert.is(session.tokens.length, before);
    session.unpin();
    await session.complete({ text: story(60) }, { ...greedy, maxTokens: 2 });
    assert.ok(session.stats.evictedTokens > 0);
  }));

test("an aborted turn is undone, its entries too; the same turn again gives the tokens of a session that never had it", () =>
  withModel(async (model) => {
    const [first, second] = [story(12), ` ${story(30)}`];
    const session = model.session({ overflow: "evict" });
    await session.complete({ text: first }, { ...greedy, maxTokens: 5 });
    const before = [session.tokens.length, session.ledger.length];
    const left = session.generate({ text: second }, { ...greedy, maxTokens: 100 });
    for await (const _ of left) break;
    assert.equal([session.tokens.length, session.ledger.length], before);
    const again = await session.complete({ text: " The end" }, { ...greedy, maxTokens: 20 });
    const other = model.session({ overflow: "evict" });
    await other.complete({ text: first }, { ...greedy, maxTokens: 5 });
    const fresh = await other.complete({ text: " The end" }, { ...greedy, maxTokens: 20 });
    assert.equal(again.completionIds, fresh.completionIds);
    assert.equal(session.ledger, other.ledger);
  }));

test("forks forget apart; pause and resume go on; a budget that is full is a limit to evict at as well", () =>
  withModel(async (model) => {
    const session = model.session({ overflow: "evict" });
    await session.complete({ text: story(30) }, { ...greedy, maxTokens: 5 });
    const fork = session.fork();
    const [a, b] = [story(10), "Once upon a time there was a dog."];
    const alone = await Promise.all(
      [a, b].map(async (text) => {
        const one = model.session({ overflow: "evict" });
        await one.complete({ text: story(30) }, { ...greedy, maxTokens: 5 });
        return one.complete({ text }, { ...greedy, maxTokens: 60 });
      }),
    );
    const paused = await session.complete({ text: a }, { ...greedy, maxTokens: 60, cpuMs: 1 });
    const forked = await fork.complete({ text: b }, { ...greedy, maxTokens: 60 });
    let result = paused;
    while (session.isPaused) {
      const rest = session.resume({ ...greedy, maxTokens: 60, cpuMs: 1 });
      for await (const _ of rest);
      result = await rest.result;
    }
    assert.equal(result.completionIds, alone[0]!.completionIds);
    assert.equal(forked.completionIds, alone[1]!.completionIds);
  }));

test("a budget with room for one session: a second one evicts at the pages it could get", async () => {
  await using small = await load(SMALL_MODEL, { contextLength: 512 });
  const { plan } = small.stats;
  const budget = plan.total + plan.session + 24 * (plan.context / 16); // one whole session, another's tables, 16 pages
  await using model = await load(SMALL_MODEL, { contextLength: 512, budget, keys: "q8", values: "q8" });
  const full = model.session();
  await full.complete({ ids: model.tokenize(story(80)).slice(0, 511) }, { ...greedy, maxTokens: 0 });
  const second = model.session({ overflow: "evict" });
  const { completionIds } = await second.complete({ text: story(1) }, { ...greedy, maxTokens: 900 });
  assert.is(completionIds.length, 900);
  assert.ok(second.stats.evictedTokens > 900 - 512);
  assert.ok(model.stats.peakBytes <= budget);
});

test("options: what is wrong is refused by name", () =>
  withModel(async (model) => {
    for (const options of [{ overflow: "drop" }, { sinks: 33 }, { sinks: -32 }, { window: 1.5 }, { window: 1e9 }]) {
      assert.throws(
        () => model.session({ overflow: "evict", ...options } as never),
        (error: ThimbleError) => error.code === "invalid_option" && error.subject === Object.keys(options)[0],
      );
    }
    const tight = model.session({ overflow: "evict", sinks: 96, window: 96 });
    assert.is(await codeOf(() => tight.complete({ text: "a" }, greedy)), "context_length_exceeded");
    const session = model.session({ overflow: "evict" });
    for (const pin of [0, -1, { first: 3, end: 3 }, { first: -1, end: 3 }, { first: 0.5, end: 3 }]) {
      assert.throws(
        () => session.pin(pin),
        (error: ThimbleError) => error.code === "invalid_option",
      );
    }
  }));

test("a turn that stops with a full context, and one that evicts after it: a page goes first, and no table is written past", () =>
  withModel(async (model) => {
    const session = model.session({ overflow: "evict" });
    const stop = { ...greedy, overflow: "stop", maxTokens: 400 } as const;
    const { overflow } = await session.complete({ text: story(2) }, stop);
    assert.equal([overflow, session.stats.cachedTokens, session.ledger.length], ["context", CONTEXT, 0]);
    await session.complete({ text: " And" }, { ...greedy, maxTokens: 3 });
    assert.equal(
      session.ledger.map(({ first, end }) => [first, end]),
      [[32, 64]],
    );
    for (const head of session.kept().flat()) {
      assert.ok(head.every((position, i) => i === 0 || head[i - 1]! < position));
      assert.ok(head.length <= CONTEXT && !head.includes(32) && head.at(-1) === session.stats.cachedTokens - 1);
    }
  }));

test("going back within the open page keeps what the ledger says of pages that are gone", () =>
  withModel(async (model) => {
    const session = model.session({ overflow: "evict" });
    const ids = Array.from({ length: 236 }, (_, i) => 300 + (i % 90));
    await session.complete({ ids }, { ...greedy, maxTokens: 0 });
    const before = session.ledger;
    assert.ok(before.length > 0);
    session.tokenSession.trim(230);
    assert.equal([session.stats.cachedTokens, session.ledger], [230, before]);
    for (const head of session.kept().flat()) assert.not(head.includes(before[0]!.first));
  }));

test("going back to any length: the ledger says what is missing of what is left, no more and no less", async () => {
  for (const form of ["f32", "q4"] as const) {
    await withModel(
      async (model) => {
        const ids = Array.from({ length: 300 }, (_, i) => 300 + (i % 90));
        const session = model.session({ overflow: "evict" });
        await session.complete({ ids: ids.slice(0, 210) }, { ...greedy, maxTokens: 0 });
        await session.complete({ ids: ids.slice(210) }, { ...greedy, maxTokens: 0 });
        const { cachedTokens, evictedTokens } = session.stats;
        assert.ok(evictedTokens > 100);
        const lengths = new Set<number>();
        for (const length of [
          0,
          1,
          31,
          32,
          64,
          100,
          160,
          209,
          210,
          224,
          256,
          287,
          288,
          cachedTokens - 1,
          cachedTokens,
        ]) {
          const fork = session.fork();
          fork.tokenSession.trim(length);
          checkForgotten(model, fork, new Set());
          const left = fork.stats.cachedTokens;
          assert.ok(left <= length);
          assert.is(fork.stats.evictedTokens, left === 0 ? 0 : evictedTokens, `${form}, back to ${length}`);
          lengths.add(left);
          fork.close();
        }
        assert.ok(lengths.size > 2 && lengths.has(0), `${form}: ${[...lengths]}`);
      },
      { keys: form, values: form },
    );
  }
});

test("the ledger: neighbours of a turn are one span, turns and numbers of heads are not mixed", () => {
  const ledger = new Ledger();
  const span = (first: number, heads: number, score = first) => ({
    first,
    end: first + 32,
    heads,
    bytes: 10 * heads,
    score,
  });
  const spans = ledger.add([span(32, 2, 99), span(64, 1)], 200, 0, "streaming");
  assert.equal(
    spans.map(({ first, end, heads, bytes, score }) => [first, end, heads, bytes, score]),
    [
      [32, 64, 2, 20, 99],
      [64, 96, 1, 10, 64],
    ],
  );
  ledger.add([span(96, 1)], 232, 0, "streaming");
  ledger.add([span(128, 1), span(64, 1)], 264, 1, "streaming");
  const entries = (of: Ledger) => of.entries.map(({ first, end, turn, heads }) => [first, end, turn, heads]);
  assert.equal(entries(ledger), [
    [32, 64, 0, 2],
    [64, 128, 0, 1],
    [128, 160, 1, 1],
    [64, 96, 1, 1],
  ]);
  assert.equal(ledger.totals, { tokens: 128, bytes: 60 });
  const copy = ledger.copy();
  ledger.clear();
  assert.is(copy.entries.length, 4);
  assert.equal([ledger.entries, ledger.totals], [[], { tokens: 0, bytes: 0 }]);
});

test.run();
