/**
 * Attention with a first visible slot, a scale and a soft cap: what attend-f32.test.ts does not have.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type AttendOptions, attend64 } from "../oracle/attention.ts";
import { attendContract } from "../oracle/contract.ts";
import { report, sameBits, sameValues, UNIT, within } from "./compare.ts";
import { contractExp, growingHead, spannedKeys } from "./growing-head.ts";
import { bells, draws, floats, integer } from "./values.ts";

const test = suite("attend-f32: windows, scale, soft cap");

const SLOTS = 2500;
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

/** [first, end): in the first page, across pages, one span from a later page, two and three spans, one slot only. */
const WINDOWS = [
  [1, 20],
  [31, 32],
  [5, 40],
  [33, 100],
  [64, 64 + 1024],
  [63, 63 + 1024],
  [1000, 1025],
  [1023, 2047],
  [31, 31 + 1024 + 700],
  [130, 2500],
  [1471, 2500],
  [2499, 2500],
] as const;

/** Error of `out` in units of 2^-24 sum w |v|: weights by their scores, sums over a span, merges. */
function boundOf(keyDim: number, visible: number, scoreSize: number, softcap = 0): number {
  const weightError = (keyDim + 5) * scoreSize + 2 + 6 * softcap;
  return 2 * weightError + Math.min(visible + 31, 1024) + 20;
}

/** The reference's output for 7 heads, after the kernel gave the same bits for groups of every size; near exact. */
function checkHead(
  head: ReturnType<typeof growingHead>,
  data: { q: Float32Array; keys: Float32Array; values: Float32Array },
  n: number,
  options: AttendOptions,
): number {
  const { q, keys, values } = data;
  const keyDim = q.length / 7;
  const expected = head.attend("ref", q, n, options);
  const valueDim = expected.length / 7;
  const what = `${keyDim} x ${valueDim}, end ${n}, ${JSON.stringify(options)}`;
  for (const group of GROUPS) {
    const out = head.attend("op", q.subarray(0, group * keyDim), n, options);
    sameBits(out, expected.slice(0, group * valueDim), `${what}, ${group} heads`);
  }
  let worst = 0;
  for (const h of [0, 5]) {
    const exact = attend64(q.subarray(h * keyDim, (h + 1) * keyDim), keys, values, n, options);
    const bound = boundOf(keyDim, n - (options.first ?? 0), exact.scoreSize, options.softcap) * UNIT;
    const out = expected.subarray(h * valueDim, (h + 1) * valueDim);
    worst = Math.max(
      worst,
      within(out, exact.out, (d) => bound * exact.size[d]!, `${what}, head ${h}`),
    );
  }
  return worst;
}

function randomHead(keyDim: number, valueDim: number, slots: number, seed: number) {
  const draw = draws(seed);
  const data = {
    keys: spannedKeys(slots, keyDim, seed),
    values: bells(slots * valueDim, draw),
    q: bells(7 * keyDim, draw),
  };
  const head = growingHead(keyDim, valueDim, data.keys, data.values);
  head.growTo(slots);
  return { head, data };
}

test("windows: the reference's bits, whatever the group; near exact attention over the visible slots alone", () => {
  let worst = 0;
  for (const [keyDim, valueDim] of DIMS) {
    const { head, data } = randomHead(keyDim, valueDim, SLOTS, keyDim + valueDim);
    for (const [first, n] of WINDOWS) worst = Math.max(worst, checkHead(head, data, n, { first }));
    head.instance.check();
  }
  report("attend-f32 in a window, share of the bound", worst, "");
});

test("scale and soft cap: the reference's bits, near exact arithmetic, with and without a window", () => {
  let worst = 0;
  for (const [keyDim, valueDim] of DIMS) {
    const { head, data } = randomHead(keyDim, valueDim, 1100, keyDim * valueDim);
    for (const options of [
      { scale: 0.0625 },
      { scale: 0.015625, first: 70 },
      { scale: -0.05, first: 3 },
      { softcap: 50 },
      { softcap: 1.5, first: 37 },
      { scale: 0.3, softcap: 20, first: 64 },
      { scale: 1, softcap: 2, first: 1099 },
    ]) {
      worst = Math.max(worst, checkHead(head, data, 1100, options));
    }
    head.instance.check();
  }
  report("attend-f32 with scale and soft cap, share of the bound", worst, "");
});

test("the contract to the bit: spans from the first visible slot's page, hidden slots without weight, scale, then cap", () => {
  const [keyDim, valueDim, slots] = [24, 8, 2300];
  const draw = draws(61);
  const keys = spannedKeys(slots, keyDim, 61);
  const values = bells(slots * valueDim, draw);
  const head = growingHead(keyDim, valueDim, keys, values);
  const exp = contractExp(head.instance);
  head.growTo(slots);
  for (const [n, options] of [
    [20, { first: 1 }],
    [20, { first: 19, scale: 1 }],
    [100, { first: 33, softcap: 2 }],
    [1024, { scale: 0.11, softcap: 30 }],
    [1100, { first: 75 }],
    [1100, { first: 77 }],
    [2300, { first: 200, scale: -0.4 }],
    [2300, { first: 127, softcap: 1 }],
    [2300, { first: 1275, scale: 0.7, softcap: 5 }],
    [2300, { first: 1279 }],
    [2047, { scale: 0.5 }],
  ] as const) {
    const q = bells(keyDim, draw);
    const what = `end ${n}, ${JSON.stringify(options)}`;
    sameBits(head.attend("op", q, n, options), attendContract(q, keys, values, n, exp, options), what);
  }
  head.instance.check();
});

