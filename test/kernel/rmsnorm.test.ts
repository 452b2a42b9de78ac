import * as assert from "uvu/assert";
import { rmsNormRef64 } from "../oracle/elementwise.ts";
import { report, sameValues, UNIT, within } from "./compare.ts";
import { checkedSuite, copyOf, Instance } from "./instance.ts";
import { anySize, bells, draws, floats } from "./values.ts";

const instance = new Instance();
const { rmsNorm, rmsNormRef } = instance.exports;
const test = checkedSuite("rmsnorm", instance);

/** Runs both, and the kernel in place: the same bits three times. */
function norm(x: Float32Array, weight: Float32Array, eps: number): Float32Array {
  const inputs = [instance.input(x).address, instance.input(weight).address] as const;
  const [out, expected, inPlace] = [instance.output(x.byteLength), instance.output(x.byteLength), instance.floats(x)];
  rmsNorm(out.address, ...inputs, x.length, eps);
  rmsNormRef(expected.address, ...inputs, x.length, eps);
  rmsNorm(inPlace.address, inPlace.address, inputs[1], x.length, eps);
  sameValues(out.f32, expected.f32, `rmsNorm of ${x.length}`);
  sameValues(inPlace.f32, expected.f32, `rmsNorm of ${x.length} in place`);
  return copyOf(out);
}

test("relative error at most (n / 8 + 6) 2^-24: four lanes of n / 4 squares, halved by the root", () => {
  const draw = draws(3);
  let worst = 0;
  for (const n of [4, 8, 12, 28, 64, 100, 576, 1024, 4096]) {
    for (const scale of [1, 1e-12, 1e12]) {
      const x = bells(n, draw, scale);
      const weight = floats(n, () => draw() * 4 - 2);
      const eps = Math.fround(1e-5);
      const out = norm(x, weight, eps);
      const expected = rmsNormRef64(x, weight, eps);
      const bound = (i: number) => (n / 8 + 6) * UNIT * Math.abs(expected[i]!);
      worst = Math.max(worst, within(out, expected, bound, `rmsNorm of ${n} times ${scale}`));
      instance.reset();
    }
  }
  report("rmsnorm, share of the bound", worst, "");
});

test("eps counts: a zero row gives zeros, a row far below eps is divided by its root", () => {
  assert.equal(Array.from(norm(new Float32Array(8), new Float32Array(8).fill(3), 1e-5)), new Array(8).fill(0));
  const out = norm(new Float32Array(8).fill(1e-9), new Float32Array(8).fill(1), 0.25);
  within(out, new Array(8).fill(2e-9), () => 1e-15, "tiny row");
});

test("one outlier channel, values of any size", () => {
  const draw = draws(4);
  const x = bells(576, draw);
  x[77] = 1e4;
  norm(x, bells(576, draw), 1e-6);
  norm(anySize(64, draw, -60, 60), anySize(64, draw, -20, 20), 1e-6);
});

test("NaN makes the whole row NaN; an infinity zeros and one NaN; squares that do not fit give zeros", () => {
  const one = new Float32Array(12).fill(1);
  const withAt6 = (value: number) => floats(12, (i) => (i === 6 ? value : i + 1));
  assert.ok(norm(withAt6(Number.NaN), one, 1e-5).every((value) => Number.isNaN(value)));
  const infinite = Array.from(norm(withAt6(Infinity), one, 1e-5));
  assert.ok(infinite.every((value, i) => (i === 6 ? Number.isNaN(value) : value === 0)));
  assert.ok(norm(withAt6(1e30), one, 1e-5).every((value) => value === 0));
});

test("the sum runs in four lanes, then (l0 + l1) + (l2 + l3)", () => {
  // 2^24 + 1 is lost in f32: only this order keeps lane 2 and 3 together before they meet lane 0.
  const x = Float32Array.of(2 ** 12, 0, 1, 1, 0, 0, 0, 0);
  const out = norm(x, new Float32Array(8).fill(1), 0);
  const s = Math.fround(1 / Math.fround(Math.sqrt(Math.fround((2 ** 24 + 2) / 8))));
  assert.is(out[0], Math.fround(2 ** 12 * s));
});

test.run();
