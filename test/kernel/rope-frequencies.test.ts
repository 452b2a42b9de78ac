/**
 * RoPE tables against f64 formulas, and against transformers (test/golden/rope/make.py), which computes in f32.
 */
import { readFileSync } from "node:fs";
import * as assert from "uvu/assert";
import {
  interpolation64,
  llama3Divisors64,
  type RopeScaling,
  ropeFrequencies64,
  yarnMagnitude64,
} from "../oracle/rope-scaling.ts";
import { report, UNIT, within } from "./compare.ts";
import { checkedSuite, Instance } from "./instance.ts";
import { createTable, type TableOptions } from "./rope-table.ts";
import { draws } from "./values.ts";

const instance = new Instance();
const test = checkedSuite("rope-frequencies", instance);

const DIMS = [8, 16, 64, 80, 96, 128, 256];
const BASES = [1e4, 1e5, 5e5, 1e6];
const YARNS = [
  { context: 4096, fast: 32, slow: 1 },
  { context: 32768, fast: 32, slow: 1 },
  { context: 8192, fast: 16, slow: 2 },
  { context: 64, fast: 32, slow: 1 },
];

/** The argument of exp64 is at most 14 and rounded twice, its step and its product: 28 units of 2^-53, and a few more. */
const PLAIN = 4e-15;

/** Relative errors below `limit`; gives the largest. */
function check(options: TableOptions, limit: number): number {
  const expected = ropeFrequencies64(options);
  const { divisors, ...named } = options;
  const what = `${JSON.stringify(named)}${divisors === undefined ? "" : " with divisors"}`;
  return limit * within(createTable(instance, options).frequencies.f64, expected, (i) => limit * expected[i]!, what);
}

function eachShape(test: (d: number, base: number) => void): void {
  for (const d of DIMS) {
    for (const base of BASES) {
      test(d, base);
      instance.reset();
    }
  }
}

test("plain: base^(-2 i / d), relative error below 4e-15; the first is exactly 1", () => {
  let worst = 0;
  eachShape((d, base) => {
    worst = Math.max(worst, check({ d, base }, PLAIN));
    const { frequencies, magnitude } = createTable(instance, { d, base });
    assert.is(frequencies.f64[0], 1);
    assert.is(magnitude, 1);
  });
  report("rope frequencies, largest relative error", worst / 2 ** -53, "units of 2^-53");
});

test("divisors: f32, each frequency by its own", () => {
  const draw = draws(52);
  eachShape((d, base) => {
    const divisors = Float32Array.from({ length: d / 2 }, () => 1 + 63 * draw());
    check({ d, base, divisors }, PLAIN);
    const { frequencies } = createTable(instance, { d, base, divisors: new Float32Array(d / 2).fill(1) });
    assert.equal(frequencies.f64, createTable(instance, { d, base }).frequencies.f64, "ones change nothing");
  });
});

test("linear: all divided by the factor, after their divisors; cosines and sines as the file says", () => {
  const draw = draws(53);
  eachShape((d, base) => {
    for (const factor of [2, 2.5, 8, 0.5]) {
      check({ d, base, factor }, PLAIN);
      const divisors = Float32Array.from({ length: d / 2 }, () => 1 + 7 * draw());
      check({ d, base, factor, divisors }, PLAIN);
      assert.is(createTable(instance, { d, base, factor, magnitude: 1.25 }).magnitude, 1.25);
    }
  });
});

test("YaRN: relative error below 4e-15 and factor 2^-52, which the share that is kept loses", () => {
  let worst = 0;
  const draw = draws(54);
  eachShape((d, base) => {
    for (const yarn of YARNS) {
      for (const factor of [2, 4, 40]) {
        const limit = PLAIN + factor * 2 ** -52;
        worst = Math.max(worst, check({ d, base, factor, yarn }, limit) / limit);
        check({ d, base, factor, yarn, divisors: Float32Array.from({ length: d / 2 }, () => 1 + draw()) }, limit);
      }
    }
  });
  report("YaRN frequencies, share of the bound", worst, "");
});

test("YaRN: the fastest dims unchanged to the bit, the slowest divided by the factor, the ramp in between falls", () => {
  eachShape((d, base) => {
    for (const yarn of YARNS) {
      const scaling: RopeScaling = { d, base, factor: 8, yarn };
      const plain = createTable(instance, { d, base }).frequencies.f64;
      const scaled = createTable(instance, scaling).frequencies.f64;
      const turns = (i: number) => (yarn.context * plain[i]!) / (2 * Math.PI);
      const share = Array.from(plain, (frequency, i) => scaled[i]! / frequency);
      for (const [i, kept] of share.entries()) {
        // A pair's index may lie one below the border that its turns alone would give: borders are rounded outwards.
        if (turns(i) >= yarn.fast && turns(Math.min(i + 1, d / 2 - 1)) >= yarn.fast) assert.is(kept, 1);
        if (i > 0 && turns(i - 1) <= yarn.slow) assert.ok(Math.abs(kept * 8 - 1) < 1e-14);
        if (i > 0) assert.ok(kept <= share[i - 1]!);
      }
    }
  });
  const { frequencies } = createTable(instance, { d: 128, base: 1e6, factor: 4, yarn: YARNS[1]! });
  const ramp = interpolation64({ d: 128, base: 1e6, yarn: YARNS[1]! });
  // 32768 / (64 pi) = 163 turns: pair 23.6; 32768 / (2 pi) = 5215 turns: pair 39.6.
  assert.equal([ramp(23), ramp(24), ramp(39), ramp(40)], [0, 1 / 17, 16 / 17, 1]);
  assert.is(frequencies.f64[23], createTable(instance, { d: 128, base: 1e6 }).frequencies.f64[23]);
});

