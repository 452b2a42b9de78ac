import * as assert from "uvu/assert";
import { layerNormRef64 } from "../oracle/elementwise.ts";
import { report, sameBits, sameValues, UNIT, within } from "./compare.ts";
import { checkedSuite, copyOf, Instance } from "./instance.ts";
import { anySize, bells, draws, floats } from "./values.ts";

const instance = new Instance();
const { layerNorm, layerNormRef } = instance.exports;
const test = checkedSuite("layernorm", instance);

const f = Math.fround;

/** Runs both, and the kernel in place: the same values three times. */
function norm(x: Float32Array, weight: Float32Array, eps: number): Float32Array {
  const inputs = [instance.input(x).address, instance.input(weight).address] as const;
  const [out, expected, inPlace] = [instance.output(x.byteLength), instance.output(x.byteLength), instance.floats(x)];
  layerNorm(out.address, ...inputs, x.length, eps);
  layerNormRef(expected.address, ...inputs, x.length, eps);
  layerNorm(inPlace.address, inPlace.address, inputs[1], x.length, eps);
  sameValues(out.f32, expected.f32, `layerNorm of ${x.length}`);
  sameValues(inPlace.f32, expected.f32, `layerNorm of ${x.length} in place`);
  return copyOf(out);
}

test("error at most (n / 8 + 8) 2^-24 of the value, and the mean's, (n / 4 + 2) 2^-24 mean |x|, times s |w|", () => {
  const draw = draws(45);
  let worst = 0;
  for (const n of [4, 8, 12, 28, 64, 100, 576, 1024, 4096]) {
    for (const [scale, offset] of [
      [1, 0],
      [1, 100],
      [0.01, -7],
      [1e-12, 0],
      [1e12, 3e12],
    ] as const) {
      const x = bells(n, draw, scale).map((value) => value + offset);
      const weight = floats(n, () => draw() * 4 - 2);
      const eps = f(1e-5);
      const { out: exact, inverse, meanSize } = layerNormRef64(x, weight, eps);
      const mean = (n / 4 + 2) * UNIT * meanSize * inverse;
      const bound = (i: number) =>
        ((n / 8 + 8) * UNIT + (mean * mean) / 2) * Math.abs(exact[i]!) + mean * Math.abs(weight[i]!);
      worst = Math.max(worst, within(norm(x, weight, eps), exact, bound, `layerNorm of ${n}, ${offset} +- ${scale}`));
      instance.reset();
    }
  }
  report("layernorm, share of the bound", worst, "");
});

test("the mean goes, whatever it is: adding to all values changes the result by rounding only", () => {
  const draw = draws(46);
  const x = floats(256, () => Math.round(draw() * 1024) / 64);
  const one = new Float32Array(256).fill(1);
  const out = norm(x, one, 1e-5);
  const shifted = norm(
    x.map((value) => value + 64),
    one,
    1e-5,
  );
  within(shifted, out, () => 1e-5, "shifted by 64");
  assert.ok(Math.abs(out.reduce((sum, value) => sum + value, 0)) < 1e-3);
  assert.ok(Math.abs(out.reduce((sum, value) => sum + value * value, 0) / 256 - 1) < 1e-5);
});

test("eps counts: equal values give zeros, a row far below eps is divided by its root", () => {
  for (const value of [0, 3, -1e30, 1e-40]) {
    const out = norm(new Float32Array(8).fill(value), new Float32Array(8).fill(3), 1e-5);
    assert.ok(
      out.every((result) => Math.abs(result) === 0),
      `eight times ${value}`,
    );
  }
  const out = norm(
    floats(8, (i) => (i & 1 ? 1e-9 : -1e-9)),
    new Float32Array(8).fill(1),
    0.25,
  );
  within(
    out,
    floats(8, (i) => (i & 1 ? 2e-9 : -2e-9)),
    () => 1e-15,
    "tiny row",
  );
});

test("one outlier channel; values of any size; squares that do not fit give zeros, sums that do not give NaN", () => {
  const draw = draws(47);
  const x = bells(576, draw);
  x[77] = 1e4;
  norm(x, bells(576, draw), 1e-6);
  norm(anySize(64, draw, -60, 60), anySize(64, draw, -20, 20), 1e-6);
  const large = norm(anySize(64, draw, 90, 100), bells(64, draw), 1e-6);
  assert.ok(large.every((value) => Math.abs(value) === 0));
  const largest = norm(new Float32Array(64).fill(3e38), bells(64, draw), 1e-6);
  assert.ok(largest.every((value) => Number.isNaN(value)));
});

test("one NaN or infinity makes the whole row NaN, one in the weights its own place only", () => {
  for (const bad of [Number.NaN, Infinity, -Infinity]) {
    const x = floats(12, (i) => (i === 6 ? bad : i));
    assert.ok(
      norm(x, new Float32Array(12).fill(1), 1e-5).every((value) => Number.isNaN(value)),
      `${bad}`,
    );
  }
  const out = norm(
    floats(12, (i) => i),
    floats(12, (i) => (i === 6 ? Number.NaN : 1)),
    1e-5,
  );
  assert.equal(out.filter(Number.isNaN).length, 1);
  assert.ok(Number.isNaN(out[6]));
});

/** (l0 + l1) + (l2 + l3), element i in lane i mod 4, each sum rounded. */
function laneSum(values: Float32Array): number {
  const lanes = [0, 0, 0, 0];
  values.forEach((value, i) => {
    lanes[i & 3] = f(lanes[i & 3]! + value);
  });
  return f(f(lanes[0]! + lanes[1]!) + f(lanes[2]! + lanes[3]!));
}

test("both sums run in four lanes, then (l0 + l1) + (l2 + l3); each operation rounded, in the header's order", () => {
  const draw = draws(56);
  const eps = f(1e-5);
  for (const n of [4, 8, 12, 28, 64, 100, 576]) {
    const x = bells(n, draw).map((value) => value + 1);
    const weight = bells(n, draw);
    const mean = f(laneSum(x) / n);
    const s = f(1 / f(Math.sqrt(f(f(laneSum(x.map((value) => f(value - mean) ** 2)) / n) + eps))));
    const expected = floats(n, (i) => f(f(x[i]! - mean) * s) * weight[i]!);
    sameBits(norm(x, weight, eps), expected, `layerNorm of ${n}`);
  }
});

test.run();
