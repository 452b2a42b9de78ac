/**
 * What a plan says: its parts, what fits, which forms and context a budget makes; what does not fit is refused before a weight is
 * read.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openFile } from "../../bindings/node/file-source.ts";
import { describeModel } from "../../host/architecture.ts";
import { ENGINE_BYTES } from "../../host/budget.ts";
import { readHeader } from "../../host/gguf.ts";
import type { LoadOptions } from "../../host/load-engine.ts";
import { LADDER, planHeader } from "../../host/plan.ts";
import type { ByteSource } from "../../host/source.ts";
import { DEFAULT_MODEL, load } from "../model/load.ts";
import { CHOICES, errorOf, FOLDER, headerOf, MODELS, planOf, WASM_PAGE } from "./planned.ts";

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

test.run();
