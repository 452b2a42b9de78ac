import * as assert from "uvu/assert";
import { logSumExp64 } from "../oracle/attention.ts";
import { report, sameBits, UNIT, within } from "./compare.ts";
import { checkedSuite, copyOf, Instance } from "./instance.ts";
import { bells, draws, floats } from "./values.ts";

const instance = new Instance();
const { expWeights, expWeightsRef, logSumExp, logSumExpRef } = instance.exports;
const test = checkedSuite("log-sum-exp", instance);

const SIZES = [1, 2, 3, 4, 5, 7, 8, 9, 33, 1000, 49152];

/** Both kernels: the same weights and the same f64 sum. */
function weightsOf(logits: Float32Array, invTemperature: number): { weights: Float32Array; sum: number } {
  const max = logits.reduce((best, v) => Math.max(best, v), -Infinity);
  const out = instance.floats(logits);
  const expected = instance.floats(logits);
  const sum = expWeights(out.address, logits.length, max, invTemperature);
  assert.is(sum, expWeightsRef(expected.address, logits.length, max, invTemperature), "sum");
  sameBits(out.f32, expected.f32, `expWeights of ${logits.length}`);
  return { weights: copyOf(out), sum };
}

function logSum(logits: Float32Array): number {
  const x = instance.input(logits);
  const value = logSumExp(x.address, logits.length);
  assert.is(value, logSumExpRef(x.address, logits.length));
  return value;
}

/** Logits as a model makes them, a third of them banned. */
function someBanned(n: number, seed: number): Float32Array {
  const draw = draws(seed);
  return bells(n, draw, 4).map((v, i) => (i % 3 === 1 ? -Infinity : v));
}

test("weights: exp((x - max) / T), off by (2 |x - max| / T + 3) 2^-24; the maximum exactly 1, -Infinity exactly 0", () => {
  let worst = 0;
  for (const n of SIZES) {
    for (const invTemperature of [1, 0.5, Math.fround(1 / 0.7), 4]) {
      const logits = someBanned(n, n);
      const max = logits.reduce((best, v) => Math.max(best, v), -Infinity);
      const { weights, sum } = weightsOf(logits, invTemperature);
      const distance = (i: number) => (logits[i]! - max) * invTemperature;
      const exact = Array.from(logits, (_, i) => Math.exp(distance(i)));
      const bound = (i: number) => (exact[i] === 0 ? 0 : (2 * -distance(i) + 3) * UNIT * exact[i]! + 2 ** -125);
      worst = Math.max(worst, within(weights, exact, bound, `${n} weights`));
      logits.forEach((logit, i) => {
        if (logit === max) assert.is(weights[i], 1);
        if (logit === -Infinity) assert.ok(Object.is(weights[i], 0));
      });
      let ascending = 0;
      for (const w of weights) ascending += w;
      assert.is(sum, ascending, "the sum is f64, ascending");
    }
    instance.reset();
  }
  report("expWeights, share of the bound", worst, "");
});

test("logSumExp: off by at most 2^-22, logits unchanged, banned ones without effect", () => {
  let worst = 0;
  for (const n of SIZES) {
    const logits = someBanned(n, n + 1);
    const error = Math.abs(logSum(logits) - logSumExp64(logits));
    assert.ok(error < 2 ** -22, `${n}: ${error}`);
    worst = Math.max(worst, error);
    instance.reset();
  }
  report("logSumExp, largest error", worst / UNIT, "units of 2^-24");
});

test("the maximum may be anywhere, in any vector lane or the rest; shifting all logits shifts the result", () => {
  for (const n of [1, 4, 7, 10]) {
    for (let top = 0; top < n; ++top) {
      const logits = floats(n, (i) => (i === top ? 64 : -500));
      assert.is(logSum(logits), 64);
      assert.is(logSum(logits.map((v) => v - 4096)), 64 - 4096);
    }
  }
});

test("equal logits: ln n above them; one possible token: its logit; none: -Infinity", () => {
  for (const n of SIZES) {
    assert.ok(Math.abs(logSum(new Float32Array(n).fill(-2.5)) - (Math.log(n) - 2.5)) < 1e-14);
    instance.reset();
  }
  assert.is(logSum(Float32Array.of(-Infinity, -Infinity, -7, -Infinity, -Infinity)), -7);
  assert.is(logSum(new Float32Array(6).fill(-Infinity)), -Infinity);
  const { weights, sum } = weightsOf(new Float32Array(6).fill(-Infinity), 1);
  assert.is(sum, 0);
  assert.ok(weights.every((w) => w === 0));
});

test.run();
