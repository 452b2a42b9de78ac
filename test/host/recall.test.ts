/** Evicted spans that come back: as tokens bit for bit, as quotations in a conversation, and what is refused. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { saveCapsule } from "../../host/capsule/save.ts";
import type { ThimbleError } from "../../host/errors.ts";
import type { Model } from "../../host/model.ts";
import { type RecallState, Recalls } from "../../host/recall.ts";
import type { Session } from "../../host/session.ts";
import { DEFAULT_MODEL, load, randomIds, sameBits } from "../model/load.ts";
import { openRandom, randomWeights, SMALL_SHAPE } from "../model/random-llama.ts";
import { bytesOf, code, subject } from "./capsule-case.ts";

const test = suite("recall");

const WEIGHTS = randomWeights(SMALL_SHAPE, 11);
const IDS = randomIds(300, SMALL_SHAPE.vocabSize, 5);
const NEXT = [7, 21, 3];
const greedy = { temperature: 0, ignoreEos: true } as const;

function errorOf(run: () => unknown): ThimbleError {
  try {
    run();
  } catch (error) {
    return error as ThimbleError;
  }
  throw new Error("nothing was thrown");
}

/** A session that has read IDS and forgotten some. */
async function forgetful(model: Model): Promise<Session> {
  const session = model.session({ overflow: "evict" });
  await session.complete({ ids: IDS }, { ...greedy, maxTokens: 0 });
  return session;
}

/** Logits behind a turn that brings `ids`. */
async function logitsOf(session: Session, ids: readonly number[]): Promise<Float32Array> {
  await session.complete({ ids }, { ...greedy, maxTokens: 1 });
  return session.model.engine.logits(0).slice(0, SMALL_SHAPE.vocabSize);
}

test("ids: what is recalled is seen again, with the bits of a session that got the same tokens as its prompt", async () => {
  for (const form of ["f32", "q8", "q4"] as const) {
    await using model = await openRandom(SMALL_SHAPE, WEIGHTS, { contextLength: 224, keys: form, values: form });
    const [plain, given, recalling] = await Promise.all([forgetful(model), forgetful(model), forgetful(model)]);
    const [entry] = recalling.ledger;
    assert.equal([entry!.first, entry!.end, entry!.recalls], [32, 128, []]);
    recalling.recall({ first: 40, end: 60 });
    recalling.recall({ first: 96, end: 100 });
    const span = [...IDS.slice(40, 60), ...IDS.slice(96, 100)];
    const without = await logitsOf(plain, NEXT);
    const expected = await logitsOf(given, [...span, ...NEXT]);
    const actual = await logitsOf(recalling, NEXT);
    assert.ok(sameBits(actual, expected), form);
    assert.not(sameBits(actual, without), form);
    const fresh = model.session({ overflow: "evict" });
    assert.ok(sameBits(await logitsOf(fresh, [...IDS, ...span, ...NEXT]), expected), "in one go");
    assert.equal(recalling.tokens.slice(0, -1), [...IDS, ...span, ...NEXT]);
    assert.equal(recalling.kept(), given.kept());
    for (const head of recalling.kept().flat()) for (let p = 300; p < 324; ++p) assert.ok(head.includes(p));
    const again = recalling.ledger.flatMap(({ recalls }) => recalls);
    assert.equal(again, [
      { first: 40, end: 60, turn: 1, at: 300 },
      { first: 96, end: 100, turn: 1, at: 320 },
    ]);
  }
});

test("usage counts it, once; a recall may be asked for again, joined, and taken back; copies may go and come back too", async () => {
  await using model = await openRandom(SMALL_SHAPE, WEIGHTS, { contextLength: 224 });
  const session = await forgetful(model);
  session.recall({ first: 40, end: 50 });
  session.recall({ first: 60, end: 70 });
  session.recall({ first: 45, end: 60 });
  assert.equal(session.recalling, [{ first: 40, end: 70 }]);
  session.unrecall();
  assert.equal(session.recalling, []);
  session.recall(session.ledger[0]!);
  assert.equal(session.recalling, [{ first: 32, end: 128 }]);
  const { usage, promptIds } = await session.complete({ ids: NEXT }, { ...greedy, maxTokens: 2 });
  assert.equal([usage.recalledTokens, usage.promptTokens, promptIds.length], [96, 399, 399]);
  assert.equal(session.recalling, []);
  const next = await session.complete({ ids: NEXT }, { ...greedy, maxTokens: 300 });
  assert.is(next.usage.recalledTokens, 0);
  const gone = session.ledger.find(({ first, end }) => first <= 300 && end > 396);
  assert.ok(gone !== undefined, "the copy went in its turn");
  session.recall({ first: 300, end: 332 });
  const { promptIds: more } = await session.complete({ ids: NEXT }, { ...greedy, maxTokens: 0 });
  assert.equal(more.slice(-35, -3), IDS.slice(32, 64));
});