test("YaRN at the borders: contexts so short that all pairs are slow, so long that all are fast", () => {
  for (const context of [1, 4, 7, 40, 1e6, 1e9]) {
    for (const base of BASES) {
      const yarn = { context, fast: 32, slow: 1 };
      check({ d: 64, base, factor: 4, yarn }, PLAIN + 2 ** -50);
    }
  }
  // Borders so far apart that the slow one lies past d - 1, where it is held: the only place in which that shows.
  check({ d: 64, base: 1e4, factor: 4, yarn: { context: 1e6, fast: 1e5, slow: 1e-4 } }, PLAIN + 2 ** -50);
  const short = createTable(instance, { d: 64, base: 1e4, factor: 4, yarn: { context: 4, fast: 32, slow: 1 } });
  assert.is(short.frequencies.f64[0], 1, "the first pair starts the ramp even here");
  assert.ok(Math.abs(short.frequencies.f64[1]! * 4 * 1e4 ** (2 / 64) - 1) < 1e-14);
});

test("YaRN's magnitude: 1 + 0.1 ln(factor), times the file's own; factor 1 leaves all as it is", () => {
  for (const factor of [1, 1.5, 2, 4, 16, 40, 128]) {
    for (const magnitude of [1, 0.75, 1.19]) {
      const table = createTable(instance, { d: 64, base: 1e4, factor, magnitude, yarn: YARNS[0]! });
      const exact = magnitude * yarnMagnitude64(factor);
      assert.ok(Math.abs(table.magnitude - exact) <= 4e-16 * exact, `factor ${factor}`);
    }
  }
  const plain = createTable(instance, { d: 64, base: 1e4 });
  const same = createTable(instance, { d: 64, base: 1e4, factor: 1, yarn: YARNS[0]! });
  assert.equal(same.frequencies.f64, plain.frequencies.f64);
  assert.is(same.magnitude, 1);
});

/** One case of test/golden/rope/frequencies.json. */
interface Golden {
  readonly type: "linear" | "yarn" | "llama3" | "longrope";
  readonly d: number;
  readonly base: number;
  readonly factor: number;
  readonly original_max_position_embeddings: number;
  readonly beta_fast?: number;
  readonly beta_slow?: number;
  readonly low_freq_factor: number;
  readonly high_freq_factor: number;
  readonly long_factor: readonly number[];
  readonly attention: number;
  readonly frequencies: readonly number[];
}

/** The table that stands for a configuration of transformers. */
function scalingOf(golden: Golden): RopeScaling {
  const { type, d, base, factor, original_max_position_embeddings: context } = golden;
  if (type === "linear") return { d, base, factor };
  if (type === "yarn") {
    return { d, base, factor, yarn: { context, fast: golden.beta_fast ?? 32, slow: golden.beta_slow ?? 1 } };
  }
  if (type === "longrope") return { d, base, divisors: Float32Array.from(golden.long_factor) };
  const options = { factor, low: golden.low_freq_factor, high: golden.high_freq_factor, context };
  return { d, base, divisors: Float32Array.from(llama3Divisors64(ropeFrequencies64({ d, base }), options)) };
}

test("transformers gives the same frequencies in f32: linear, YaRN, Llama 3, LongRoPE; and the same factor for YaRN", () => {
  const cases = JSON.parse(readFileSync("test/golden/rope/frequencies.json", "utf8")) as Golden[];
  assert.is(cases.length, 11);
  let worst = 0;
  for (const golden of cases) {
    const what = `${golden.type}, d ${golden.d}, base ${golden.base}, factor ${golden.factor}`;
    const table = createTable(instance, scalingOf(golden));
    // Its powers and quotients round some four times; the exponent's rounding counts ln(base) times.
    const bound = (i: number) => (4 + Math.log(golden.base)) * UNIT * golden.frequencies[i]!;
    worst = Math.max(worst, within(table.frequencies.f64, golden.frequencies, bound, what));
    within(ropeFrequencies64(scalingOf(golden)), golden.frequencies, bound, `${what}, the oracle`);
    if (golden.type !== "longrope") assert.ok(Math.abs(table.magnitude - golden.attention) < 1e-15, what);
  }
  report("frequencies of transformers, share of the bound", worst, "");
});

test.run();
