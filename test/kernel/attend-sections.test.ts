/**
 * Attention over pages with sections, with keys by channel and with keys in planes: assembly/sections.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { KvForm } from "../../assembly/memory/status.ts";
import { type Aging, pagesAt } from "../cache/engine.ts";
import { sectionWord } from "../cache/sections.ts";
import { attend64 } from "../oracle/attention.ts";
import { valuesOf } from "../oracle/packed-page.ts";
import { report, sameBits, sameValues, within } from "./compare.ts";
import { growingHead } from "./growing-head.ts";
import { boundOf, check, contents, randomHead } from "./packed-head.ts";
import { bells, draws } from "./values.ts";

const test = suite("attend over pages with sections");

const F32 = KvForm.F32;
const Q8 = KvForm.Q8;
const Q4 = KvForm.Q4;
const Q3 = KvForm.Q3;
const Q8_PLANES = KvForm.Q8_PLANES;
const Q4_CHANNELS = KvForm.Q4_CHANNELS;
const Q3_CHANNELS = KvForm.Q3_CHANNELS;

/** Forms and sections: each alone, then together. */
const CASES: readonly (readonly [string, Aging])[] = [
  ["channels 4", { keyForm: Q4_CHANNELS, valueForm: Q4 }],
  ["channels 3", { keyForm: Q3_CHANNELS, valueForm: Q8 }],
  ["mean", { keyForm: Q4, valueForm: Q4, sections: sectionWord({ mean: true }) }],
  ["mean, f32 values", { keyForm: Q3, valueForm: F32, sections: sectionWord({ mean: true }) }],
  ["outliers", { keyForm: Q4, valueForm: Q3, sections: sectionWord({ outliers: 3 }) }],
  ["factors", { keyForm: Q8, valueForm: Q4, sections: sectionWord({ factors: true }) }],
  ["factors 3", { keyForm: Q3, valueForm: Q3, sections: sectionWord({ factors: true }) }],
  ["salient", { keyForm: Q4, valueForm: Q3, sections: sectionWord({ salient: 4 }) }],
  ["salient values", { keyForm: Q8, valueForm: Q4, sections: sectionWord({ salient: 1 }) }],
  [
    "channels, outliers, salient",
    { keyForm: Q3_CHANNELS, valueForm: Q3, sections: sectionWord({ outliers: 2, salient: 3 }) },
  ],
  [
    "all",
    { keyForm: Q4, valueForm: Q4, sections: sectionWord({ mean: true, outliers: 8, factors: true, salient: 8 }) },
  ],
];
const DIMS = [
  [64, 64, 64],
  [128, 80, 32],
  [20, 36, 32],
  [8, 8, 64],
] as const;

test("every form and section, dims and groups: the reference's bits, whatever the group; near exact arithmetic", () => {
  let worst = 0;
  for (const [name, own] of CASES) {
    for (const [keyDim, valueDim, group] of DIMS) {
      const aging = { ...own, group, recentPages: 1, sinkPages: 1 };
      const { head, data } = randomHead(keyDim, valueDim, 1100, aging);
      for (const n of [1, 65, 129, 1100]) {
        head.growTo(n);
        const all = n === 129 || (n === 1100 && keyDim === 64) ? contents(head, n, data) : undefined;
        worst = Math.max(
          worst,
          check(head, n, data, {}, `${name}, ${keyDim} x ${valueDim} by ${group}, ${n} slots`, all),
        );
      }
      head.instance.check();
    }
  }
  report("attend over pages with sections, share of the bound", worst, "");
});

test("scale, soft cap, a first visible slot, pages given back: the reference's bits, near exact arithmetic", () => {
  for (const [name, own] of CASES) {
    const aging = { ...own, group: 32, recentPages: 1, sinkPages: 1 };
    const { head, data } = randomHead(64, 48, 400, aging, 250);
    head.growTo(400);
    const all = contents(head, 400, data);
    for (const options of [
      { scale: -0.05, first: 163 },
      { softcap: 1.5, first: 170 },
      { scale: 0.3, softcap: 20, first: 390 },
    ]) {
      check(head, 400, data, options, `${name}, ${JSON.stringify(options)}`, all);
    }
  }
});