test("the most that may be recalled is seen whole behind sinks, pins and the prompt; a token more is refused, with numbers", async () => {
  await using model = await openRandom(SMALL_SHAPE, WEIGHTS, { contextLength: 224 });
  for (const extra of [0, 1, 13, 31]) {
    const session = model.session({ overflow: "evict", sinks: 32, window: 32 });
    session.pin({ first: 62, end: 66 });
    await session.complete({ ids: [...IDS, ...IDS.slice(0, extra)] }, { ...greedy, maxTokens: 0 });
    await session.complete({ ids: IDS }, { ...greedy, maxTokens: 0 });
    const { code, needed, available } = errorOf(() => session.recall({ first: 96, end: 96 + 65 }));
    assert.equal([code, needed, available], ["context_length_exceeded", 65, 64]);
    assert.equal(session.recalling, []);
    session.recall({ first: 96, end: 96 + 64 });
    assert.is(errorOf(() => session.recall({ first: 200, end: 201 })).needed, 65, "all that is asked for counts");
    const from = session.tokens.length;
    await session.complete({ ids: NEXT }, { ...greedy, maxTokens: 0 });
    for (const head of session.kept().flat())
      for (let p = from; p < from + 64; ++p) assert.ok(head.includes(p), `${p}`);
    session.close();
  }
});

test("what cannot be recalled is refused by name before anything is computed", async () => {
  await using model = await openRandom(SMALL_SHAPE, WEIGHTS, { contextLength: 224 });
  const session = await forgetful(model);
  const before = session.stats;
  for (const [span, code] of [
    [{ first: 0, end: 4 }, "invalid_option"],
    [{ first: 31, end: 40 }, "invalid_option"],
    [{ first: 120, end: 129 }, "invalid_option"],
    [{ first: 290, end: 300 }, "invalid_option"],
    [{ first: 40, end: 40 }, "invalid_option"],
    [{ first: 40, end: 301 }, "invalid_option"],
    [{ first: -1, end: 40 }, "invalid_option"],
    [{ first: 40.5, end: 44 }, "invalid_option"],
    [{ first: 40 }, "invalid_option"],
    [undefined, "invalid_option"],
    [1, "invalid_option"],
  ] as const) {
    const error = errorOf(() => session.recall(span as never));
    assert.is(error.code, code, JSON.stringify(span));
    assert.match(error.subject!, /^recall/);
  }
  assert.match(errorOf(() => session.recall({ first: 31, end: 40 })).message, /^token 31 has not been evicted; recall/);
  assert.equal(session.recalling, []);
  assert.equal(session.stats, before);
  assert.is(errorOf(() => model.session().recall({ first: 0, end: 1 })).code, "invalid_option", "an empty session");
  const steps = session.generate({ ids: NEXT }, { ...greedy, maxTokens: 9 })[Symbol.asyncIterator]();
  await steps.next();
  for (const run of [() => session.recall({ first: 40, end: 44 }), () => session.unrecall()]) {
    assert.is(errorOf(run).code, "busy");
  }
  await steps.return?.(undefined);
  const reading = session.save();
  assert.is(errorOf(() => session.recall({ first: 40, end: 44 })).code, "busy");
  await reading.cancel();
  session.close();
  assert.is(errorOf(() => session.recall({ first: 40, end: 44 })).code, "closed");
});

test("what a policy let go comes back too, as the tokens it was, and is chosen from again", async () => {
  await using model = await openRandom(SMALL_SHAPE, WEIGHTS, { contextLength: 224, policy: "key-diff" });
  const open = async (): Promise<Session> => {
    const session = model.session({ keep: { ratio: 0.5 } });
    await session.complete({ ids: IDS.slice(0, 120) }, { ...greedy, maxTokens: 0 });
    return session;
  };
  const [session, given] = await Promise.all([open(), open()]);
  const entry = session.ledger.find(({ first, end, heads }) => end > first + 3 && heads < 4)!;
  session.recall(entry);
  const span = IDS.slice(entry.first, entry.end);
  const expected = await logitsOf(given, [...span, ...NEXT]);
  assert.ok(sameBits(await logitsOf(session, NEXT), expected));
  assert.equal(session.kept(), given.kept());
  assert.equal(session.ledger.find(({ first }) => first === entry.first)!.recalls, [
    { first: entry.first, end: entry.end, turn: 1, at: 120 },
  ]);
});

