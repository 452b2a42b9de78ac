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

/** Both kernels over [first, n) of the scores; `after` lies from n up to the next multiple of 4, poison past it. */
function softmax(scores: Float32Array, first = 0, after = Number.NaN): Span {
  const n = scores.length;
  const rounded = (n + 3) & ~3;
  const results = [softmaxSpan, softmaxSpanRef].map((kernel) => {
    const out = instance.output(rounded * 4);
    out.f32.fill(after).set(scores);
    const result = instance.output(8);
    kernel(out.address, first, n, result.address);
    return { out, result };
  });
  const [op, ref] = results as [(typeof results)[0], (typeof results)[0]];
  sameBits(op.out.f32, ref.out.f32, `weights of ${first} .. ${n}`);
  sameBits(op.result.f32, ref.result.f32, `max and sum of ${first} .. ${n}`);
  for (const [i, weight] of op.out.f32.entries()) {
    if (i < first || i >= n) assert.ok(Object.is(weight, 0), `slot ${i} outside ${first} .. ${n} has no weight`);
  }
  const [max, sum] = op.result.f32;
  return { weights: copyOf(op.out).slice(0, n), max: max!, sum: sum! };
}

/** (l0 + l1) + (l2 + l3), slot i in lane i mod 4, each sum rounded. */
function laneSum(weights: Float32Array): number {
  const lanes = [0, 0, 0, 0];
  weights.forEach((w, i) => {
    lanes[i & 3] = Math.fround(lanes[i & 3]! + w);
  });
  return Math.fround(Math.fround(lanes[0]! + lanes[1]!) + Math.fround(lanes[2]! + lanes[3]!));
}

test("weights / sum: off by at most (2 |s|max + n / 4 + 8) 2^-24 of themselves", () => {
  const draw = draws(26);
  let worst = 0;
  for (const n of SIZES) {
    for (const size of [1, 20, 1e-3]) {
      const scores = bells(n, draw, size);
      const { weights, max, sum } = softmax(scores);
      const exact = softmax64(scores);
      const largest = Math.max(...scores.map(Math.abs));
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
      assert.is(max, Math.max(...scores));
      assert.is(Math.max(...weights), 1, "the largest weight is exactly 1");
    }
    instance.reset();
  }
  report("softmax-span, share of the bound", worst, "");
});

test("the maximum is found in every place, and a slot past n can be neither it nor a part of the sum", () => {
  for (const n of SIZES.slice(0, 11)) {
    for (let top = 0; top < n; ++top) {
      const { weights, max } = softmax(floats(n, (i) => (i === top ? -50 : -60)));
      assert.is(max, -50, "even when all scores are far below zero");
      assert.is(weights.indexOf(1), top);
    }
    instance.reset();
  }
});

test("what lies between n and the next multiple of 4 has no weight, whatever it is", () => {
  const draw = draws(30);
  for (const n of SIZES) {
    const scores = bells(n, draw, 3);
    const { weights, sum } = softmax(scores);
    for (const after of [0, 500, -500, 3e38, Infinity, -Infinity]) {
      const other = softmax(scores, 0, after);
      sameBits(other.weights, weights, `${n} scores, then ${after}`);
      assert.is(other.sum, sum);
    }
    instance.reset();
  }
});

test("large scores: no overflow, no underflow of the largest, far ones exactly 0", () => {
  for (const level of [3e38, 1e30, 90, -90, -1e30, -3e38]) {
    const scores = floats(33, (i) => (i === 7 || i === 32 ? level : level - Math.max(100, Math.abs(level) * 1e-3)));
    const { weights, sum } = softmax(scores);
    assert.is(sum, 2, `level ${level}`);
    assert.equal(
      weights.reduce((count, w) => count + (w === 0 ? 1 : 0), 0),
      31,
    );
  }
});

test("spans without a finite score: the reference's bits, and neither a hidden slot nor one past n gets a weight", () => {
  for (const value of [Number.NaN, Number.NEGATIVE_INFINITY, -3.402e38]) {
    for (const [first, n] of [
      [0, 5],
      [3, 8],
      [2, 31],
      [5, 6],
    ] as const) {
      const results = [softmaxSpan, softmaxSpanRef].map((kernel) => {
        const out = instance.output(((n + 3) & ~3) * 4);
        out.f32.set(floats(n, () => value));
        const result = instance.output(8);
        kernel(out.address, first, n, result.address);
        return { weights: out.f32.slice(), sum: result.f32[1]! };
      });
      const [op, ref] = results as [(typeof results)[0], (typeof results)[0]];
      for (let i = 0; i < op.weights.length; ++i) {
        if (i < first || i >= n) assert.is(op.weights[i], 0, `slot ${i} of ${n}, from ${first}, all ${value}`);
        assert.ok(Object.is(op.weights[i], ref.weights[i]), `${value}: ${op.weights[i]} and ${ref.weights[i]}`);
      }
      assert.ok(Object.is(op.sum, ref.sum), `${value}: sums ${op.sum} and ${ref.sum}`);
    }
    instance.reset();
  }
});

test("equal scores: all weights 1, the sum n", () => {
  for (const n of SIZES) {
    const { weights, sum } = softmax(new Float32Array(n).fill(-3.3));
    assert.ok(weights.every((w) => w === 1));
    assert.is(sum, n);
  }
});

/** First visible slots to try in a span of n: at its start, around a vector and a page, at its end. */
function firstsOf(n: number): number[] {
  return [...new Set([0, 1, 2, 3, 4, 5, 7, 8, 17, 31, n - 2, n - 1])].filter((first) => first >= 0 && first < n);
}

test("a window: slots before the first visible one have weight 0, whatever they hold; the others are a softmax", () => {
  const draw = draws(28);
  for (const n of SIZES) {
    for (const first of firstsOf(n)) {
      const scores = bells(n, draw, 3);
      const visible = scores.slice(first);
      const hidden = [-60, 500, 3e38, -3e38, Infinity, -Infinity, Number.NaN];
      const spans = hidden.map((value) => {
        scores.fill(value, 0, first);
        return softmax(scores, first);
      });
      for (const { weights, max, sum } of spans) {
        assert.is(max, Math.max(...visible));
        assert.is(sum, spans[0]!.sum, "the sum sees nothing hidden");
        sameBits(weights, spans[0]!.weights, `slots ${first} .. ${n}`);
        const exact = softmax64(visible);
        const bound = (i: number) => (2 * 11 + n / 4 + 8) * UNIT * exact[i]! + 1e-37;
        within(
          weights.slice(first).map((w) => w / sum),
          exact,
          bound,
          `slots ${first} .. ${n}`,
        );
      }
    }
    instance.reset();
  }
});

test("a window: lanes are counted from the span's start, not from the first visible slot", () => {
  const draw = draws(29);
  let differences = 0;
  for (const n of [31, 1024]) {
    for (const first of firstsOf(n)) {
      const { weights, sum } = softmax(bells(n, draw, 3), first);
      assert.is(sum, laneSum(weights));
      if (sum !== laneSum(weights.slice(first))) differences += 1;
    }
  }
  assert.ok(differences > 0, "or the order would not show");
});

test("the sum runs in four lanes, then (l0 + l1) + (l2 + l3)", () => {
  const draw = draws(27);
  for (const n of [31, 1024]) {
    const { weights, sum } = softmax(bells(n, draw, 3));
    assert.is(sum, laneSum(weights));
  }
});

test.run();