test("what hidden slots hold changes no bit: finite values of any size in the first page, anything in pages before it", () => {
  const [keyDim, valueDim, slots] = [40, 24, 1400];
  const draw = draws(62);
  const { head, data } = randomHead(keyDim, valueDim, slots, 62);
  for (const first of [31, 75, 353]) {
    const before = head.attend("ref", data.q, slots, { first });
    const visiblePage = first - (first % 32);
    const key = () => [3e38, -1e30, 1e3, 0][integer(draw, 4)]!;
    for (let slot = 0; slot < first; ++slot) {
      const anything = slot < visiblePage ? () => Number.NaN : key;
      head.overwrite(slot, floats(keyDim, anything), floats(valueDim, anything));
    }
    for (const op of ["op", "ref"] as const) {
      sameBits(head.attend(op, data.q, slots, { first }), before, `${op}, first ${first}`);
      const capped = head.attend(op, data.q, slots, { first, softcap: 4 });
      assert.ok(capped.every(Number.isFinite), "nor with a soft cap");
    }
  }
  head.instance.check();
});

test("a window that starts with a page is a head that starts there, to the bit", () => {
  const [keyDim, valueDim] = [32, 20];
  const { head, data } = randomHead(keyDim, valueDim, SLOTS, 63);
  for (const first of [32, 64, 1024, 1440]) {
    const later = growingHead(keyDim, valueDim, data.keys.slice(first * keyDim), data.values.slice(first * valueDim));
    later.growTo(SLOTS - first);
    for (const options of [{}, { softcap: 3, scale: 0.25 }]) {
      const out = head.attend("op", data.q, SLOTS, { ...options, first });
      sameBits(out, later.attend("op", data.q, SLOTS - first, options), `from slot ${first}`);
      for (const hidden of [1, 30]) {
        const shifted = head.attend("op", data.q, SLOTS, { ...options, first: first + hidden });
        sameBits(shifted, later.attend("op", data.q, SLOTS - first, { ...options, first: hidden }), `${hidden} hidden`);
      }
    }
  }
});

test("a head that gave the pages before its window back gives the same bits as one that kept them", () => {
  const [keyDim, valueDim, slots] = [16, 12, 1500];
  for (const window of [1, 32, 50, 300, 1100]) {
    const draw = draws(64);
    const [keys, values] = [spannedKeys(slots, keyDim, 64), bells(slots * valueDim, draw)];
    const kept = growingHead(keyDim, valueDim, keys, values);
    const dropped = growingHead(keyDim, valueDim, keys, values, window);
    for (const n of [20, 33, 97, 400, 1200, 1500]) {
      kept.growTo(n);
      dropped.growTo(n);
      const options = { first: Math.max(0, n - window) };
      const q = bells(4 * keyDim, draw);
      for (const op of ["op", "ref"] as const) {
        sameBits(dropped.attend(op, q, n, options), kept.attend("op", q, n, options), `window ${window}, ${n} slots`);
      }
    }
    assert.ok(window > 1400 || dropped.head.u32[1]! > 0, "pages were given back");
    kept.instance.check();
    dropped.instance.check();
  }
});

test("one visible slot: its value to the bit, wherever it lies", () => {
  const [keyDim, valueDim] = [20, 36];
  const { head, data } = randomHead(keyDim, valueDim, 1100, 65);
  for (const slot of [0, 1, 2, 3, 31, 32, 33, 63, 500, 1023, 1024, 1099]) {
    const value = data.values.slice(slot * valueDim, (slot + 1) * valueDim);
    const all = floats(7 * valueDim, (i) => value[i % valueDim]!);
    for (const options of [{}, { softcap: 30 }, { scale: 100, softcap: 50 }]) {
      sameBits(head.attend("op", data.q, slot + 1, { ...options, first: slot }), all, `slot ${slot}`);
    }
  }
});

test("the soft cap holds scores apart by twice the cap at most: two slots, weights known", () => {
  for (const softcap of [0.5, 3, 10]) {
    const keys = floats(2 * 16, (i) => (i < 16 ? 1e6 : -1e6));
    const values = floats(2 * 4, (i) => (i < 4 ? 1 : 0));
    const head = growingHead(16, 4, keys, values);
    head.growTo(2);
    const share = 1 / (1 + Math.exp(-2 * softcap));
    const out = head.attend("op", new Float32Array(16).fill(1e3), 2, { softcap });
    within(out, new Array(4).fill(share), () => 4e-6, `cap ${softcap}`);
    const small = head.attend("op", new Float32Array(16).fill(1e-9), 2, { softcap, scale: 2 });
    const score = 2 * 16 * 1e-3;
    const exact = 1 / (1 + Math.exp(-2 * softcap * Math.tanh(score / softcap)));
    within(small, new Array(4).fill(exact), () => 1e-6, `scaled, then capped at ${softcap}`);
  }
});

test("NaN in a visible value stays in its dim; in a visible key, kernel and reference agree", () => {
  const [keyDim, valueDim, slots] = [16, 8, 70];
  const { head, data } = randomHead(keyDim, valueDim, slots, 66);
  head.overwrite(
    51,
    new Float32Array(keyDim),
    floats(valueDim, (d) => (d === 3 ? Number.NaN : 1)),
  );
  const spoiled = head.attend("op", data.q, slots, { first: 40 });
  assert.ok(spoiled.every((value, i) => Number.isNaN(value) === (i % valueDim === 3)));
  head.overwrite(50, new Float32Array(keyDim).fill(Number.NaN), new Float32Array(valueDim).fill(9));
  for (const options of [{ first: 40 }, { first: 40, softcap: 30 }]) {
    sameValues(head.attend("op", data.q, slots, options), head.attend("ref", data.q, slots, options), "a key");
  }
});

test.run();