test("a turn that is aborted, or has no room, leaves the recall to the next one", async () => {
  await using model = await openRandom(SMALL_SHAPE, WEIGHTS, { contextLength: 224 });
  const session = await forgetful(model);
  session.recall({ first: 40, end: 44 });
  const asked = session.recalling;
  for await (const _ of session.generate({ ids: NEXT }, { ...greedy, maxTokens: 9 })) break;
  assert.equal([session.recalling, session.ledger.flatMap(({ recalls }) => recalls)], [asked, []]);
  const refused = await session
    .complete({ ids: IDS }, { ...greedy, overflow: "throw" })
    .catch((error: ThimbleError) => error.code);
  assert.equal([refused, session.recalling], ["context_length_exceeded", asked]);
  session.trim();
  assert.equal([session.recalling, session.ledger], [asked, []], "pages given back are no recall done");
  const { promptIds } = await session.complete({ ids: NEXT }, { ...greedy, maxTokens: 0 });
  assert.equal(promptIds, [...IDS, ...IDS.slice(40, 44), ...NEXT]);
  assert.equal(session.ledger[0]!.recalls, [{ first: 40, end: 44, turn: 1, at: 300 }]);
});

test("forks recall apart; capsules keep what is asked for and what was recalled; a paused turn has it and counts it once", async () => {
  await using model = await openRandom(SMALL_SHAPE, WEIGHTS, { contextLength: 224, chunk: 7, maxOutputs: 7 });
  const session = await forgetful(model);
  session.recall({ first: 40, end: 60 });
  const [fork, second] = [session.fork(), session.fork()];
  fork.unrecall();
  assert.is((await second.complete({ ids: NEXT }, { ...greedy, maxTokens: 0 })).usage.recalledTokens, 20);
  const restored = await model.restore(await bytesOf(session.save()));
  assert.equal(
    [session, restored, fork].map(({ recalling }) => recalling.length),
    [1, 1, 0],
  );
  const expected = await session.complete({ ids: NEXT }, { ...greedy, maxTokens: 5 });
  let paused = await restored.complete({ ids: NEXT }, { ...greedy, maxTokens: 5, cpuMs: 1 });
  let pauses = 0;
  let other = restored;
  while (other.isPaused) {
    pauses += 1;
    assert.is(paused.usage.recalledTokens, 20);
    assert.is(errorOf(() => other.recall({ first: 40, end: 41 })).code, "busy");
    assert.is(errorOf(() => other.unrecall()).code, "busy");
    if (pauses === 1) other = await model.restore(await bytesOf(other.save()));
    const rest = other.resume({ ...greedy, maxTokens: 5, cpuMs: 1 });
    for await (const _ of rest);
    paused = await rest.result;
  }
  assert.equal(paused.completionIds, expected.completionIds);
  assert.equal([paused.usage.recalledTokens, other.recalling], [20, []]);
  const notes = [{ first: 40, end: 60, turn: 1, at: 300 }];
  const later = await model.restore(await bytesOf(session.save()));
  for (const one of [session, session.fork(), second, other, later]) assert.equal(one.ledger[0]!.recalls, notes);
  assert.equal((await fork.complete({ ids: NEXT }, { ...greedy, maxTokens: 0 })).promptIds, [...IDS, ...NEXT]);
});

test("a note of a recall goes when the conversation is told another way and has no copy any more", () => {
  const recalls = new Recalls({ asked: [{ first: 4, end: 8 }], made: [] });
  recalls.finish(100, 3);
  const made = [{ first: 4, end: 8, turn: 3, at: 100 }];
  assert.equal(recalls.made, made);
  recalls.finish(104, 4);
  assert.equal(recalls.made, made);
  recalls.finish(103, 5);
  assert.equal(recalls.made, []);
  assert.is(recalls.state, undefined);
});

const FACT = "The pass key is 48210. Remember it. 48210 is the pass key.";
const talk = (n: number): string =>
  Array.from({ length: n }, (_, i) => `On day ${i} the fox ran over the hill and saw a bird.`).join(" ");

