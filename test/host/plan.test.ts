/**
 * A budget is kept: what the plan says fits runs to the last token, what it says does not is refused before a weight is
 * read, and memory never grows past it, whatever sessions do.
 */
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openFile } from "../../bindings/node/file-source.ts";
import { describeModel } from "../../host/architecture.ts";
import { ENGINE_BYTES, regionBytes } from "../../host/budget.ts";
import { parseByteSize } from "../../host/byte-size.ts";
import type { Engine } from "../../host/engine.ts";
import { ThimbleError, type ThimbleErrorCode } from "../../host/errors.ts";
import { readHeader } from "../../host/gguf.ts";
import type { GgufHeader } from "../../host/header.ts";
import type { LoadOptions } from "../../host/load-engine.ts";
import type { Model } from "../../host/model.ts";
import { LADDER, type Plan, type PlanOptions, planHeader } from "../../host/plan.ts";
import { plan } from "../../host/plan-source.ts";
import type { Session } from "../../host/session.ts";
import type { ByteSource } from "../../host/source.ts";
import { DEFAULT_MODEL, load } from "../model/load.ts";

const FOLDER = "test/golden/architectures";
const SLIDING = `${FOLDER}/mistral-swa.f32.gguf`;
const MODELS = [DEFAULT_MODEL, `${FOLDER}/llama.f32.gguf`, SLIDING, `${FOLDER}/gemma3.f32.gguf`];
const WASM_PAGE = 65_536;
const CHOICES = LADDER.slice(1);

async function planOf(path: string, options: PlanOptions = {}): Promise<Plan> {
  return plan(await openFile(path), options);
}

async function headerOf(path: string): Promise<GgufHeader> {
  const file = await openFile(path);
  try {
    return await readHeader(file);
  } finally {
    await file.close();
  }
}

function codeOf(action: () => unknown): ThimbleErrorCode | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    assert.instance(error, ThimbleError, String(error));
    return (error as ThimbleError).code;
  }
}

async function errorOf(promise: Promise<unknown>): Promise<ThimbleError> {
  const error = await promise.then(
    () => assert.unreachable("it was not refused"),
    (reason: unknown) => reason,
  );
  assert.instance(error, ThimbleError, String(error));
  return error as ThimbleError;
}

test("amounts are read as people write them", () => {
  const amounts: [number | string, number][] = [
    [1, 1],
    [134_217_728, 134_217_728],
    ["134217728", 134_217_728],
    ["128MB", 128_000_000],
    ["128 MiB", 134_217_728],
    ["128mib", 134_217_728],
    [" 1.5GiB ", 1_610_612_736],
    ["1.15MB", 1_150_000],
    ["0.5KiB", 512],
    ["1.0009kB", 1000],
    ["64kb", 64_000],
    ["7B", 7],
    ["2GB", 2_000_000_000],
    ["999999GiB", 999_999 * 2 ** 30],
  ];
  for (const [given, bytes] of amounts) assert.is(parseByteSize("budget", given), bytes, String(given));
});

test("amounts that mean nothing are refused by name", () => {
  const hostile: unknown[] = [
    ...["", " ", "MB", "128M", "128TB", "-1MB", "+1MB", "1e9", "0x80", "1,5GiB", "1.MB", ".5MB", "1..5MB", "12 8MB"],
    ...[
      "128MB\n128MB",
      "NaN",
      "Infinity",
      "0",
      "0.1B",
      "٣MB",
      "9".repeat(17),
      `${"9".repeat(100_000)}MB`,
      "9999999999999999GiB",
    ],
    ...[
      "1.0000000001MB",
      "1constructor",
      "1 mb mb",
      "__proto__",
      0,
      -1,
      1.5,
      Number.NaN,
      Number.POSITIVE_INFINITY,
      2 ** 53,
    ],
    ...[
      null,
      true,
      10n,
      [],
      [128],
      {},
      { valueOf: () => 5 },
      { toString: null },
      Object.create(null),
      Symbol("MB"),
      () => 5,
    ],
  ];
  for (const size of hostile) {
    try {
      parseByteSize("budget", size);
    } catch (error) {
      assert.instance(error, ThimbleError, String(error));
      const { code, subject, message } = error as ThimbleError;
      assert.equal([code, subject], ["invalid_option", "budget"]);
      assert.ok(message.length < 200, message);
      continue;
    }
    assert.unreachable(`taken: ${String(typeof size === "object" ? "object" : size).slice(0, 50)}`);
  }
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.anything()), (size) => {
      const code = codeOf(() => parseByteSize("budget", size));
      assert.ok(code === undefined || code === "invalid_option");
    }),
    { numRuns: 500 },
  );
});

