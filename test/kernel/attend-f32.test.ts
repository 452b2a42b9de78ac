import { suite } from "uvu";
import * as assert from "uvu/assert";
import { attend64 } from "../oracle/attention.ts";
import { attendContract } from "../oracle/contract.ts";
import { report, sameBits, UNIT, within } from "./compare.ts";
import { contractExp, growingHead, spannedKeys } from "./growing-head.ts";
import { bells, draws, floats } from "./values.ts";

const test = suite("attend-f32");

const LENGTHS = [1, 15, 16, 17, 31, 32, 33, 1023, 1024, 1025, 2500];
const GROUPS = [1, 2, 3, 4, 6, 7];
const DIMS = [
  [16, 16],
  [64, 64],
  [128, 128],
  [256, 256],
  [64, 32],
  [32, 80],
  [20, 36],
  [100, 4],
] as const;

test("all lengths, groups and dims: the reference's bits, whatever the group; near exact arithmetic", () => {
  let worst = 0;
  let largest = 0;
  for (const [keyDim, valueDim] of DIMS) {
    const draw = draws(keyDim + valueDim);
    const keys = spannedKeys(2500, keyDim, keyDim);
    const values = bells(2500 * valueDim, draw);
    const q = bells(7 * keyDim, draw);
    const head = growingHead(keyDim, valueDim, keys, values);
    const atLength = new Map<number, Float32Array>();
    for (const n of LENGTHS) {
      const what = `${keyDim} x ${valueDim}, ${n} slots`;
      head.growTo(n);
      const expected = head.attend("ref", q, n);
      atLength.set(n, expected);
      for (const group of GROUPS) {
        const out = head.attend("op", q.subarray(0, group * keyDim), n);
        sameBits(out, expected.slice(0, group * valueDim), `${what}, ${group} heads`);
      }
      for (let h = 0; h < 7; ++h) {
        const exact = attend64(q.subarray(h * keyDim, (h + 1) * keyDim), keys, values, n);
        const weightError = (keyDim + 5) * exact.scoreSize + 2;
        const bound = (d: number) => (2 * weightError + Math.min(n, 1024) + 20) * UNIT * exact.size[d]!;
        const out = expected.subarray(h * valueDim, (h + 1) * valueDim);
        worst = Math.max(worst, within(out, exact.out, bound, `${what}, head ${h}`));
        out.forEach((value, d) => {
          largest = Math.max(largest, Math.abs(value - exact.out[d]!) / (UNIT * exact.size[d]!));
        });
      }
    }
    for (const [n, expected] of atLength) {
      sameBits(head.attend("op", q, n), expected, `${keyDim} x ${valueDim}, the first ${n} slots of 2500`);
    }
    head.instance.check();
  }
  report("attend-f32, share of the bound", worst, "");
  report("attend-f32, largest error", largest, "times 2^-24 sum w |v|");
});

test("the contract to the bit: spans of 1,024 slots, each order of sums, one division at the end", () => {
  const [keyDim, valueDim, slots] = [24, 8, 2300];
  const draw = draws(32);
  const keys = spannedKeys(slots, keyDim, 32);
  const values = bells(slots * valueDim, draw);
  const head = growingHead(keyDim, valueDim, keys, values);
  const exp = contractExp(head.instance);
  for (const n of [1, 3, 513, 1024, 1025, 2047, 2300]) {
    head.growTo(n);
    const q = bells(keyDim, draw);
    sameBits(head.attend("op", q, n), attendContract(q, keys, values, n, exp), `${n} slots`);
  }
  head.instance.check();
});

test("a head's bits depend neither on its place in the group nor on the others", () => {
  const [keyDim, valueDim, slots] = [64, 48, 1100];
  const draw = draws(31);
  const head = growingHead(keyDim, valueDim, spannedKeys(slots, keyDim, 31), bells(slots * valueDim, draw));
  head.growTo(slots);
  const q = bells(keyDim, draw);
  const alone = head.attend("op", q, slots);
  for (const group of GROUPS) {
    for (let place = 0; place < group; ++place) {
      const all = bells(group * keyDim, draw, 5);
      all.set(q, place * keyDim);
      const out = head.attend("op", all, slots);
      sameBits(out.slice(place * valueDim, (place + 1) * valueDim), alone, `place ${place} of ${group}`);
    }
  }
  head.instance.check();
});

test("spans merge by their maxima: with the largest score in each of three spans in turn, its value is the result", () => {
  const [keyDim, valueDim, slots] = [16, 8, 2100];
  for (const best of [0, 1023, 1024, 2047, 2048, 2099]) {
    const keys = floats(slots * keyDim, (i) => (Math.floor(i / keyDim) === best ? 50 : i % 3));
    const head = growingHead(
      keyDim,
      valueDim,
      keys,
      floats(slots * valueDim, (i) => Math.floor(i / valueDim)),
    );
    head.growTo(slots);
    for (const op of ["op", "ref"] as const) {
      const out = head.attend(op, new Float32Array(4 * keyDim).fill(2), slots);
      assert.ok(
        out.every((value) => value === best),
        `${op}, slot ${best}: ${out[0]}`,
      );
    }
  }
});

test("equal scores over spans of different lengths: the mean of the values, far from zero as well", () => {
  for (const level of [0, 25, -25, 3e4]) {
    const slots = 1024 + 300;
    const keys = new Float32Array(slots * 16).fill(level);
    const head = growingHead(
      16,
      16,
      keys,
      floats(slots * 16, (i) => (i >> 4 < 1024 ? 1 : 5)),
    );
    head.growTo(slots);
    const mean = (1024 + 5 * 300) / slots;
    const out = head.attend("op", new Float32Array(48).fill(4), slots);
    within(out, new Array(48).fill(mean), () => 1e-4 * mean, `level ${level}`);
  }
});

test("scores are divided by the root of the key's dims when the task says so: two slots, weights known", () => {
  for (const keyDim of [16, 20, 100, 256]) {
    const keys = floats(2 * keyDim, (i) => (i < keyDim ? 1 : 0));
    const head = growingHead(keyDim, 4, keys, Float32Array.of(1, 2, 3, -4, 0, 0, 0, 0));
    head.growTo(2);
    const share = 1 / (1 + Math.exp(-1));
    const out = head.attend("op", new Float32Array(keyDim).fill(1 / Math.sqrt(keyDim)), 2);
    within(out, [share, 2 * share, 3 * share, -4 * share], () => 4e-6, `key dim ${keyDim}`);
  }
});

test.run();
