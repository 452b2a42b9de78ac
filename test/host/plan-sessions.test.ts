/**
 * A budget is kept: what the plan says fits runs to the last token, and memory never grows past it, whatever sessions do.
 */
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { regionBytes } from "../../host/budget.ts";
import type { Engine } from "../../host/engine.ts";
import { ThimbleError } from "../../host/errors.ts";
import type { LoadOptions } from "../../host/load-engine.ts";
import type { Model } from "../../host/model.ts";
import { LADDER } from "../../host/plan.ts";
import type { Session } from "../../host/session.ts";
import { DEFAULT_MODEL, load } from "../model/load.ts";
import { errorOf, MODELS, planOf, WASM_PAGE } from "./planned.ts";

/** Runs `n` tokens on a session; they are any. */
function feed(engine: Engine, session: number, n: number): void {
  const position = engine.runtime.exports.sessionLength(session);
  engine.forward(
    Array.from({ length: n }, (_, i) => ({ session, input: 1 + ((position + i) % 50), position: position + i })),
  );
}

function checkMemory(model: Model, budget: number): void {
  const bytes = model.engine.runtime.memoryBytes();
  assert.ok(bytes <= budget, `${bytes} bytes of memory, ${budget} allowed`);
}

/** The ladder's forms, and two sizes of pages in one pool, either of which may be most of it. */
const CACHES = [
  ...LADDER,
  { keys: "q4", values: "q3", kvWindow: 32, kvFormat: "heads:0.0" },
  { keys: "q3", values: "q3", kvWindow: 32, kvSinks: 0, kvFormat: "heads:0.0/1.0,mean" },
] as const;

test("a session runs to the last token of its context in exactly the planned memory, in any chunks", async () => {
  for (const path of MODELS.slice(1)) {
    for (const forms of CACHES) {
      const options = { ...forms, contextLength: 250, chunk: 33, kvWindow: 32 } as const;
      const budget = (await planOf(path, options)).memory.total;
      await using model = await load(path, { ...options, budget });
      const { engine } = model;
      const { exports } = engine.runtime;
      fc.assert(
        fc.property(
          fc.array(fc.integer({ min: 1, max: 33 }), { minLength: 4, maxLength: 30 }),
          fc.nat(),
          (chunks, cut) => {
            const session = engine.openSession();
            for (const [i, chunk] of chunks.entries()) {
              const length = exports.sessionLength(session);
              if (length > 0 && i === 3) exports.sessionTruncate(session, cut % length);
              if (i === 1) exports.sessionMark(session);
              const room = 250 - exports.sessionLength(session);
              if (room > 0) feed(engine, session, Math.min(chunk, room));
            }
            while (exports.sessionLength(session) < 250) {
              feed(engine, session, Math.min(chunks[0]!, 250 - exports.sessionLength(session)));
            }
            checkMemory(model, budget);
            exports.sessionClose(session);
          },
        ),
        { numRuns: 4 },
      );
    }
  }
});

/** Orders in which sessions come to full contexts: one after the other, all opened first, and in turns. */
const ORDERS = {
  "one after the other": (n: number) => Array.from({ length: n * 8 }, (_, i) => Math.floor(i / 8)),
  "in turns": (n: number) => Array.from({ length: n * 8 }, (_, i) => i % n),
  "the first to its end, then all in turns": (n: number) => [
    ...Array.from({ length: 8 }, () => 0),
    ...Array.from({ length: n * 8 }, (_, i) => i % n),
  ],
};

test("as many sessions as planned come to full contexts within the plan, in any order, and no more is planned", async () => {
  for (const path of MODELS.slice(1)) {
    for (const [i, forms] of CACHES.entries()) {
      for (const [contextLength, sessions] of [
        [250, 3],
        [40, 5],
      ] as const) {
        const options = { ...forms, contextLength, sessions, chunk: 64, kvWindow: 32 };
        const { memory } = await planOf(path, options);
        const budget = memory.total;
        const order = Object.values(ORDERS)[i % 3]!;
        await using model = await load(path, { ...options, budget });
        assert.equal(model.stats.plan, memory);
        const { engine } = model;
        const { exports } = engine.runtime;
        const opened: number[] = [];
        for (const which of order(sessions)) {
          if (which === opened.length) opened.push(engine.openSession());
          const room = contextLength - exports.sessionLength(opened[which]!);
          if (room > 0) feed(engine, opened[which]!, Math.min(room, Math.ceil(contextLength / 8)));
        }
        for (const session of opened) assert.is(exports.sessionLength(session), contextLength);
        checkMemory(model, budget);
        const used = (isWide: boolean) => exports.poolPages(isWide) - exports.poolFreePages(isWide);
        const pages = used(false) * memory.page + used(true) * memory.widePage;
        assert.ok(pages <= sessions * memory.context, "pages of all sessions");
        const spare = budget - engine.runtime.memoryBytes();
        const atMost = 2 * WASM_PAGE + sessions * (contextLength / 32 + 2) * 128 + memory.context;
        assert.ok(spare < atMost, `${spare} bytes were never used`);
      }
    }
  }
});