test("hostile options are refused before anything is computed", async () => {
  const hostile: Record<string, unknown>[] = [
    ...[{ budget: "lots" }, { budget: 0 }, { budget: null }, { contextLength: 0 }, { contextLength: 1e9 }],
    ...[{ contextLength: "8" }, { keys: "q5" }, { values: 8 }, { kvWindow: 33 }, { kvWindow: 0 }, { kvSinks: -32 }],
    ...[{ sessions: 0 }, { sessions: 1.5 }, { sessions: "2" }, { sessions: 70_000 }],
    ...[{ kvFormat: "mode" }, { kvFormat: "outliers" }, { kvFormat: "outliers:0" }, { kvFormat: "outliers:9" }],
    ...[{ kvFormat: "salient:1.5" }, { kvFormat: "mean:2" }, { kvFormat: "mean,mean" }, { kvFormat: "mean," }],
    ...[{ kvFormat: "channels,mean" }, { kvFormat: "planes:2" }, { kvFormat: "planes:1e-3" }, { kvFormat: 4 }],
    ...[
      ...[{ kvFormat: "heads" }, { kvFormat: "heads:" }, { kvFormat: "heads:1" }, { kvFormat: "heads:0.0/0.0" }],
      ...[
        { kvFormat: "heads:0.53", keys: "q4" },
        { kvFormat: "heads:99.0", keys: "q4" },
        { kvFormat: "heads:0.50", keys: "q4" },
      ],
      { kvFormat: "toString" },
      { kvFormat: "salient:1:1" },
      { kvFormat: "factors", keys: "q4", policy: "key-norm", values: "q4" },
    ],
    ...[{ kvGroup: 48 }, { chunk: 5000 }, { maxOutputs: 65 }, { threads: 0 }, { activations: "f16" }],
  ];
  for (const options of hostile) {
    const line = JSON.stringify(options);
    assert.is((await errorOf(planOf(DEFAULT_MODEL, options))).code, "invalid_option", line);
    assert.is((await errorOf(load(DEFAULT_MODEL, options as LoadOptions))).code, "invalid_option", line);
  }
});

test("the plan's parts are the model's, and add up", async () => {
  for (const path of MODELS) {
    for (const options of [{}, { keys: "q4", values: "q3", kvWindow: 32, chunk: 7 }, { activations: "f32" }] as const) {
      const planned = await planOf(path, options);
      await using model = await load(path, options);
      assert.equal(planned.memory, model.stats.plan);
      assert.equal([planned.keys, planned.values], [model.stats.keys, model.stats.values]);
      assert.is(planned.budget, undefined);
      const { total, weights, runState, session, context, own, journal } = planned.memory;
      const sum = planned.engine + weights + runState + session + context;
      assert.ok(total >= sum && total < sum + WASM_PAGE + planned.contextLength * 4 + 256, `${total} for ${sum}`);
      assert.ok(own + journal < session);
    }
  }
  assert.is((await planOf(DEFAULT_MODEL)).engine, ENGINE_BYTES);
});

test("fits is exact to the 64 KiB that memory grows by, and the largest context to the token", async () => {
  for (const path of MODELS) {
    const free = await planOf(path);
    for (const [i, forms] of LADDER.entries()) {
      const { total } = free.ladder[i]!;
      for (const [budget, fits] of [
        [total, true],
        [total + 1, true],
        [total - 1, false],
      ] as const) {
        const { ladder, fits: own } = await planOf(path, { budget, ...forms });
        assert.is(ladder[i]!.fits, fits, `${path} ${forms.keys} ${forms.values} ${budget - total}`);
        assert.is(own, fits);
      }
      const budget = total - (i + 1) * WASM_PAGE;
      const { largestContext } = (await planOf(path, { budget, ...forms })).ladder[i]!;
      const at = async (contextLength: number) => (await planOf(path, { budget, contextLength, ...forms })).fits;
      assert.ok(largestContext < free.trainedContext);
      if (largestContext > 0) assert.ok(await at(largestContext));
      assert.not.ok(await at(largestContext + 1));
    }
  }
});

test("the ladder goes from f32 to q3, each rung smaller a token, and the first that fits is named", async () => {
  const free = await planOf(DEFAULT_MODEL);
  assert.equal(
    free.ladder.map(({ keys, values }) => `${keys} ${values}`),
    ["f32 f32", "q8 q8", "q8 q4", "q4 q4", "q3 q3"],
  );
  const perToken = free.ladder.map((rung) => rung.perToken);
  assert.equal(
    perToken,
    [...perToken].sort((a, b) => b - a),
  );
  assert.is(new Set(perToken).size, 5);
  assert.is(free.firstFit, free.ladder[0], "without a budget, up to 4 GiB");
  for (const [i, { keys, values, total }] of free.ladder.entries()) {
    const { firstFit, load: loads, ladder } = await planOf(DEFAULT_MODEL, { budget: total });
    assert.is(firstFit, ladder[i]);
    const chosen = i === 0 ? free.ladder[1]! : { keys, values };
    assert.equal([loads?.keys, loads?.values, loads?.contextLength], [chosen.keys, chosen.values, 8192]);
  }
});

