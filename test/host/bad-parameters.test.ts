/**
 * What can be asked wrongly of forgetting, and what each error says: a code, what it is about, and what to do. All of it is
 * said before a token is computed, and what could be used before can be used after it.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ThimbleError } from "../../host/errors.ts";
import { writeFilters } from "../../host/filters.ts";
import type { LoadOptions } from "../../host/load-engine.ts";
import type { Model } from "../../host/model.ts";
import { planHeader } from "../../host/plan.ts";
import type { SessionOptions } from "../../host/token-turn.ts";
import { DEFAULT_MODEL, load, randomIds } from "../model/load.ts";
import { openRandom, randomWeights } from "../model/random-llama.ts";
import type { DecoderShape } from "../oracle/decoder.ts";

const test = suite("bad parameters of forgetting");

const CONTEXT = 192;

async function errorOf(run: () => unknown): Promise<ThimbleError> {
  try {
    await run();
  } catch (error) {
    assert.instance(error, ThimbleError, String(error));
    return error as ThimbleError;
  }
  throw new Error("nothing was thrown");
}

/** Code, what it is about, and what to do. */
async function refused(run: () => unknown, code: string, subject: string | undefined, advice: RegExp): Promise<void> {
  const error = await errorOf(run);
  assert.equal([error.code, error.subject], [code, subject], error.message);
  assert.match(error.message, advice);
}

const open = (options: LoadOptions) => load(DEFAULT_MODEL, { contextLength: CONTEXT, ...options });

/** Loads that must not come to be. */
const refusedLoad = (options: unknown, code: string, subject: string, advice: RegExp) =>
  refused(async () => (await open(options as LoadOptions)).close(), code, subject, advice);

test("a policy that there is not, or with parameters that it has not: what there is instead", async () => {
  const listed = /there are streaming, .*, lagkv$/;
  for (const policy of ["snap", "", "toString", 7, null])
    await refusedLoad({ policy }, "invalid_option", "policy", listed);
  const own = /its parameters are kernel, window$/;
  for (const piece of ["windw=3", "window", "window=", "beta=20", ""]) {
    await refusedLoad({ policy: `snapkv:${piece}` }, "invalid_option", "policy", own);
  }
  await refusedLoad({ policy: "tova:window=1" }, "invalid_option", "policy", /its parameters are none$/);
  const range = /^window of snapkv is .*; it must be an integer from 1 to 1024$/;
  for (const value of ["0", "1025", "1.5", "x", " ", "-1"]) {
    await refusedLoad({ policy: `snapkv:window=${value}` }, "invalid_option", "policy", range);
  }
  await refusedLoad({ policy: "adakv:safeguard=2" }, "invalid_option", "policy", /must be a number from 0 to 1$/);
  const together = /a policy moves single slots/;
  await refusedLoad({ policy: "tova", keys: "q4", kvFormat: "channels" }, "invalid_option", "kvFormat", together);
  await using model = await open({});
  const plan = () => planHeader(model.header, { policy: "snap" });
  await refused(plan, "invalid_option", "policy", listed);
});

test("filters and head scores that are missing, not asked for, or of another model: which command makes them", async () => {
  await refusedLoad(
    { policy: "q-filter" },
    "invalid_option",
    "filters",
    /needs filters .*; thimble calibrate makes them$/,
  );
  for (const policy of ["tova", undefined]) {
    await refusedLoad(
      { policy, filters: new Uint8Array(8) },
      "invalid_option",
      "filters",
      /are for the policy q-filter$/,
    );
  }
  const file = /must be the bytes of a file that thimble calibrate made, a Uint8Array$/;
  await refusedLoad({ policy: "q-filter", filters: "a.filters" }, "invalid_option", "filters", file);
  const make = /; make them (for this one )?with thimble calibrate$/;
  const none = await errorOf(() => open({ policy: "q-filter", filters: new Uint8Array(100) }));
  assert.is(none.code, "calibration_malformed");
  assert.match(none.message, make);
  await using model = await open({});
  const { nLayers, nKvHeads, keyDim } = model.config;
  const values = new Float32Array(nLayers * nKvHeads * keyDim);
  const foreign = await writeFilters({ model: new Uint8Array(32), values }, model.config);
  const other = await errorOf(() => open({ policy: "q-filter", filters: foreign }));
  assert.is(other.code, "calibration_mismatch");
  assert.match(other.message, make);
  const needs = /give headScores, from thimble calibrate-heads$/;
  for (const policy of ["duo-attention", "razor"]) await refusedLoad({ policy }, "invalid_option", "headScores", needs);
  const takes = /^headScores are for the policies duo-attention and razor$/;
  await refusedLoad({ policy: "tova", headScores: "{}" }, "invalid_option", "headScores", takes);
});

/** Options of sessions that must not come to be. */
async function refusedSessions(
  model: Model,
  wrong: readonly (readonly [options: unknown, subject: string, advice: RegExp])[],
): Promise<void> {
  const before = model.engine.runtime.exports.poolFreePages();
  for (const [options, subject, advice] of wrong) {
    await refused(() => model.session(options as SessionOptions), "invalid_option", subject, advice);
  }
  assert.is(model.engine.runtime.exports.poolFreePages(), before);
  const { completionIds } = await model.session().complete({ ids: [1, 2, 3] }, { maxTokens: 2, ignoreEos: true });
  assert.is(completionIds.length, 2, "a session can be opened all the same");
}

