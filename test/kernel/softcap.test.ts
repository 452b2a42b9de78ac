import * as assert from "uvu/assert";
import { softcapRef64 } from "../oracle/elementwise.ts";
import { report, sameBits, ulpOf, within } from "./compare.ts";
import { checkedSuite, copyOf, Instance } from "./instance.ts";
import { anySize, bells, type Draw, draws, floats } from "./values.ts";

const instance = new Instance();
const { softcapRow, softcapRowRef } = instance.exports;
const test = checkedSuite("softcap", instance);

/** The caps of Gemma 2, then some whose last place is large or small for their size. */
const CAPS = [30, 50, 1, 1.9999, 0.3, 15.9, 1e-3, 1e4, 1e20].map(Math.fround);

/** Both over the first n values of x, which go on to the next multiple of 4. */
function softcap(x: Float32Array, cap: number, n = x.length): Float32Array {
  const [out, expected] = [instance.floats(x), instance.floats(x)];
  softcapRow(out.address, n, cap);
  softcapRowRef(expected.address, n, cap);
  sameBits(out.f32, expected.f32, `${n} values, cap ${cap}`);
  return copyOf(out);
}

/** Values around zero, around the bend, and far out, in units of the cap. */
function inputs(cap: number, draw: Draw): Float32Array[] {
  const around = (size: number) => floats(16384, () => cap * size * (2 * draw() - 1));
  return [around(1e-4), around(0.05), around(1), around(3), around(20), bells(4096, draw, 3 * cap)];
}

test("absolute error at most 3 ulp of the cap; never above the cap", () => {
  const draw = draws(41);
  let worst = 0;
  for (const cap of CAPS) {
    for (const x of inputs(cap, draw)) {
      const out = softcap(x, cap);
      const exact = Array.from(x, (value) => softcapRef64(value, cap));
      worst = Math.max(
        worst,
        within(out, exact, () => 3 * ulpOf(cap), `cap ${cap}`),
      );
      assert.ok(out.every((value) => Math.abs(value) <= cap));
      instance.reset();
    }
  }
  report("softcap, largest error", 3 * worst, "ulp of the cap");
});

test("odd to the bit, and rising over even steps", () => {
  for (const cap of CAPS) {
    const x = floats(4096, (i) => (cap * i) / 512);
    const out = softcap(x, cap);
    sameBits(
      softcap(
        x.map((value) => -value),
        cap,
      ),
      out.map((value) => -value),
      `cap ${cap}`,
    );
    for (let i = 1; i < out.length; ++i) assert.ok(out[i]! >= out[i - 1]!);
    for (let i = 1; i < 512; ++i) assert.ok(out[i]! > out[i - 1]!, "strictly up to the cap itself");
    instance.reset();
  }
});

test("NaN keeps its bits, infinities and huge values give the cap, zeros keep their sign, tiny values give zeros", () => {
  const nans = new Float32Array(Uint32Array.of(0x7fc00000, 0xffc00000, 0x7fa07fa0, 0x7fffffff).buffer);
  sameBits(softcap(nans, 30), nans, "NaN, quiet, negative, signaling, all bits");
  for (const cap of CAPS) {
    const large = Float32Array.of(Infinity, -Infinity, 3e38, -3e38, 10 * cap, -10 * cap, 1e25, -1e25);
    sameBits(
      softcap(large, cap),
      floats(8, (i) => (i & 1 ? -cap : cap)),
      `cap ${cap}`,
    );
    const small = Float32Array.of(0, -0, cap * 1e-9, -cap * 1e-9);
    sameBits(softcap(small, cap), Float32Array.of(0, -0, 0, -0), `cap ${cap}`);
  }
  const mixed = softcap(Float32Array.of(1, Number.NaN, -1, 2), 50);
  assert.is(mixed.findIndex(Number.isNaN), 1);
  assert.is(mixed.filter(Number.isNaN).length, 1, "a NaN stays alone");
});

test("up to the next multiple of 4 and not past it; values of any size", () => {
  const draw = draws(42);
  for (const n of [1, 2, 3, 4, 5, 6, 7, 8, 9, 31, 32, 33, 1021, 1024]) {
    const x = anySize((n + 3) & ~3, draw, -60, 60);
    const out = softcap(x, 50, n);
    sameBits(out, softcap(x, 50), `${n} values, rounded up`);
    instance.reset();
  }
  const nothing = instance.output(0);
  softcapRow(nothing.address, 0, 30);
  softcapRowRef(nothing.address, 0, 30);
});

test.run();
