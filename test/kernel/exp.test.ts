import * as assert from "uvu/assert";
import { report, sameBits, ulps } from "./compare.ts";
import { checkedSuite, copyOf, Instance } from "./instance.ts";
import { draws, floats } from "./values.ts";

const instance = new Instance();
const { expRow, expRowRef } = instance.exports;
const test = checkedSuite("exp", instance);

/** exp of the values by the kernel, after its reference gave the same bits. */
function expOf(values: Float32Array): Float32Array {
  const x = instance.input(values);
  const out = instance.output(values.byteLength);
  const expected = instance.output(values.byteLength);
  expRow(out.address, x.address, values.length);
  expRowRef(expected.address, x.address, values.length);
  sameBits(out.f32, expected.f32, "expRow");
  return copyOf(out);
}

test("at most 1 ulp off on a million values of [-87, 88], and on the 2^21 nearest to zero and to the borders", () => {
  const draw = draws(1);
  const values = floats(1 << 20, (i) => (i & 1 ? -87 * draw() : 88 * draw()));
  const near = new Float32Array(1 << 20);
  for (const [at, start] of [0x00000001, 0x3f300000, 0xbf300000, 0xc2adff00, 0x42afff00].entries()) {
    const n = near.length / 8;
    const bits = new Uint32Array(near.buffer, at * n * 4, n);
    bits.forEach((_, i) => {
      bits[i] = start + (at < 3 ? i : i & 255);
    });
  }
  let worst = 0;
  for (const part of [values, near]) {
    const out = expOf(part);
    out.forEach((value, i) => {
      const error = ulps(value, Math.exp(part[i]!));
      if (!(error <= 1)) assert.unreachable(`exp(${part[i]}) is ${value}: ${error} ulp`);
      worst = Math.max(worst, error);
    });
    instance.reset();
  }
  report("exp, largest error", worst, "ulp");
});

test("exp(0) is exactly 1, below -87 is exactly 0, above 88 is exp(88), the borders belong to the range", () => {
  const below = Math.fround(-87.00001);
  const out = expOf(Float32Array.of(0, -0, -Infinity, below, -87, -1e30, 88, 88.1, Infinity, 1e30, Number.NaN, -88));
  assert.is(out[0], 1);
  assert.is(out[1], 1);
  for (const i of [2, 3, 5, 11]) assert.is(out[i], 0);
  assert.ok(ulps(out[4]!, Math.exp(-87)) <= 1);
  assert.ok(ulps(out[6]!, Math.exp(88)) <= 1);
  for (const i of [7, 8, 9]) assert.is(out[i], out[6]);
  assert.is(out[10], 0, "not a number counts as lowest");
});

test("rises over 65,536 even steps", () => {
  const out = expOf(floats(1 << 16, (i) => -87 + (i * 175) / 65536));
  for (let i = 1; i < out.length; ++i) assert.ok(out[i]! > out[i - 1]!);
});

test("any multiple of 4, and nothing beyond it", () => {
  for (const n of [4, 8, 12, 20]) {
    expOf(floats(n, (i) => i - 9));
    instance.reset();
  }
});

test.run();