test("the arena with several sessions is the plan's, to the byte", async () => {
  for (const path of MODELS) {
    for (const sessions of [1, 2, 5]) {
      await using model = await load(path, { contextLength: 250, sessions });
      const { exports } = model.engine.runtime;
      const { plan: memory } = model.stats;
      assert.is(memory.sessions, sessions);
      const loaded = exports.arenaBytes();
      const opened = Array.from({ length: sessions }, () => model.engine.openSession());
      assert.is(exports.arenaBytes() - loaded, sessions * memory.session);
      const pages = opened.reduce((sum, session) => sum + exports.sessionPagesNeeded(session, 250), 0);
      assert.is(pages * memory.page, sessions * memory.context);
      exports.poolReserve(pages);
      assert.is(exports.arenaBytes() - loaded, sessions * memory.session + regionBytes(pages * memory.page));
      const { byteLength } = exports.memory.buffer;
      assert.ok(byteLength <= memory.total, `${byteLength} bytes, ${memory.total} planned`);
      assert.ok(memory.total - byteLength <= 2 * WASM_PAGE + sessions * 10 * 128);
    }
  }
});

test("fits and the largest context count every session", async () => {
  for (const path of MODELS) {
    for (const sessions of [2, 7]) {
      const { memory } = await planOf(path, { sessions });
      const one = await planOf(path);
      const growth = (sessions - 1) * (memory.session + memory.context);
      const added = memory.total - one.memory.total - growth;
      const slabs = sessions * (one.trainedContext / 32 + 2) * 128;
      assert.ok(added > -WASM_PAGE && added < WASM_PAGE + slabs, `${added}`);
      assert.ok((await planOf(path, { sessions, budget: memory.total })).fits);
      assert.not.ok((await planOf(path, { sessions, budget: memory.total - 1 })).fits);
      const budget = memory.total - 3 * WASM_PAGE;
      for (const { keys, values, largestContext } of (await planOf(path, { sessions, budget })).ladder) {
        if (largestContext === one.trainedContext || largestContext === 0) continue;
        const at = async (contextLength: number) =>
          (await planOf(path, { sessions, budget, contextLength, keys, values })).fits;
        assert.ok(await at(largestContext));
        assert.not.ok(await at(largestContext + 1));
      }
      const error = await errorOf(load(path, { sessions, contextLength: 200, keys: "f32", budget: "600kB" }));
      assert.match(
        error.message,
        new RegExp(`${sessions} sessions with a context of 200 tokens .*plan for fewer sessions`),
      );
    }
  }
});

/** One step of a random run: which session, and how many tokens. */
type Step = readonly [kind: "open" | "feed" | "decode" | "fork" | "close" | "cut", which: number, amount: number];

const step: fc.Arbitrary<Step> = fc.tuple(
  fc.constantFrom("open", "feed", "feed", "feed", "decode", "decode", "fork", "close", "cut"),
  fc.nat(),
  fc.integer({ min: 1, max: 64 }),
);

/** Does the steps; an operation without memory must fail as `over_budget` and leave everything as it was. */
function runSteps(model: Model, budget: number, steps: readonly Step[], seen: Set<string>): void {
  const { engine } = model;
  const { exports } = engine.runtime;
  const { contextLength } = model.stats;
  const sessions: number[] = [];
  const state = () => [
    exports.arenaBytes(),
    ...[false, true].flatMap((isWide) => [exports.poolPages(isWide), exports.poolFreePages(isWide)]),
    ...sessions.flatMap((session) => [exports.sessionLength(session), exports.sessionPages(session)]),
  ];
  for (const [kind, which, amount] of steps) {
    const session = sessions[which % Math.max(1, sessions.length)];
    const before = state();
    try {
      if (kind === "open") sessions.push(engine.openSession());
      else if (session === undefined) continue;
      else if (kind === "fork") sessions.push(engine.forkSession(session));
      else if (kind === "close") {
        exports.sessionClose(session);
        sessions.splice(sessions.indexOf(session), 1);
      } else if (kind === "cut") exports.sessionTruncate(session, amount);
      else {
        const n = Math.min(kind === "decode" ? 1 : amount, contextLength - exports.sessionLength(session));
        if (n > 0) feed(engine, session, n);
      }
      seen.add(kind);
    } catch (error) {
      if (!(error instanceof ThimbleError)) throw new Error(`${kind} ${amount} of ${model.name}`, { cause: error });
      const { code, needed, available } = error;
      assert.is(code, "over_budget");
      assert.ok(needed! > available!, `${needed} needed, ${available} available`);
      assert.equal(state(), before, "nothing changed");
      seen.add(`${kind} refused`);
    }
    checkMemory(model, budget);
  }
  for (const session of sessions) exports.sessionClose(session);
}

