/**
 * The plan made from the header equals the arena, byte for byte, whatever the sizes and the forms of keys and values; and
 * memory never grows beyond it.
 */
import { readdirSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Observed } from "../../assembly/memory/status.ts";
import { describeModel } from "../../host/architecture.ts";
import { ENGINE_BYTES, planMemory, type RunSizes, regionBytes } from "../../host/budget.ts";
import { cachePages } from "../../host/cache-pages.ts";
import { readKeep } from "../../host/keep.ts";
import { agesTwice, type CacheOptions, cacheConfig, KV_FORMS } from "../../host/kv-cache.ts";
import type { LoadOptions } from "../../host/load-engine.ts";
import { computeByLayers, goesByLayers } from "../../host/prompt-layers.ts";
import { DEFAULT_MODEL, load, platform, randomIds } from "../model/load.ts";

const FOLDER = "test/golden/architectures";
const MODELS = [DEFAULT_MODEL, `${FOLDER}/llama.f32.gguf`, `${FOLDER}/llama.q8_0.gguf`];
/** One of every family, for what its own tensors, tables and windows take. */
const FAMILIES = readdirSync(FOLDER)
  .filter((name) => name.endsWith(".f32.gguf"))
  .sort()
  .map((name) => `${FOLDER}/${name}`);

const ACTIVATIONS = ["int8", "f32"] as const;
/** Context length, chunk, rows with outputs. */
type Size = readonly [number, number, number];
const SIZES: readonly Size[] = [
  [256, 64, 8],
  [33, 1, 1],
  [100, 130, 130],
];
/** Contexts that are longer than what sliding windows keep. */
const FAMILY_SIZES: readonly Size[] = [
  [250, 64, 8],
  [200, 1, 1],
  [150, 130, 130],
];

/** Every pair of forms, each with another group, window and number of first tokens. */
const CACHES: readonly CacheOptions[] = KV_FORMS.flatMap((keys, i) =>
  KV_FORMS.map((values, j) => ({
    keys,
    values,
    kvGroup: (i + j) % 2 === 0 ? 64 : 32,
    kvWindow: [64, 32, 96][(i + 2 * j) % 3]!,
    kvSinks: [32, 0, 64][(2 * i + j) % 3]!,
  })),
);
/** What pages keep beside codes, alone and together. */
const FORMATS: readonly CacheOptions[] = [
  { keys: "q4", values: "q3", kvFormat: "mean" },
  { keys: "q4", values: "q4", kvFormat: "outliers:3", kvGroup: 32 },
  { keys: "q8", values: "q4", kvFormat: "factors,mean" },
  { keys: "q3", values: "f32", kvFormat: "salient:5" },
  { keys: "q3", values: "q3", kvFormat: "channels,outliers:1,factors,salient:2" },
  { keys: "q4", values: "q4", kvFormat: "mean,outliers:8,factors,salient:8", kvGroup: 32 },
  { keys: "q8", values: "q4", kvFormat: "planes:0.1,salient:1" },
  { keys: "q8", values: "q8", kvFormat: "planes:1" },
  { keys: "q4", values: "q3", kvFormat: "heads:0.0" },
  { keys: "q3", values: "f32", kvFormat: "heads:0.0/1.0,channels" },
  { keys: "q8", values: "q8", kvFormat: "heads:1.0" },
  { keys: "q8", values: "f32", kvFormat: "channels" },
];
/** Groups, windows and first tokens of one pair of forms: every combination. */
const WINDOWS: readonly CacheOptions[] = [32, 64].flatMap((kvGroup) =>
  [32, 64, 192].flatMap((kvWindow) =>
    [0, 32, 96].map((kvSinks) => ({ keys: "q4", values: "q3", kvGroup, kvWindow, kvSinks }) as const),
  ),
);

/** Policies: pages with positions, regions for scores, and for queries where the policy looks at them. */
const CHOOSING: readonly CacheOptions[] = [
  { policy: "key-norm" },
  { policy: "tova", keys: "q4", values: "q3" },
  { policy: "snapkv:window=33", keys: "f32", values: "f32" },
  { policy: "criticalkv:window=5" },
  { policy: "simlayerkv" },
  { policy: "expected-attention:covariance=0", keys: "f32", values: "f32" },
  { policy: "criticalkv-expected", keys: "q4", values: "q4" },
  { policy: "observed-attention" },
  { policy: "compactor:sketch=20,chunk=40" },
  { policy: "leverage" },
  { policy: "kvzip", keys: "q4", values: "q4" },
];