test("each section is heard: the kernel goes all the way from attention without it to attention with it", () => {
  for (const [name, own] of CASES) {
    if (own.sections === undefined || name === "all") continue;
    const aging = { ...own, group: 64, recentPages: 1, sinkPages: 0 };
    const { head, data } = randomHead(64, 64, 160, aging);
    head.growTo(160);
    const all = contents(head, 160, data);
    const bare = all.pages.map(({ keys, values }) => {
      const none = { mean: [], factors: [], outliers: [], salient: [] };
      const strip = (part: typeof keys) => valuesOf({ ...part, extras: { ...part.extras, ...none } });
      return { keys: strip(keys), values: strip(values) };
    });
    const [keys, values] = [all.keys.slice(), all.values.slice()];
    bare.forEach((page, p) => {
      page.keys.forEach((row, slot) => {
        if (32 * p + slot < 160) keys.set(row, (32 * p + slot) * 64);
      });
      page.values.forEach((row, slot) => {
        if (32 * p + slot < 160) values.set(row, (32 * p + slot) * 64);
      });
    });
    // How much of the way from attention without it to attention with it the kernel goes: rounding leans neither way.
    let [gone, way] = [0, 0];
    for (let h = 0; h < 7 * 64; h += 64) {
      const q = data.q.subarray(h, h + 64);
      const without = attend64(q, keys, values, 160, {}).out;
      const step = attend64(q, all.keys, all.values, 160, {}).out.map((x, d) => x - without[d]!);
      head.attend("op", q, 160).forEach((x, d) => {
        gone += (x - without[d]!) * step[d]!;
        way += step[d]! ** 2;
      });
    }
    assert.ok(gone > 0.6 * way && gone < 1.4 * way, `${name}: ${gone / way} of the way`);
  }
});

test("queries of any size, NaN and infinity: kernel and reference agree", () => {
  for (const [name, own] of CASES) {
    const { head, data } = randomHead(20, 36, 140, { ...own, group: 32, recentPages: 1, sinkPages: 1 });
    head.growTo(140);
    for (const size of [0, 2 ** -140, 2 ** -101, 2 ** -20, 2 ** 20, 2 ** 100, Number.NaN, Infinity]) {
      const q = data.q.map((x, i) => (Number.isFinite(size) ? x * size : i % 20 === 3 ? size : x));
      for (const options of [{}, { softcap: 30 }]) {
        const what = `${name}, size ${size}, ${JSON.stringify(options)}`;
        sameValues(head.attend("op", q, 140, options), head.attend("ref", q, 140, options), what);
      }
    }
  }
});

test("a page with a NaN or an infinity: NaN for all that see it, and for no other", () => {
  for (const [name, own] of CASES) {
    for (const bad of [Number.NaN, Infinity, -Infinity]) {
      for (const isKey of [true, false]) {
        if ((isKey ? own.keyForm : own.valueForm) === F32) continue;
        const draw = draws(9);
        const [keys, values] = [bells(200 * 16, draw), bells(200 * 20, draw)];
        if (isKey) keys[50 * 16 + 3] = bad;
        else values[50 * 20 + 19] = bad;
        const head = growingHead(16, 20, keys, values, 0, { ...own, group: 64, recentPages: 1, sinkPages: 0 });
        head.growTo(200);
        const q = bells(4 * 16, draw);
        for (const op of ["op", "ref"] as const) {
          const what = `${name}, ${bad} in a ${isKey ? "key" : "value"}, ${op}`;
          assert.ok(head.attend(op, q, 200, { first: 60 }).every(Number.isNaN), what);
          assert.ok(head.attend(op, q, 200, { first: 64 }).every(Number.isFinite), `${what}, not seen`);
        }
      }
    }
  }
});

