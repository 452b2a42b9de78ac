import * as assert from "uvu/assert";
import { sameBits, sameValues } from "./compare.ts";
import { checkedSuite, copyOf, Instance } from "./instance.ts";
import { anySize, draws, floats } from "./values.ts";

const instance = new Instance();
const { scaleRow, scaleRowRef } = instance.exports;
const test = checkedSuite("scale", instance);

/** Both over the first n values of x, which go on to the next multiple of 4. */
function scale(x: Float32Array, n: number, factor: number): Float32Array {
  const [out, expected] = [instance.floats(x), instance.floats(x)];
  scaleRow(out.address, n, factor);
  scaleRowRef(expected.address, n, factor);
  sameValues(out.f32, expected.f32, `${n} values times ${factor}`);
  return copyOf(out);
}

test("every product is the exact one, rounded once, up to the next multiple of 4 and not past it", () => {
  const draw = draws(40);
  for (const n of [1, 2, 3, 4, 5, 6, 7, 8, 9, 31, 32, 33, 1021, 1024]) {
    for (const factor of [1, -1, 0.125, 1 / Math.sqrt(96), 12, 1e-20, 3e20].map(Math.fround)) {
      const x = anySize((n + 3) & ~3, draw, -60, 60);
      const exact = floats(x.length, (i) => x[i]! * factor);
      sameBits(scale(x, n, factor), exact, `${n} values times ${factor}`);
    }
    instance.reset();
  }
});

test("no values: nothing is written", () => {
  const nothing = instance.output(0);
  scaleRow(nothing.address, 0, 3);
  scaleRowRef(nothing.address, 0, 3);
});

test("zeros keep their sign, infinities and NaN stay, what is too large or too small ends there", () => {
  const x = Float32Array.of(0, -0, Infinity, -Infinity, Number.NaN, 3e38, -3e38, 2 ** -149);
  const up = scale(x, 8, 2);
  sameValues(up, Float32Array.of(0, -0, Infinity, -Infinity, Number.NaN, Infinity, -Infinity, 2 ** -148), "times 2");
  const down = scale(x, 8, -0.25);
  assert.ok(Object.is(down[0], -0) && Object.is(down[1], 0));
  assert.is(down[2], -Infinity);
  assert.ok(Number.isNaN(down[4]));
  assert.ok(Object.is(down[7], -0), "a quarter of the smallest number");
  const zero = scale(x, 8, 0);
  assert.ok(Number.isNaN(zero[2]) && Number.isNaN(zero[4]), "zero times infinity");
});

test.run();