async function check(path: string, activations: (typeof ACTIVATIONS)[number], size: Size, options: CacheOptions) {
  const [contextLength, chunk, maxOutputs] = size;
  const model = await load(path, { contextLength, chunk, maxOutputs, activations, ...options });
  const { exports } = model.engine.runtime;
  const cache = cacheConfig(options, activations === "f32" ? "f32" : "q8");
  const sizes: RunSizes = { contextLength, maxRows: chunk, maxOutputs, cache };
  const architecture = describeModel(model.header, { contextLength });
  const plan = planMemory(model.header, architecture, activations, sizes);
  assert.equal(plan, model.stats.plan);
  const loaded = exports.arenaBytes();
  const base = loaded - plan.weights - plan.runState;
  assert.ok(base > 1024 && base <= ENGINE_BYTES, `engine record and static data take ${base} bytes`);

  const session = model.engine.openSession();
  assert.is(exports.arenaBytes() - loaded, plan.session, "a session's region");
  assert.ok(plan.own + plan.journal < plan.session, "own pages and journal are parts of it");
  const pages = exports.sessionPagesNeeded(session, contextLength);
  const widePages = exports.sessionPagesNeeded(session, contextLength, true);
  assert.is(pages * plan.page + widePages * plan.widePage, plan.context, "pages of a full context");
  // A page comes from the pool when it closes; where it ages twice, only when it is no longer recent.
  const { nLayers, nKvHeads, layers } = model.config;
  const held = agesTwice(cache) ? cache.recentPages + cache.sinkPages : 0;
  assert.is(exports.sessionPagesNeeded(session, 31 + 32 * held), 0, "nothing closes, or all that closes is its own");
  if (32 * (held + 1) <= contextLength && layers.every(({ window }) => window === 0 || window > 32 * (held + 1))) {
    const first = exports.sessionPagesNeeded(session, 32 * (held + 1));
    const wide = exports.sessionPagesNeeded(session, 32 * (held + 1), true);
    assert.is(wide, agesTwice(cache) ? cache.wideHeads.length : 0, "of heads that keep 8 bits");
    assert.is(first + wide, nLayers * nKvHeads, "the first page of every head");
    assert.is(first * plan.page + wide * plan.widePage, 32 * plan.perToken);
  }
  const all = Math.max(0, Math.floor(contextLength / 32) - held) * 32 * plan.perToken;
  const hasWindows = layers.some(({ window }) => window > 0 && window + 94 < contextLength - 32 * held);
  assert.ok(hasWindows ? plan.context < all : plan.context <= all, `${plan.context} of ${all} bytes`);
  if (layers.every(({ window }) => window === 0)) assert.is(plan.context, all);

  exports.poolReserve(pages);
  exports.poolReserve(widePages, true);
  const grown = exports.arenaBytes() - loaded - plan.session;
  const slabs = [pages * plan.page, widePages * plan.widePage].filter((bytes) => bytes > 0);
  assert.is(
    grown,
    slabs.map(regionBytes).reduce((sum, bytes) => sum + bytes, 0),
    `${pages} and ${widePages} pages`,
  );
  if (cache.policy !== undefined) {
    // A prompt's end: the fork that repeats it, and pages to move what stays into.
    if (cache.policy.observed === Observed.LARGEST) model.engine.openSession();
    exports.poolReserve(pages + exports.promptPages(session));
  }
  const { byteLength } = exports.memory.buffer;
  assert.ok(byteLength - exports.arenaBytes() < 65536, "memory ends in the arena's last 64 KiB");
  assert.ok(byteLength <= plan.total, `${byteLength} bytes of memory, ${plan.total} planned`);
  assert.ok(plan.total - byteLength <= 2 * 65536 + 2 * (contextLength / 32 + 1) * 128, "and not much less");
  assert.is(plan.total % 65536, 0);
  await model.close();
}

for (const path of MODELS) {
  for (const activations of ACTIVATIONS) {
    for (const size of SIZES) {
      const name = `${path}, ${activations}, context ${size[0]}, chunk ${size[1]}`;
      test(`${name}, defaults`, () => check(path, activations, size, {}));
    }
  }
}
for (const [i, path] of FAMILIES.entries()) {
  test(`${path}, every form`, async () => {
    for (const [j, cache] of CACHES.entries())
      await check(path, ACTIVATIONS[i % 2]!, FAMILY_SIZES[(i + j) % 3]!, cache);
  });
}
for (const path of [DEFAULT_MODEL, `${FOLDER}/phi3.f32.gguf`, `${FOLDER}/gemma3.f32.gguf`]) {
  test(`${path}, what pages keep beside codes`, async () => {
    for (const [i, cache] of FORMATS.entries()) await check(path, "int8", FAMILY_SIZES[i % 3]!, cache);
  });
}
for (const path of [DEFAULT_MODEL, `${FOLDER}/mistral-swa.f32.gguf`, `${FOLDER}/gemma3.f32.gguf`]) {
  test(`${path}, every group, window and number of first tokens`, async () => {
    for (const cache of WINDOWS) await check(path, "int8", FAMILY_SIZES[0]!, cache);
  });
}