test("memory stays within the budget through random sessions, forks and refusals", async () => {
  const seen = new Set<string>();
  for (const [i, path] of MODELS.slice(1).entries()) {
    for (const [j, forms] of CACHES.entries()) {
      const options = { ...forms, contextLength: 250, chunk: 64 };
      const { memory } = await planOf(path, options);
      // Room for a second session at times, and never for all of what follows.
      const budget = memory.total + (i + j) * WASM_PAGE + 12_345;
      fc.assert(await property(path, { ...options, budget }, seen), {
        numRuns: 3,
        endOnFailure: true,
        includeErrorInReport: true,
      });
    }
  }
  for (const kind of [
    "open",
    "feed",
    "decode",
    "fork",
    "close",
    "cut",
    "open refused",
    "feed refused",
    "fork refused",
  ]) {
    assert.ok(seen.has(kind), `${kind} did not happen`);
  }
});

/** Runs of one model, one after the other: what the ones before left in the free lists is part of the game. */
async function property(path: string, options: LoadOptions & { budget: number }, seen: Set<string>) {
  const model = await load(path, options);
  return fc.property(fc.array(step, { minLength: 30, maxLength: 60 }), (steps) => {
    runSteps(model, options.budget, steps, seen);
  });
}

test("a region given back serves the next session, and pages do, when there is no more", async () => {
  const options = { contextLength: 200, keys: "q8", values: "q8" } as const;
  const { memory } = await planOf(MODELS[1]!, options);
  await using model = await load(MODELS[1]!, { ...options, budget: memory.total });
  const { engine } = model;
  const { exports } = engine.runtime;
  for (let round = 0; round < 3; ++round) {
    const sessions = [engine.openSession()];
    for (let at = 0; at < 200; at += 50) feed(engine, sessions[0]!, 50);
    let error: unknown;
    while (error === undefined && sessions.length < 1000) {
      try {
        sessions.push(engine.openSession());
      } catch (reason) {
        error = reason;
      }
    }
    assert.instance(error, ThimbleError, `${sessions.length} sessions`);
    assert.is((error as ThimbleError).code, "over_budget");
    assert.match((error as ThimbleError).message, /close sessions/);
    const { length } = sessions;
    for (const session of sessions.splice(0)) exports.sessionClose(session);
    for (let i = 0; i < length; ++i) sessions.push(engine.openSession());
    for (const session of sessions) exports.sessionClose(session);
    checkMemory(model, memory.total);
  }
});

test("turns of a second session end typed in the middle, and both sessions go on as they were", async () => {
  const options = { contextLength: 512, keys: "q4", values: "q4" } as const;
  const { memory } = await planOf(DEFAULT_MODEL, options);
  const budget = memory.total + memory.session + WASM_PAGE;
  await using model = await load(DEFAULT_MODEL, { ...options, budget });
  const ids = Array.from({ length: 500 }, (_, i) => 300 + (i % 200));
  const run = async (session: Session): Promise<string> => {
    const generation = session.generate({ ids }, { maxTokens: 8, temperature: 0, ignoreEos: true });
    let text = "";
    for await (const piece of generation) text += piece;
    return text;
  };
  await using first = model.session();
  const text = await run(first);
  await using second = model.session();
  const error = await errorOf(run(second));
  assert.is(error.code, "over_budget");
  assert.equal([second.tokens.length, first.tokens.length], [0, 508]);
  checkMemory(model, budget);
  first.close();
  assert.is(await run(second), text);
  checkMemory(model, budget);
});

test("threads keep to the budget: their memory is reserved, and counted, within it", async () => {
  const options = { contextLength: 250, threads: 2 } as const;
  const path = MODELS[1]!;
  const { memory } = await planOf(path, { ...options, keys: "q4", values: "q4" });
  await using model = await load(path, { ...options, budget: memory.total });
  const { engine } = model;
  const session = engine.openSession();
  for (let at = 0; at < 250; at += 50) feed(engine, session, 50);
  checkMemory(model, memory.total);
});

test.run();
