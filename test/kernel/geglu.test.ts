import * as assert from "uvu/assert";
import { gegluRef64, geluErf64 } from "../oracle/elementwise.ts";
import { report, sameBits, sameValues, UNIT, within } from "./compare.ts";
import { checkedSuite, copyOf, Instance } from "./instance.ts";
import { anySize, bells, draws, floats } from "./values.ts";

const instance = new Instance();
const { expRowRef, geglu, gegluRef } = instance.exports;
const test = checkedSuite("geglu", instance);

/** Runs both in place; the same values. */
function gated(gate: Float32Array, up: Float32Array): Float32Array {
  const other = instance.input(up).address;
  const [out, expected] = [instance.floats(gate), instance.floats(gate)];
  geglu(out.address, other, gate.length);
  gegluRef(expected.address, other, gate.length);
  sameValues(out.f32, expected.f32, `${gate.length} elements`);
  return copyOf(out);
}

/** 2 u of the header: the exponent, whose rounding errors the exponential makes relative ones. */
const exponent = (x: number) => 1.5957691216057308 * (x + 0.044715 * x ** 3);

test("relative error at most (7 + 5 max(0, -2u)) 2^-24 for gates of [-10, 50]", () => {
  const draw = draws(43);
  let worst = 0;
  const gates = [
    bells(4096, draw),
    bells(4096, draw, 3),
    floats(16384, () => 20 * draw() - 10),
    floats(4096, () => 50 * draw()),
  ];
  for (const gate of gates.map((values) => values.map((x) => Math.max(x, -10)))) {
    const up = bells(gate.length, draw, 2);
    const exact = Array.from(gate, (x, i) => gegluRef64(x, up[i]!));
    const bound = (i: number) => (7 + 5 * Math.max(0, -exponent(gate[i]!))) * UNIT * Math.abs(exact[i]!) + 2 ** -149;
    worst = Math.max(worst, within(gated(gate, up), exact, bound, "geglu"));
    instance.reset();
  }
  report("geglu, share of the bound", worst, "");
});

test("the tanh form, not erf: up to 4.7e-4 apart, and the kernel is within 1e-6 of tanh's", () => {
  const gate = floats(2048, (i) => i / 256 - 4);
  const out = gated(gate, new Float32Array(gate.length).fill(1));
  within(
    out,
    Array.from(gate, (x) => gegluRef64(x, 1)),
    () => 1e-6,
    "tanh form",
  );
  const apart = Array.from(gate, (x, i) => Math.abs(out[i]! - geluErf64(x)));
  assert.ok(Math.max(...apart) > 4e-4, "the forms differ where they should");
  assert.ok(apart.filter((difference) => difference > 1e-5).length > gate.length / 2);
});

test("GELU itself: gelu(x) - gelu(-x) = x, gelu(1) = 0.8412, the minimum near -0.752", () => {
  const gate = floats(1024, (i) => (i + 1) / 128);
  const one = new Float32Array(1024).fill(1);
  const [right, left] = [
    gated(gate, one),
    gated(
      gate.map((x) => -x),
      one,
    ),
  ];
  within(
    right.map((value, i) => value - left[i]!),
    gate,
    (i) => 4 * UNIT * gate[i]!,
    "antisymmetric part",
  );
  assert.is(right[127]!.toFixed(4), "0.8412");
  const lowest = left.indexOf(Math.min(...left));
  assert.ok(Math.abs(gate[lowest]! - 0.752) < 0.01);
});

test("far out: x itself above, next to nothing below, even where the square is infinite", () => {
  const gate = Float32Array.of(0, -0, 15, 1e10, 1e20, 3e38, 2 ** -149, 1e-20);
  const out = gated(gate, new Float32Array(8).fill(1));
  sameValues(out, Float32Array.of(0, -0, 15, 1e10, 1e20, 3e38, 0, Math.fround(1e-20) / 2), "from zero up");
  const below = gated(Float32Array.of(-10.1, -11, -20, -1e4, -1e15, -1e20, -1e30, -3e38), new Float32Array(8).fill(1));
  for (const [i, limit] of [1e-37, 1e-37, 2e-37, 1e-34, 1e-23, 1e-18, 1e-8, 2].entries()) {
    assert.ok(below[i]! <= 0 && below[i]! >= -limit, `${below[i]}`);
  }
});

test("NaN in either operand gives NaN and stays alone; an infinite gate gives infinity", () => {
  const gate = Float32Array.of(Number.NaN, 1, 2, Infinity, 1, -1, 0, 3);
  const up = Float32Array.of(1, Number.NaN, 3, 1, Infinity, Infinity, 2, -Infinity);
  const out = gated(gate, up);
  assert.equal(
    Array.from(out, (value) => Number.isNaN(value)),
    [true, true, false, false, false, false, false, false],
  );
  assert.equal([out[3], out[4], out[5], out[7]], [Infinity, Infinity, -Infinity, -Infinity]);
});

test("each operation rounded to f32, in the header's order, with 2 sqrt(2 / pi) and 0.044715 times it as f32", () => {
  const f = Math.fround;
  const draw = draws(55);
  const c1 = f(2 * Math.sqrt(2 / Math.PI));
  const c3 = f(0.044715 * 2 * Math.sqrt(2 / Math.PI));
  const [gate, up] = [bells(4096, draw, 2), bells(4096, draw)];
  const exponents = instance.input(gate.map((x) => -f(x * f(f(c3 * f(x * x)) + c1))));
  const powers = instance.output(gate.byteLength);
  expRowRef(powers.address, exponents.address, gate.length);
  const expected = gate.map((x, i) => f(x / f(1 + powers.f32[i]!)) * up[i]!);
  sameBits(gated(gate, up), expected, "geglu");
});

test("any multiple of 4 and nothing past it; values of any size", () => {
  const draw = draws(44);
  for (const n of [4, 8, 12, 28, 36, 100, 1536]) {
    gated(anySize(n, draw, -40, 40), anySize(n, draw, -40, 40));
    gated(bells(n, draw), bells(n, draw));
    instance.reset();
  }
});

test.run();