test("with a policy: positions in pages, regions for scores and queries", async () => {
  for (const path of [DEFAULT_MODEL, `${FOLDER}/gemma3.f32.gguf`]) {
    for (const cache of CHOOSING) await check(path, "int8", FAMILY_SIZES[0]!, cache);
  }
});

test("prompts layer by layer: the rows of one, and at the worst what stays twice and a layer of a full context", async () => {
  const stop = { overflow: "stop", maxPages: 8 } as const;
  const done = { host: platform, check: () => {} };
  for (const [path, policy, forms, keep] of [
    [DEFAULT_MODEL, "key-diff", { keys: "q8", values: "q8" }, { slots: 64 }],
    [DEFAULT_MODEL, "adakv:window=16", { keys: "f32", values: "f32" }, { ratio: 0.7 }],
    [DEFAULT_MODEL, "pyramidkv:window=8,beta=4", { keys: "q4", values: "q3", kvWindow: 32 }, { ratio: 0.5 }],
    [`${FOLDER}/gemma3.f32.gguf`, "key-norm", { keys: "f32", values: "q8" }, { slots: 40 }],
  ] as const) {
    const contextLength = 256;
    const options = { contextLength, chunk: 32, maxOutputs: 1, ...forms, policy, keep, prompts: "layers" } as const;
    const model = await load(path, options);
    const { engine, config } = model;
    const { exports } = engine.runtime;
    const cache = cacheConfig(options);
    const kept = readKeep(keep, cache, config);
    const sizes = { contextLength, maxRows: 32, maxOutputs: 1, cache, keep: kept, prompts: "layers" } as const;
    const plan = planMemory(model.header, describeModel(model.header, { contextLength }), "int8", sizes);
    assert.equal(plan, model.stats.plan);
    assert.is(plan.stream, contextLength * config.hiddenDim * 4);
    const base = exports.arenaBytes() - plan.weights - plan.runState;
    assert.ok(base > 1024 && base <= ENGINE_BYTES, `engine record and static data take ${base} bytes`);
    let session = engine.openSession();
    const ids = randomIds(2 * contextLength, config.vocabSize, 4);
    for (let turn = 0, from = 0; turn < 3; ++turn) {
      const rows = contextLength - exports.sessionSlots(session);
      const rule = { keep: kept, sinks: 0, window: 0 };
      assert.ok(goesByLayers(engine, session, rule, rows, stop));
      const fork = engine.forkSession(session);
      await computeByLayers(engine, fork, ids.slice(0, from + rows), from, rule, done);
      exports.sessionClose(session);
      session = fork;
      from += rows;
      assert.ok(exports.sessionPages(session) * plan.page <= plan.held, `${exports.sessionPages(session)} pages stay`);
    }
    const { byteLength } = exports.memory.buffer;
    assert.ok(byteLength <= plan.total, `${byteLength} bytes of memory, ${plan.total} planned`);
    const slack = plan.held / config.nLayers + config.nLayers * 4 * 128 + config.nLayers * config.nKvHeads * plan.page;
    assert.ok(
      plan.total - exports.arenaBytes() <= 65_536 + 4096 + slack,
      `${plan.total - exports.arenaBytes()} bytes more`,
    );
    await model.close();
  }
});

test("the base is the same for all models, and less than planned in every build", async () => {
  const bases = new Set<number>();
  for (const path of [...MODELS, ...FAMILIES]) {
    const { engine, stats } = await load(path);
    bases.add(engine.runtime.exports.arenaBytes() - stats.plan.weights - stats.plan.runState);
  }
  assert.is(bases.size, 1);
  const builds: LoadOptions[] = [{ variant: "relaxed" }, { threads: 2 }, { threads: 2, variant: "relaxed" }];
  for (const options of builds) {
    const model = await load(`${FOLDER}/llama.f32.gguf`, options).catch((error) => {
      if (error.code === "unsupported_runtime") return undefined;
      throw error;
    });
    if (model === undefined) continue;
    const { engine, stats } = model;
    const base = engine.runtime.exports.arenaBytes() - stats.plan.weights - stats.plan.runState;
    assert.ok(base <= ENGINE_BYTES, `${base} bytes on ${platform.name} with ${JSON.stringify(options)}`);
    await model.close();
  }
});

test("pages ahead of a session are counted in what a context takes", async () => {
  const model = await load(DEFAULT_MODEL, { contextLength: 512, keys: "q4", values: "q4" });
  const cache = cacheConfig({ keys: "q4", values: "q4" });
  assert.is(cachePages(model.config, cache, 512).aged * model.stats.plan.page, model.stats.plan.context);
  assert.equal(
    cachePages(model.config, cache, 127),
    { aged: 0, wide: 0 },
    "window, first and open page hold 127 tokens",
  );
});

test.run();
