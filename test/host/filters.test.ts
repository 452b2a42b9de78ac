/** Files of Q-filters of the embedded model: what they are, what they choose, and what is no such file. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { CALIBRATION, calibrate, commonDirection } from "../../host/calibration.ts";
import type { ThimbleError } from "../../host/errors.ts";
import { readFilters, writeFilters } from "../../host/filters.ts";
import type { LoadOptions } from "../../host/load-engine.ts";
import { bells, draws } from "../kernel/values.ts";
import { DEFAULT_MODEL, load, randomIds } from "../model/load.ts";
import { firstEigenvector64 } from "../oracle/eigenvectors.ts";

const OTHER = "test/golden/architectures/llama.q8_0.gguf";
const TEXTS = [randomIds(150, 4000, 3), randomIds(70, 4000, 4)];

const calibrated = async (path = DEFAULT_MODEL, texts = TEXTS, options: LoadOptions = {}) => {
  await using model = await load(path, { ...CALIBRATION, contextLength: 192, ...options });
  const ids = texts.map((text) => text.map((id) => id % model.config.vocabSize));
  return calibrate(model, ids);
};

const open = (filters: Uint8Array | undefined, options: LoadOptions = {}) =>
  load(DEFAULT_MODEL, { contextLength: 256, policy: "q-filter", ...(filters && { filters }), ...options });

async function refusal(run: () => Promise<unknown>): Promise<readonly [code: string, subject: string | undefined]> {
  try {
    await run();
    return ["none", undefined];
  } catch (error) {
    return [(error as ThimbleError).code, (error as ThimbleError).subject];
  }
}

const FILTERS = await calibrated();

test("the direction that vectors have in common: the first eigenvector, towards their sum", () => {
  const draw = draws(61);
  for (const n of [2, 8, 48]) {
    const rows = Array.from({ length: 40 }, () => Array.from(bells(n, draw), (x, d) => x + (d === 1 ? -2 : 0)));
    const sum = new Float64Array(n);
    const products = new Float64Array(n * n);
    for (const row of rows) {
      for (let i = 0; i < n; ++i) {
        sum[i] = sum[i]! + row[i]!;
        for (let j = 0; j <= i; ++j) products[i * n + j] = products[i * n + j]! + row[i]! * row[j]!;
      }
    }
    const matrix = rows[0]!.map((_, i) => rows[0]!.map((__, j) => products[Math.max(i, j) * n + Math.min(i, j)]!));
    const expected = firstEigenvector64(matrix);
    const sign = Math.sign(expected.reduce((dot, x, d) => dot + x * sum[d]!, 0));
    const actual = commonDirection({ sum, products });
    for (const [d, x] of expected.entries()) assert.ok(Math.abs(actual[d]! - sign * x) < 1e-9, `${n}, ${d}`);
  }
  const zero = commonDirection({ sum: new Float64Array(4), products: new Float64Array(16) });
  assert.ok(zero.every(Number.isFinite), "of nothing, something finite");
});

test("the same file for the same texts, however they are computed; another for others", async () => {
  assert.is(FILTERS.length, 64 + 4 * (await sizes()) + 32);
  assert.equal(await calibrated(), FILTERS);
  assert.not.equal(await calibrated(DEFAULT_MODEL, TEXTS.slice(1)), FILTERS);
  assert.equal(await refusal(() => calibrated(DEFAULT_MODEL, [[]])), ["empty_prompt", undefined]);
  assert.equal(await refusal(() => calibrated(DEFAULT_MODEL, [randomIds(193, 4000, 1)])), [
    "context_length_exceeded",
    undefined,
  ]);
  assert.equal(await refusal(() => calibrated(DEFAULT_MODEL, TEXTS, { kvRotation: true })), [
    "invalid_option",
    "policy",
  ]);
});

async function sizes(): Promise<number> {
  await using model = await load(DEFAULT_MODEL, { contextLength: 32 });
  const { nLayers, nKvHeads, keyDim } = model.config;
  return nLayers * nKvHeads * keyDim;
}

test("a session keeps what they choose; other filters choose otherwise", async () => {
  const kept = async (filters: Uint8Array): Promise<string> => {
    await using model = await open(filters);
    const session = model.session({ keep: { ratio: 0.5 } });
    await session.complete({ ids: randomIds(120, 4000, 9) }, { maxTokens: 4, temperature: 0 });
    assert.ok(
      session
        .kept()
        .flat()
        .every(({ length }) => length >= 60),
    );
    return JSON.stringify(session.kept());
  };
  const [first, again] = [await kept(FILTERS), await kept(FILTERS)];
  assert.is(again, first);
  assert.is.not(await kept(await calibrated(DEFAULT_MODEL, [randomIds(30, 4000, 77)])), first);
});

test("the plan has room for them, as much as the engine takes", async () => {
  const [without, filtered] = await Promise.all([
    load(DEFAULT_MODEL, { contextLength: 256, policy: "key-norm" }),
    open(FILTERS),
  ]);
  const planned = filtered.stats.plan.runState - without.stats.plan.runState;
  assert.ok(planned >= 4 * (await sizes()));
  const [taken, before] = [filtered, without].map(({ engine }) => engine.runtime.exports.arenaBytes());
  assert.is(taken! - before!, planned);
});

test("missing, unasked for, cut, changed, of another model: refused by name", async () => {
  assert.equal(await refusal(() => open(undefined)), ["invalid_option", "filters"]);
  assert.equal(await refusal(() => open("text" as unknown as Uint8Array)), ["invalid_option", "filters"]);
  assert.equal(await refusal(() => open(FILTERS, { policy: "tova" })), ["invalid_option", "filters"]);
  const broken = FILTERS.slice();
  for (let at = 0; at < FILTERS.length; at += 1 + (at >> 3)) {
    assert.is((await refusal(() => open(FILTERS.subarray(0, at))))[0], "calibration_malformed", `${at} bytes`);
    broken[at]! ^= 1 << (at % 8);
    const [code] = await refusal(() => open(broken));
    assert.ok(
      code === "calibration_malformed" || (code === "calibration_mismatch" && at >= 12 && at < 24),
      `byte ${at}`,
    );
    broken[at] = FILTERS[at]!;
  }
  assert.is((await refusal(() => open(Uint8Array.from([...FILTERS, 0]))))[0], "calibration_malformed");
  assert.is((await refusal(async () => open(await calibrated(OTHER))))[0], "calibration_mismatch", "other sizes");
  assert.is(
    (await refusal(() => open(FILTERS, { activations: "f32" })))[0],
    "calibration_mismatch",
    "other activations",
  );
});

test("values that are no numbers, and filters of other weights, though their sums are right", async () => {
  await using model = await load(DEFAULT_MODEL, { contextLength: 32 });
  const { model: digest, values } = await readFilters(FILTERS, model.config);
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
    const wrong = values.slice();
    wrong[7] = value;
    const bytes = await writeFilters({ model: digest, values: wrong }, model.config);
    assert.is((await refusal(() => open(bytes)))[0], "calibration_malformed");
  }
  const foreign = await writeFilters({ model: digest.map((byte) => byte ^ 1), values }, model.config);
  assert.is((await refusal(() => open(foreign)))[0], "calibration_mismatch");
});

test.run();
