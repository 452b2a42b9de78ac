import * as assert from "uvu/assert";
import { poolRef64 } from "../oracle/elementwise.ts";
import { report, sameBits, sameValues, UNIT, within } from "./compare.ts";
import { checkedSuite, copyOf, Instance } from "./instance.ts";
import { anySize, bells, draws, floats } from "./values.ts";

const instance = new Instance();
const { poolHeads, poolHeadsRef } = instance.exports;
const test = checkedSuite("pool-heads", instance);

/** Runs both in place on x [nGroups * m][dim]; gives the pooled heads, after a look at what lies behind them. */
function pool(x: Float32Array, weights: Float32Array, m: number, dim: number): Float32Array {
  const nGroups = weights.length / m;
  const address = instance.input(weights).address;
  const [out, expected] = [instance.floats(x), instance.floats(x)];
  poolHeads(out.address, address, nGroups, m, dim);
  poolHeadsRef(expected.address, address, nGroups, m, dim);
  const what = `${nGroups} groups of ${m} heads, dim ${dim}`;
  sameValues(out.f32, expected.f32, what);
  sameBits(copyOf(out).slice(nGroups * dim), x.slice(nGroups * dim), `${what}, behind the result`);
  return copyOf(out).slice(0, nGroups * dim);
}

function eachShape(test: (nGroups: number, m: number, dim: number) => void): void {
  for (const m of [1, 2, 3, 4]) {
    for (const nGroups of [1, 2, 3, 4]) {
      for (const dim of [4, 8, 20, 64, 128]) {
        test(nGroups, m, dim);
        instance.reset();
      }
    }
  }
}

test("error at most m 2^-24 sum |w x|: m products and m - 1 sums", () => {
  const draw = draws(48);
  let worst = 0;
  eachShape((nGroups, m, dim) => {
    const x = bells(nGroups * m * dim, draw);
    const weights = bells(nGroups * m, draw);
    const exact = poolRef64(x, weights, m, dim);
    const values = exact.map(({ value }) => value);
    const out = pool(x, weights, m, dim);
    worst = Math.max(
      worst,
      within(out, values, (i) => m * UNIT * exact[i]!.size, `${nGroups} x ${m} x ${dim}`),
    );
    pool(anySize(x.length, draw, -60, 60), anySize(weights.length, draw, -60, 60), m, dim);
  });
  report("pool-heads, share of the bound", worst, "");
});

test("equal weights 1 / m: the mean of a group's heads", () => {
  const draw = draws(49);
  eachShape((nGroups, m, dim) => {
    const x = floats(nGroups * m * dim, () => Math.round(draw() * 4096) - 2048);
    const mean = (i: number) => {
      const [g, d] = [Math.floor(i / dim), i % dim];
      let sum = 0;
      for (let head = g * m; head < (g + 1) * m; ++head) sum += x[head * dim + d]!;
      return sum / m;
    };
    const out = pool(x, new Float32Array(nGroups * m).fill(1 / m), m, dim);
    const exact = Array.from(out, (_, i) => mean(i));
    // Halves and quarters of integers are exact; thirds are off by their rounding.
    within(out, exact, () => (m === 3 ? 2048 * 4 * UNIT : 0), `${nGroups} x ${m} x ${dim}`);
  });
});

test("a weight of 1 among zeros picks its head to the bit, in each group another", () => {
  const draw = draws(50);
  eachShape((nGroups, m, dim) => {
    const x = bells(nGroups * m * dim, draw);
    const picked = (g: number) => g * m + ((g + 1) % m);
    const weights = floats(nGroups * m, (head) => (head === picked(Math.floor(head / m)) ? 1 : 0));
    const expected = floats(nGroups * dim, (i) => x[picked(Math.floor(i / dim)) * dim + (i % dim)]!);
    sameBits(pool(x, weights, m, dim), expected, `${nGroups} x ${m} x ${dim}`);
  });
});

test("heads are added in ascending order, each product rounded", () => {
  const large = 2 ** 24;
  const heads = [large, 1, -large, 1];
  const x = floats(16, (i) => heads[i >> 2]!);
  assert.equal(Array.from(pool(x, new Float32Array(4).fill(1), 4, 4)), [1, 1, 1, 1]);
  const third = Math.fround(1 / 3);
  const f = Math.fround;
  const values = [3.1, -1.7, 0.9, 2.3].map(f);
  let sum = f(values[0]! * third);
  for (const value of values.slice(1)) sum = f(sum + f(value * third));
  const out = pool(
    floats(16, (i) => values[i >> 2]!),
    new Float32Array(4).fill(third),
    4,
    4,
  );
  assert.ok(out.every((value) => value === sum));
});

test("NaN and infinity stay in their group and dim; a negative zero alone keeps its sign", () => {
  const x = bells(4 * 2 * 8, draws(51));
  x[2 * 8 + 3] = Number.NaN;
  x[5 * 8 + 1] = Infinity;
  const out = pool(x, new Float32Array(8).fill(0.5), 2, 8);
  const special = Array.from(out.keys()).filter((i) => !Number.isFinite(out[i]));
  assert.equal(special, [1 * 8 + 3, 2 * 8 + 1]);
  assert.ok(Number.isNaN(out[11]) && out[17] === Infinity);
  assert.ok(Object.is(pool(new Float32Array(4).fill(-0), Float32Array.of(2), 1, 4)[0], -0));
});

test.run();
