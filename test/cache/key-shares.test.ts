import { suite } from "uvu";
import * as assert from "uvu/assert";
import { draws } from "../kernel/values.ts";
import { fairParts, keyDrivenShares } from "../oracle/query-groups.ts";
import { createEngine, HEAD_BYTES, SESSION_BYTES, SMALL, SQUARES_AT } from "./engine.ts";

const test = suite("key-driven shares");

const LAYER_BYTES = 88;
const instance = createEngine(SMALL);

/** `keyDrivenShares` for heads whose keys have these norms; the root of a square is exact. */
function sharesOf(norms: readonly number[], nHeads: number): number[] {
  instance.forget();
  const heads = instance.output(HEAD_BYTES * norms.length);
  norms.forEach((norm, g) => {
    heads.f64[(HEAD_BYTES * g + SQUARES_AT) / 8] = norm * norm;
  });
  const session = instance.output(SESSION_BYTES);
  session.u32[3] = heads.address;
  const layer = instance.output(LAYER_BYTES);
  layer.u32.set([0, nHeads, norms.length], 10); // firstHead, nHeads, nKvHeads
  const shares = instance.output(4 * norms.length);
  instance.exports.keyDrivenShares(shares.address, session.address, layer.address);
  instance.check();
  return Array.from(shares.u32);
}

function check(norms: readonly number[], nHeads: number, expected = keyDrivenShares(norms, nHeads)): void {
  assert.equal(sharesOf(norms, nHeads), expected, `norms ${norms}, ${nHeads} heads`);
}

const CASES: readonly (readonly [norms: number[], nHeads: number, shares: number[]])[] = [
  [[3], 8, [8]],
  [[0], 1, [1]],
  [[0, 0, 0, 0], 8, [2, 2, 2, 2]],
  [[5, 5, 5], 8, [3, 3, 2]],
  [[1, 1, 1, 1], 3, [1, 1, 1, 0]],
  [[1, 2], 8, [0, 8]],
  [[2, 1], 8, [8, 0]],
  [[1, 2, 3], 8, [0, 3, 5]],
  [[1, 2, 3], 6, [0, 2, 4]],
  // 2.5 and 2.5 round to 2; the first of the smallest gains one.
  [[1, 2, 2], 5, [1, 2, 2]],
  [[2, 2, 1], 5, [2, 2, 1]],
  // 3.5 and 3.5 round to 4; the first of the largest loses one.
  [[1, 2, 2], 7, [0, 3, 4]],
  [[2, 1, 2], 7, [3, 0, 4]],
  // Five times 1.4: two are missing, both go to the smallest.
  [[1, 2, 2, 2, 2, 2], 7, [2, 1, 1, 1, 1, 1]],
  // Three times 8 / 3: one too many.
  [[1, 2, 2, 2], 8, [0, 2, 3, 3]],
];

test("cases by hand: one head, equal norms, halves, too many and too few dealt", () => {
  for (const [norms, nHeads, shares] of CASES) {
    assert.equal(keyDrivenShares(norms, nHeads), shares, `formula: norms ${norms}, ${nHeads} heads`);
    check(norms, nHeads, shares);
  }
});

test("random norms: the formula's shares", () => {
  const draw = draws(77);
  for (let round = 0; round < 3000; ++round) {
    const nKvHeads = 1 + Math.floor(draw() * 8);
    const nHeads = 1 + Math.floor(draw() * 40);
    const norms = Array.from({ length: nKvHeads }, () => draw() * 100);
    const nearHalf = fairParts(norms, nHeads)?.some((part) => Math.abs((part % 1) - 0.5) < 1e-9) ?? false;
    assert.not(nearHalf, "a half in all but the last place could round either way");
    check(norms, nHeads);
  }
});

test("small integers: many equal norms, many exact halves", () => {
  const draw = draws(78);
  let halves = 0;
  for (let round = 0; round < 3000; ++round) {
    const norms = Array.from({ length: 2 + Math.floor(draw() * 7) }, () => Math.floor(draw() * 8));
    const nHeads = norms.length + Math.floor(draw() * 33);
    if (fairParts(norms, nHeads)?.some((part) => part % 1 === 0.5)) halves += 1;
    check(norms, nHeads);
  }
  assert.ok(halves > 100, `${halves} with halves`);
});

test("norms that differ in their last bits only", () => {
  check([1, 1 + 2 ** -52], 8, [0, 8]);
  check([1 + 2 ** -52, 1, 1], 8, [8, 0, 0]);
  const draw = draws(79);
  for (let round = 0; round < 1000; ++round) {
    const base = 1 + 100 * draw();
    const norms = Array.from({ length: 2 + Math.floor(draw() * 7) }, () => {
      const norm = base * (1 + Math.floor(draw() * 5) * 2 ** -52);
      return Math.sqrt(norm * norm);
    });
    check(norms, norms.length + Math.floor(draw() * 33));
  }
});

test("norms that are not finite share somehow, and all of them", () => {
  for (const norms of [
    [1, Infinity],
    [Infinity, Infinity, 2],
    [1, Number.NaN, 2],
    [Number.NaN, Infinity],
  ]) {
    const shares = sharesOf(norms, 8);
    assert.is(
      shares.reduce((sum, share) => sum + share, 0),
      8,
      `norms ${norms}`,
    );
  }
});

test.run();