test("without a budget, memory ends below 4 GiB", async () => {
  const header = await headerOf(DEFAULT_MODEL);
  const endless = { ...header, metadata: { ...header.metadata, "llama.context_length": 1 << 22 } };
  for (const budget of [undefined, "4GiB", "64GiB"] as const) {
    const {
      available,
      fits,
      largestContext,
      load: loads,
    } = planHeader(endless, budget === undefined ? {} : { budget });
    assert.is(available, 2 ** 32 - WASM_PAGE);
    assert.not.ok(fits);
    assert.ok(largestContext > 1_900_000 && largestContext < 2_100_000, String(largestContext));
    assert.equal([loads?.keys, loads?.contextLength], budget === undefined ? ["q8", 1 << 22] : ["q3", 1 << 22]);
  }
});

test("a load does what the plan says: forms, then context, visible in the stats", async () => {
  for (const path of MODELS) {
    const { ladder, trainedContext } = await planOf(path);
    const least = (await planOf(path, { contextLength: 32, keys: "q3", values: "q3" })).memory.total;
    for (const budget of [...ladder.map(({ total }) => total), least, least + WASM_PAGE]) {
      const { load: loads } = await planOf(path, { budget });
      await using model = await load(path, { budget });
      const { keys, values, contextLength, prompts, plan: memory, budget: kept } = model.stats;
      const peaks = { chunks: memory.total, layers: undefined };
      assert.equal({ keys, values, prompts, peaks, contextLength, memory }, loads);
      assert.is(kept, budget);
      assert.ok(memory.total <= budget);
      if (contextLength < trainedContext) {
        const longest = CHOICES.map((forms) => planOf(path, { budget, ...forms }).then((p) => p.largestContext));
        assert.is(contextLength, Math.max(...(await Promise.all(longest))));
      }
    }
  }
});

test("what was asked for by name is not changed, but refused", async () => {
  const { memory } = await planOf(DEFAULT_MODEL, { contextLength: 1000, keys: "q8", values: "q8" });
  const budget = memory.total - WASM_PAGE;
  await using smaller = await load(DEFAULT_MODEL, { budget, contextLength: 1000 });
  assert.equal([smaller.stats.keys, smaller.stats.values, smaller.stats.contextLength], ["q8", "q4", 1000]);
  await using shorter = await load(DEFAULT_MODEL, { budget, keys: "q8" });
  assert.equal([shorter.stats.keys, shorter.stats.values], ["q8", "q8"]);
  assert.ok(shorter.stats.contextLength < 1000 && shorter.stats.contextLength > 900);
  const error = await errorOf(load(DEFAULT_MODEL, { budget, contextLength: 1000, keys: "q8", values: "q8" }));
  assert.equal([error.code, error.subject, error.needed], ["over_budget", "budget", memory.total]);
  assert.is(error.available, budget);
  assert.match(error.message, new RegExp(`at most ${shorter.stats.contextLength} tokens`));
});

test("a model that does not fit is refused before any weight is read; with what it needed, it runs", async () => {
  for (const path of MODELS) {
    for (const options of [{}, { contextLength: 100 }, { keys: "f32", values: "f32" }] as const) {
      const file = await openFile(path);
      const header = await readHeader(file);
      let last = 0;
      const counted: ByteSource = {
        ...file,
        read(target, offset, signal) {
          last = Math.max(last, offset);
          return file.read(target, offset, signal);
        },
      };
      const error = await errorOf(load(counted, { ...options, budget: "100kB" }));
      assert.is(error.code, "over_budget");
      assert.is(error.available, WASM_PAGE);
      assert.ok(last < header.dataOffset, `read at ${last}`);
      await using model = await load(path, { ...options, budget: error.needed! });
      assert.ok(model.stats.contextLength >= 32);
      assert.is((await errorOf(load(path, { ...options, budget: error.needed! - 1 }))).code, "over_budget");
    }
  }
});

test("the context that a budget makes decides between LongRoPE factors", async () => {
  const path = `${FOLDER}/phi3-longrope.f32.gguf`;
  const header = await headerOf(path);
  const original = Number(header.metadata["phi3.rope.scaling.original_context_length"]);
  // Of all chunks, the one that leaves least of the 64 KiB that memory is rounded to.
  const forms = { keys: "f32", values: "f32" } as const;
  let options: LoadOptions = {};
  let shortest = Number.POSITIVE_INFINITY;
  for (let chunk = 1; chunk <= 200; ++chunk) {
    const budget = planHeader(header, { ...forms, chunk, contextLength: 32 }).memory.total;
    const contextLength = planHeader(header, { ...forms, chunk, budget }).load!.contextLength;
    if (contextLength >= shortest) continue;
    shortest = contextLength;
    options = { ...forms, chunk, budget };
  }
  const { trainedContext } = describeModel(header).config;
  await using model = await load(path, options);
  const { contextLength } = model.stats;
  assert.ok(contextLength <= original && original < trainedContext, `${contextLength} of ${original}`);
  assert.equal(model.config.ropes, describeModel(header, { contextLength }).config.ropes);
  assert.not.equal(model.config.ropes, describeModel(header).config.ropes);
});

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
