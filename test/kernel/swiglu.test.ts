import * as assert from "uvu/assert";
import { swigluRef64 } from "../oracle/elementwise.ts";
import { report, sameBits, sameValues, UNIT, within } from "./compare.ts";
import { checkedSuite, copyOf, Instance } from "./instance.ts";
import { anySize, bells, draws, floats } from "./values.ts";

const instance = new Instance();
const { addRow, addRowRef, addScaled, addScaledRef, swiglu, swigluRef } = instance.exports;
const test = checkedSuite("swiglu and add", instance);

/** A kernel that changes its first operand, and its reference: the same bits. */
function inPlace(op: typeof swiglu, ref: typeof swiglu, x: Float32Array, y: Float32Array): Float32Array {
  const other = instance.input(y).address;
  const out = instance.floats(x);
  const expected = instance.floats(x);
  op(out.address, other, x.length);
  ref(expected.address, other, x.length);
  sameValues(out.f32, expected.f32, `${x.length} elements`);
  return copyOf(out);
}

test("swiglu: relative error at most 7 * 2^-24 for gates of [-87, 88]", () => {
  const draw = draws(7);
  let worst = 0;
  for (const gate of [bells(4096, draw, 3), floats(8192, () => 175 * draw() - 87), bells(4, draw)]) {
    const up = bells(gate.length, draw, 2);
    const exact = Array.from(gate, (x, i) => swigluRef64(x, up[i]!));
    const bound = (i: number) => 7 * UNIT * Math.abs(exact[i]!) + 2 ** -149;
    worst = Math.max(worst, within(inPlace(swiglu, swigluRef, gate, up), exact, bound, "swiglu"));
    instance.reset();
  }
  report("swiglu, share of the bound", worst, "");
});

test("swiglu far out: x itself above, next to nothing below", () => {
  const gate = Float32Array.of(0, -0, 100, 3e38, -90, -100, -1e4, -3e38);
  const out = inPlace(swiglu, swigluRef, gate, new Float32Array(8).fill(1));
  assert.equal(Array.from(out.subarray(0, 4)), [0, -0, 100, gate[3]]);
  for (const [i, limit] of [1e-36, 1e-36, 1e-34, 2].entries()) assert.ok(out[4 + i]! <= 0 && out[4 + i]! >= -limit);
});

/** Both additions of y times a scale. */
function added(x: Float32Array, y: Float32Array, scale: number): Float32Array {
  const by = (kernel: typeof addScaled) => (to: number, from: number, n: number) => kernel(to, from, n, scale);
  return inPlace(by(addScaled), by(addScaledRef), x, y);
}

test("addRow: every sum is the exact one, rounded once", () => {
  const draw = draws(8);
  for (const n of [4, 8, 36, 576]) {
    const [x, y] = [anySize(n, draw, -30, 30), anySize(n, draw, -30, 30)];
    const out = inPlace(addRow, addRowRef, x, y);
    sameBits(
      out,
      floats(n, (i) => x[i]! + y[i]!),
      `add ${n}`,
    );
    instance.reset();
  }
});

test("addScaled: product and sum each rounded; a scale of 1 is addRow", () => {
  const draw = draws(9);
  for (const n of [4, 8, 36, 576]) {
    for (const scale of [1, 0.22, -1.4, 0, 1e-20, 3e10].map(Math.fround)) {
      const [x, y] = [anySize(n, draw, -30, 30), anySize(n, draw, -30, 30)];
      const expected = floats(n, (i) => x[i]! + Math.fround(y[i]! * scale));
      sameBits(added(x, y, scale), expected, `${n} elements times ${scale}`);
      sameBits(added(x, y, 1), inPlace(addRow, addRowRef, x, y), "times 1");
      instance.reset();
    }
  }
});

test("additions: NaN and infinity stay in their place, signs of zeros as IEEE 754 says", () => {
  const x = Float32Array.of(1, Number.NaN, Infinity, Infinity, -0, 0, -0, 3e38);
  const y = Float32Array.of(Number.NaN, 1, -Infinity, 1, -0, -0, 0, 3e38);
  const sums = Float32Array.of(Number.NaN, Number.NaN, Number.NaN, Infinity, -0, 0, 0, Infinity);
  sameValues(inPlace(addRow, addRowRef, x, y), sums, "addRow");
  sameValues(added(x, y, 1), sums, "addScaled by 1");
  const product = Float32Array.of(Number.NaN, Number.NaN, Infinity, Infinity, 0, 0, -0, 0);
  sameValues(added(x, y, -1), product, "addScaled by -1");
});

test.run();
