import * as assert from "uvu/assert";
import { softmax64 } from "../oracle/attention.ts";
import { report, sameBits, UNIT, within } from "./compare.ts";
import { checkedSuite, copyOf, Instance } from "./instance.ts";
import { bells, draws, floats } from "./values.ts";

const instance = new Instance();
const { softmaxSpan, softmaxSpanRef } = instance.exports;
const test = checkedSuite("softmax-span", instance);

const SIZES = [1, 2, 3, 4, 5, 6, 7, 8, 9, 31, 32, 33, 1023, 1024];

interface Span {
  readonly weights: Float32Array;
  readonly max: number;
  readonly sum: number;
}

/** Both kernels over the first n scores; what lies after them is poison, up to the next multiple of 4 and past it. */
function softmax(scores: Float32Array, scale: number): Span {
  const n = scores.length;
  const rounded = (n + 3) & ~3;
  const results = [softmaxSpan, softmaxSpanRef].map((kernel) => {
    const out = instance.output(rounded * 4);
    out.f32.set(scores);
    const result = instance.output(8);
    kernel(out.address, n, scale, result.address);
    return { out, result };
  });
  const [op, ref] = results as [(typeof results)[0], (typeof results)[0]];
  sameBits(op.out.f32, ref.out.f32, `weights of ${n}`);
  sameBits(op.result.f32, ref.result.f32, `max and sum of ${n}`);
  for (const hidden of op.out.f32.subarray(n)) assert.is(hidden, 0, "a slot past n has no weight");
  const [max, sum] = op.result.f32;
  return { weights: copyOf(op.out).slice(0, n), max: max!, sum: sum! };
}

test("weights / sum: off by at most (2 |s|max + n / 4 + 8) 2^-24 of themselves", () => {
  const draw = draws(26);
  let worst = 0;
  for (const n of SIZES) {
    for (const [size, scale] of [
      [1, 1],
      [8, 0.125],
      [200, Math.fround(1 / Math.sqrt(96))],
      [1e-3, 0.7],
    ] as const) {
      const scores = bells(n, draw, size);
      const { weights, max, sum } = softmax(scores, Math.fround(scale));
      const scaled = Array.from(scores, (s) => s * Math.fround(scale));
      const exact = softmax64(scaled);
      const largest = Math.max(...scaled.map(Math.abs));
      const bound = (i: number) => (2 * largest + n / 4 + 8) * UNIT * exact[i]! + 1e-37;
      worst = Math.max(
        worst,
        within(
          weights.map((w) => w / sum),
          exact,
          bound,
          `softmax of ${n}`,
        ),
      );
      assert.is(max, Math.max(...scores.map((s) => Math.fround(s * Math.fround(scale)))));
      assert.is(Math.max(...weights), 1, "the largest weight is exactly 1");
    }
    instance.reset();
  }
  report("softmax-span, share of the bound", worst, "");
});

test("the maximum is found in every place, and a slot past n can be neither it nor a part of the sum", () => {
  for (const n of SIZES.slice(0, 11)) {
    for (let top = 0; top < n; ++top) {
      const { weights, max } = softmax(
        floats(n, (i) => (i === top ? -50 : -60)),
        1,
      );
      assert.is(max, -50, "even when all scores are far below zero");
      assert.is(weights.indexOf(1), top);
    }
    instance.reset();
  }
});

test("large scores: no overflow, no underflow of the largest, far ones exactly 0", () => {
  for (const level of [3e38, 1e30, 90, -90, -1e30, -3e38]) {
    const scores = floats(33, (i) => (i === 7 || i === 32 ? level : level - Math.max(100, Math.abs(level) * 1e-3)));
    const { weights, sum } = softmax(scores, 1);
    assert.is(sum, 2, `level ${level}`);
    assert.equal(
      weights.reduce((count, w) => count + (w === 0 ? 1 : 0), 0),
      31,
    );
  }
  const unscaled = softmax(Float32Array.of(1e38, -1e38, 5e37), Math.fround(1e-37));
  within(unscaled.weights, [1, Math.exp(-20), Math.exp(-5)], (i) => [0, 1e-14, 1e-7][i]!, "scale before exp");
});

test("equal scores: all weights 1, the sum n", () => {
  for (const n of SIZES) {
    const { weights, sum } = softmax(new Float32Array(n).fill(-3.3), 0.125);
    assert.ok(weights.every((w) => w === 1));
    assert.is(sum, n);
  }
});

test("the sum runs in four lanes, then (l0 + l1) + (l2 + l3)", () => {
  const draw = draws(27);
  for (const n of [31, 1024]) {
    const { weights, sum } = softmax(bells(n, draw, 3), 1);
    const lanes = [0, 0, 0, 0];
    weights.forEach((w, i) => {
      lanes[i & 3] = Math.fround(lanes[i & 3]! + w);
    });
    assert.is(sum, Math.fround(Math.fround(lanes[0]! + lanes[1]!) + Math.fround(lanes[2]! + lanes[3]!)));
  }
});

test.run();