/** The same tokens in Q8 and in planes with these thresholds. */
function planeHeads(slots: number, thresholds: readonly number[]) {
  const [q8, ...planes] = [0, ...thresholds].map((flat) => {
    const aging = { keyForm: flat === 0 ? Q8 : Q8_PLANES, valueForm: Q8, group: 64, flat };
    const { head, data } = randomHead(64, 48, slots, aging);
    head.growTo(slots);
    return { head, data };
  });
  return { q8: q8!, planes };
}

test("planes: the scores of Q8 to the bit where every span is flat, or both planes are always read", () => {
  for (const n of [40, 1100]) {
    const { q8, planes } = planeHeads(n, [1]);
    const expected = q8.head.attend("op", q8.data.q, n);
    for (const op of ["op", "ref"] as const)
      sameBits(planes[0]!.head.attend(op, q8.data.q, n), expected, `${op}, ${n} slots`);
  }
  const always = randomHead(64, 48, 200, { keyForm: Q8_PLANES, valueForm: Q4, group: 32, recentPages: 1 });
  always.head.growTo(200);
  check(always.head, 200, always.data, {}, "both planes", contents(always.head, 200, always.data));
});

test("planes: the high plane alone is near exact over its middles, kernel and reference to the bit", () => {
  const { planes } = planeHeads(600, [1e-6]);
  const { head, data } = planes[0]!;
  const all = contents(head, 600, data);
  const keys = all.keys.slice();
  all.pages.slice(0, 18).forEach(({ keys: part }, p) => {
    part.groups.forEach((row, slot) => {
      row.forEach(({ codes, scale }, g) => {
        codes.forEach((code, i) => {
          keys[(32 * p + slot) * 64 + 64 * g + i] = scale * (16 * Math.floor((code + 128) / 16) - 120.5);
        });
      });
    });
  });
  const q = data.q.subarray(0, 64);
  // Middles are sums of two terms, as minima are; their sizes are at most 128 steps more.
  const sizes = all.keySizes.map((size, i) => size + Math.abs(keys[i]!) + 8 * Math.abs(all.keys[i]! - keys[i]!) + 2);
  const { exact, bound } = boundOf({ ...all, keys, integers: keys, keySizes: sizes }, q, 600, data, {});
  const expected = head.attend("ref", data.q, 600);
  within(expected.subarray(0, 48), exact.out, (d) => bound[d]!, "high plane");
  for (const nHeads of [1, 2, 3, 4, 7]) {
    sameBits(
      head.attend("op", data.q.subarray(0, 64 * nHeads), 600),
      expected.slice(0, 48 * nHeads),
      `${nHeads} heads`,
    );
  }
  assert.not.equal(Array.from(expected), Array.from(planeHeads(600, [1]).planes[0]!.head.attend("ref", data.q, 600)));
});

test("planes: a head reads the low plane where its softmax is flat, whatever the other heads do", () => {
  const { planes } = planeHeads(600, [1, 1e-6, 0.05]);
  const [whole, high, mixed] = planes.map(({ head }) => head);
  const q = planes[0]!.data.q.map((x, i) => x * [0.05, 4, 0.3, 1, 6, 0.02, 0.6][Math.floor(i / 64)]!);
  const outs = [whole!, high!, mixed!].map((head) => head.attend("op", q, 600));
  sameBits(mixed!.attend("ref", q, 600), outs[2]!, "reference");
  const kinds = Array.from({ length: 7 }, (_, h) => {
    const [a, b, c] = outs.map((out) => Array.from(out.subarray(48 * h, 48 * h + 48)));
    const isWhole = c!.every((x, i) => x === a![i]);
    assert.ok(isWhole || c!.every((x, i) => x === b![i]), `head ${h} is one or the other`);
    return isWhole;
  });
  assert.equal([kinds[0], kinds[5], kinds[1], kinds[4]], [true, true, false, false], "flat ones whole, sharp ones not");
  for (const nHeads of [1, 2, 3, 5]) {
    sameBits(mixed!.attend("op", q.subarray(0, 64 * nHeads), 600), outs[2]!.slice(0, 48 * nHeads), `${nHeads} heads`);
  }
  assert.ok(pagesAt(mixed!.instance, mixed!.head.address).length === 19);
});

test.run();
