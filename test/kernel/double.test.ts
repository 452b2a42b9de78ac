import * as assert from "uvu/assert";
import { cosSinFixed, expFixed, lnFixed, toFixed, toNumber } from "../oracle/fixed.ts";
import { report } from "./compare.ts";
import { checkedSuite, Instance } from "./instance.ts";
import { draws } from "./values.ts";

const instance = new Instance();
const { cosSin64, exp64, log64 } = instance.exports;
const test = checkedSuite("double", instance);

/** Fails above the limit; the largest error is reported. */
function worstOf(what: string, points: readonly number[], limit: number, error: (x: number) => number): void {
  let worst = 0;
  for (const x of points) {
    const e = error(x);
    if (!(e <= limit)) assert.unreachable(`${what} at ${x} is off by ${e}`);
    worst = Math.max(worst, e);
  }
  report(what, worst / 2 ** -53, "units of 2^-53");
}

const draw = draws(2);
const spread = (n: number, low: number, high: number) => Array.from({ length: n }, () => low + (high - low) * draw());

test("the oracle itself: digits of e, ln 10, cos 1, and cos^2 + sin^2", () => {
  assert.is(toNumber(expFixed(toFixed(1)).mantissa) * 2 ** expFixed(toFixed(1)).exponent, Math.E);
  assert.is(toNumber(lnFixed(10)), Math.LN10);
  assert.is(toNumber(cosSinFixed(toFixed(1)).cos), 0.5403023058681398);
  assert.is(toNumber(cosSinFixed(toFixed(-2)).sin), -0.9092974268256817);
  for (const x of [0.1, 3, 1e6]) {
    const { cos, sin } = cosSinFixed(toFixed(x));
    assert.ok(Math.abs(toNumber(((cos * cos + sin * sin) >> 300n) - (1n << 300n))) < 2 ** -280);
  }
});

test("exp64: relative error at most 3 * 2^-53 over [-700, 700]", () => {
  const points = [
    0,
    1,
    -1,
    700,
    -700,
    Math.LN2 / 2,
    -Math.LN2 / 2,
    ...spread(1500, -700, 700),
    ...spread(1500, -20, 1),
  ];
  worstOf("exp64", points, 3 * 2 ** -53, (x) => {
    const { mantissa, exponent } = expFixed(toFixed(x));
    const half = exponent >> 1;
    const scaled = exp64(x) * 2 ** -half * 2 ** -(exponent - half);
    return Math.abs(toNumber(toFixed(scaled) - mantissa)) / toNumber(mantissa);
  });
  assert.is(exp64(0), 1);
});

test("log64: relative error at most 3 * 2^-53 over 1e-300 .. 1e300, and near 1", () => {
  const sizes = Array.from({ length: 1500 }, () => 10 ** (600 * draw() - 300));
  const near = Array.from({ length: 1000 }, () => 1 + (draw() - 0.5) * 2 ** -Math.floor(40 * draw()));
  const points = [
    0.5,
    2,
    Math.SQRT2,
    Math.SQRT1_2,
    10000,
    500000,
    1e6,
    49152,
    ...sizes,
    ...near,
    ...spread(500, 0.4, 3),
  ];
  worstOf("log64 (relative)", points, 3 * 2 ** -53, (x) => {
    const truth = lnFixed(x);
    return Math.abs(toNumber(toFixed(log64(x)) - truth)) / Math.abs(toNumber(truth));
  });
  assert.is(log64(1), 0);
});

test("cosSin64: absolute error at most 1.5 * 2^-53 over [-2^20, 2^20], next to multiples of pi/2 as well", () => {
  const multiples = Array.from({ length: 500 }, () => Math.floor(draw() * 667000) * (Math.PI / 2));
  const points = [0, 1, -1, 8191, 1e6, 2 ** 20, -(2 ** 20), ...multiples, ...multiples.map((x) => -x)];
  points.push(...spread(1500, -(2 ** 20), 2 ** 20), ...spread(1500, -10, 10), ...spread(500, 0, 1e-3));
  const pair = instance.output(16);
  worstOf("cosSin64", points, 1.5 * 2 ** -53, (x) => {
    cosSin64(pair.address, x);
    const { cos, sin } = cosSinFixed(toFixed(x));
    const errors = [toNumber(toFixed(pair.f64[0]!) - cos), toNumber(toFixed(pair.f64[1]!) - sin)];
    return Math.max(...errors.map(Math.abs));
  });
  cosSin64(pair.address, 0);
  assert.equal(Array.from(pair.f64), [1, 0]);
});

test.run();