test("a conversation: what was forgotten is not found, what was recalled is; it is quoted, counted and noted", async () => {
  await using model = await load(DEFAULT_MODEL, { contextLength: 512 });
  const session = model.session({ overflow: "evict" });
  const few = { temperature: 0, maxTokens: 24 } as const;
  await session.complete(
    `Read the text and answer the question.\n\n${talk(3)} ${FACT} ${talk(12)}\n\nWhat is the pass key?`,
    few,
  );
  assert.match(session.messages.at(-1)!.content, /48210/);
  await session.complete(`Tell me a story about this. ${talk(32)}`, few);
  const entry = session.ledger.find(({ text }) => text.includes(FACT));
  assert.ok(entry !== undefined, "the fact is in the ledger, in words");
  assert.is(session.text.slice(entry.range.first, entry.range.end), entry.text);
  assert.ok(session.text.startsWith("<|im_start|>user\nRead the text"));
  const question = "What is the pass key?";
  const fork = session.fork();
  const lost = await fork.complete(question, few);
  assert.not.match(lost.text, /48210/);
  const turns = session.ledger.find(({ text }) => text.includes("<|im_end|>\n<|im_start|>"));
  assert.ok(turns !== undefined, "a span over the end of a message");
  fork.recall(turns);
  await fork.complete(question, few);
  assert.not.match(fork.messages.at(-2)!.content, /<\|im_/, "the template's tokens are not quoted");
  const ids = model.tokenize(FACT);
  const first = session.tokens.findIndex((_, i) => ids.slice(1, 9).every((id, j) => session.tokens[i + j] === id));
  session.recall({ first: first - 1, end: first - 1 + ids.length });
  const { text, usage, promptIds } = await session.complete(question, few);
  assert.match(text, /48210/);
  assert.is(usage.recalledTokens, ids.length);
  const [asked] = session.messages.slice(-2);
  assert.is(asked!.content, `From earlier in this conversation:\n\n"""\n${FACT}\n"""\n\n${question}`);
  assert.equal(promptIds, model.encodeChat(session.messages.slice(0, -1)));
  const [note] = session.ledger.find(({ text }) => text.includes(FACT))!.recalls;
  assert.equal([note!.first, note!.end, note!.turn], [first - 1, first - 1 + ids.length, 2]);
  const next = await session.complete("Thank you.", few);
  assert.ok(next.usage.reusedTokens > promptIds.length - 8, "the quotation is part of the conversation");
});

test("quotations: control tokens and halves of characters are left out; a conversation must end with a user's message", async () => {
  await using model = await load(DEFAULT_MODEL, { contextLength: 192 });
  const session = model.session({ overflow: "evict" });
  const said = "Grüße <|im_end|> aus 北京! ".repeat(30);
  await session.complete(said, { temperature: 0, maxTokens: 4, ignoreEos: true });
  const [entry] = session.ledger;
  for (let first = entry!.first; first < entry!.first + 6; ++first) {
    const fork = session.fork();
    fork.recall({ first, end: first + 9 });
    await fork.complete([...session.messages, { role: "user", content: "So?" }], { temperature: 0, maxTokens: 0 });
    const { content } = fork.messages.at(-2)!;
    assert.ok(content.startsWith('From earlier in this conversation:\n\n"""\n') && content.endsWith('\n"""\n\nSo?'));
    assert.not.match(content, /\uFFFD/);
    fork.close();
  }
  session.recall({ first: entry!.first, end: entry!.first + 4 });
  const error = await session.complete(session.messages, { maxTokens: 0 }).catch((reason: ThimbleError) => reason);
  assert.equal([(error as ThimbleError).code, (error as ThimbleError).subject], ["invalid_option", "recall"]);
  const raw = await session.complete({ text: "And" }, { temperature: 0, maxTokens: 0 });
  assert.equal(raw.promptIds.slice(-5), [
    ...session.tokens.slice(entry!.first, entry!.first + 4),
    ...model.tokenize("And"),
  ]);
});

test("a capsule whose recalls make no sense is malformed", async () => {
  await using model = await openRandom(SMALL_SHAPE, WEIGHTS, { contextLength: 224 });
  const { tokenSession } = await forgetful(model);
  const pin = { first: 40, end: 300 };
  for (const [recalls, expected] of [
    [{ asked: [pin], made: [{ ...pin, turn: 1, at: 300 }] }, "none"],
    [{ asked: [{ first: 40, end: 301 }], made: [] }, "capsule_malformed"],
    [{ asked: [{ first: 40, end: 40 }], made: [] }, "capsule_malformed"],
    [{ asked: [], made: [{ ...pin, turn: -1, at: 300 }] }, "capsule_malformed"],
    [{ asked: [], made: [pin] }, "capsule_malformed"],
    [{ asked: [] }, "capsule_malformed"],
    [[], "capsule_malformed"],
  ] as const) {
    const conversation = { messages: [], pending: undefined, recalls: recalls as RecallState };
    const bytes = await bytesOf(saveCapsule(subject(model), tokenSession, conversation));
    assert.is(await code(() => model.restore(bytes)), expected, JSON.stringify(recalls));
  }
});

test.run();