test("keep: what it may be; and budgets below first and newest tokens and the open page, with what they need", async () => {
  await using model = await open({ policy: "key-diff" });
  const one = /^keep is one of \{ ratio \}, the share that goes, \{ slots \} .* and \{ bytes \}/;
  const share = /it is the share that goes: a number from 0 on, below 1$/;
  const whole = /^keep leaves .* tokens a KV head; it must be an integer from 1 on$/;
  const room = (n: number) =>
    new RegExp(`sinks, window and a page of 32 are ${n} tokens: keep more, or protect fewer$`);
  await refusedSessions(model, [
    ...[{}, null, 0.5, "half", { share: 0.5 }, { ratio: 0.5, slots: 160 }, { ratio: undefined }].map(
      (keep) => [{ keep }, "keep", one] as const,
    ),
    ...[1, -0.1, Number.NaN, "0.5"].map((ratio) => [{ keep: { ratio } }, "keep", share] as const),
    ...[127, 100].map((slots) => [{ keep: { slots } }, "keep", room(128)] as const),
    ...[0, -1, 150.5, Number.NaN, "160"].map((slots) => [{ keep: { slots } }, "keep", whole] as const),
    [{ keep: { slots: 160 }, sinks: 64, window: 65 }, "keep", room(161)],
    [{ keep: { bytes: 1000 } }, "keep", whole],
    ...[0, 0.5, -1, Number.NaN, "1MB", 2 ** 33].map(
      (bytes) => [{ keep: { bytes } }, "keep.bytes", /must be an integer from 1 to 4294967296$/] as const,
    ),
    [{ keep: { ratio: 0.5 }, sinks: -1 }, "sinks", /must be an integer from 0 to 192$/],
  ]);
  const { needed, available } = await errorOf(() => model.session({ keep: { slots: 100 } }));
  assert.equal([needed, available], [128, 100]);
  model.session({ keep: { slots: 128 } }).close();
  model.session({ keep: { ratio: undefined, slots: 128 } }).close();
});

test("keep where nothing can choose, or nothing can go", async () => {
  await using plain = await open({});
  await refusedSessions(plain, [
    [{ keep: { ratio: 0.5 } }, "policy", /needs a policy that chooses: load the model with one, as policy: "kvzip"$/],
  ]);
  await using lazy = await open({ policy: "simlayerkv" });
  await refusedSessions(lazy, [[{ keep: { bytes: 2 ** 24 } }, "keep", /; say keep\.slots or keep\.ratio$/]]);
  const shape: DecoderShape = {
    ...{ nLayers: 2, hiddenDim: 64, ffnDim: 96, vocabSize: 40, nHeads: 4, sourceKvHeads: 2, nKvHeads: 2 },
    ...{ keyDim: 16, valueDim: 16, grouping: "key_norm", window: 0 },
  };
  await using driven = await openRandom(shape, randomWeights(shape, 3), { contextLength: 256, policy: "key-norm" });
  await refusedSessions(driven, [[{ keep: { ratio: 0.5 } }, "keep", /no part of a prompt can go; leave keep out$/]]);
  const evicting = driven.session({ overflow: "evict" });
  const turn = () => evicting.complete({ ids: randomIds(20, 40, 1) }, { maxTokens: 1 });
  await refused(turn, "invalid_option", "overflow", /load it with a longer contextLength, or another overflow$/);
  assert.is(evicting.stats.cachedTokens, 0);
});

test("evict: first and newest tokens in pages, and room for two more pages, before a token is computed", async () => {
  await using model = await open({});
  await refusedSessions(model, [
    [{ overflow: "drop" }, "overflow", /must be one of stop, throw, evict$/],
    [{ overflow: "evict", sinks: 33 }, "sinks", /^sinks is 33; it must be a multiple of 32$/],
    [{ overflow: "evict", window: 40 }, "window", /^window is 40; it must be a multiple of 32$/],
    [{ overflow: "evict", window: 1e9 }, "window", /must be an integer from 0 to 192$/],
    [{ overflow: "evict", window: "64" }, "window", /must be an integer from 0 to 192$/],
  ]);
  const advice = /there is room for 192; pin less, keep more, or load the model with a longer contextLength$/;
  const tight = model.session({ overflow: "evict", sinks: 96, window: 64 });
  let computed = 0;
  const turn = () => tight.complete({ ids: [1, 2, 3] }, { maxTokens: 1, onPrefill: () => (computed += 1) });
  await refused(turn, "context_length_exceeded", undefined, advice);
  const pinned = model.session({ overflow: "evict", sinks: 32, window: 64 });
  pinned.pin({ first: 40, end: 110 });
  await refused(
    () => pinned.complete({ ids: [1, 2, 3] }, { maxTokens: 1, onPrefill: () => (computed += 1) }),
    "context_length_exceeded",
    undefined,
    advice,
  );
  assert.equal([computed, tight.stats.cachedTokens, pinned.stats.cachedTokens], [0, 0, 0]);
  pinned.unpin();
  await pinned.complete({ ids: [1, 2, 3] }, { maxTokens: 1 });
});

test.run();
