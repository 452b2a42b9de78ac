/**
 * Attention over pages of every form, mixed as the cache mixes them: sinks and recent pages at 8 bits, aged ones between
 * them, the open page f32.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { KvForm } from "../../assembly/memory/status.ts";
import { report, sameBits, sameValues, within } from "./compare.ts";
import { growingHead } from "./growing-head.ts";
import { boundOf, check, contents, HEADS, randomHead } from "./packed-head.ts";
import { bells, draws, floats } from "./values.ts";

const test = suite("attend over packed pages");

const FORMS = [KvForm.F32, KvForm.Q8, KvForm.Q4, KvForm.Q3] as const;
const PAIRS = FORMS.flatMap((keyForm) => FORMS.map((valueForm) => ({ keyForm, valueForm })));
const LENGTHS = [1, 33, 65, 129, 1025, 1100];
const DIMS = [
  [64, 64, 64],
  [128, 128, 32],
  [64, 32, 32],
  [80, 80, 64],
  [8, 8, 64],
] as const;

test("every pair of forms, all dims, groups and lengths: the reference's bits; near exact arithmetic", () => {
  let worst = 0;
  for (const [p, pair] of PAIRS.entries()) {
    for (const [d, [keyDim, valueDim, group]] of DIMS.entries()) {
      const { head, data } = randomHead(keyDim, valueDim, 1100, { ...pair, group, recentPages: 2, sinkPages: 1 });
      // Past a span of pages: half of the dims for each pair, the others for the next one.
      const isLong = (p + d) % 2 === 0;
      for (const n of isLong ? LENGTHS : LENGTHS.filter((length) => length < 1000)) {
        head.growTo(n);
        const what = `${pair.keyForm} x ${pair.valueForm}, ${keyDim} x ${valueDim} by ${group}, ${n} slots`;
        const all = n === 65 || n === 1100 ? contents(head, n, data) : undefined;
        worst = Math.max(worst, check(head, n, data, {}, what, all));
      }
      head.instance.check();
      if (!isLong) continue;
      // As full as it gets: what is there is there in the forms that the cache says.
      const { pages } = contents(head, 1100, data);
      const isAged = (p: number) => Math.max(pair.keyForm, pair.valueForm) <= KvForm.Q8 || (p >= 1 && p < 32);
      pages.forEach((page, p) => {
        const of = (form: KvForm): KvForm => (p === 34 ? KvForm.F32 : isAged(p) ? form : Math.min(form, KvForm.Q8));
        assert.equal([page.keys.form, page.values.form], [of(pair.keyForm), of(pair.valueForm)], `page ${p}`);
      });
    }
  }
  report("attend over packed pages, share of the bound", worst, "");
});

test("scale, soft cap and a first visible slot, in any page: the reference's bits, near exact arithmetic", () => {
  let worst = 0;
  for (const pair of PAIRS) {
    const { head, data } = randomHead(64, 80, 1100, { ...pair, group: 32, recentPages: 3, sinkPages: 2 });
    head.growTo(1100);
    const all = contents(head, 1100, data);
    for (const options of [
      { scale: 0.03 },
      { scale: -0.05, first: 3 },
      { softcap: 50 },
      { softcap: 1.5, first: 37 },
      { scale: 0.3, softcap: 20, first: 64 },
      { first: 63 },
      { first: 1055 },
      { first: 1099, softcap: 2 },
    ]) {
      const what = `${pair.keyForm} x ${pair.valueForm}, ${JSON.stringify(options)}`;
      worst = Math.max(worst, check(head, 1100, data, options, what, all));
    }
    head.instance.check();
  }
  report("attend over packed pages with options, share of the bound", worst, "");
});

test("where every code of a query and of a weight is the largest, none is rounded: near exact within f32's rounding", () => {
  const [keyDim, valueDim, slots] = [80, 80, 230];
  for (const pair of PAIRS) {
    for (const group of [32, 64]) {
      const aging = { ...pair, group, recentPages: 2, sinkPages: 1 };
      const draw = draws(group);
      const data = { q: new Float32Array(keyDim).fill(0.7), keyDim, valueDim, group };
      const noise = bells(valueDim, draw);
      // Slots hold the same numbers of a group, turned: the same scale and minimum.
      const turned = floats(slots * valueDim, (i) => {
        const [slot, d] = [Math.floor(i / valueDim), i % valueDim];
        const first = d - (d % group);
        return noise[first + ((d - first + slot) % Math.min(group, valueDim - first))]!;
      });
      // Keys of one sign, values by the score: nothing cancels, and a wrong score shows.
      const keys = new Float32Array(slots * keyDim);
      const split = new Float32Array(slots * valueDim);
      for (let slot = 0; slot < slots; ++slot) {
        const level = draw();
        for (let d = 0; d < keyDim; ++d) keys[slot * keyDim + d] = level * (1 + (d % 4) / 8);
        split.fill(level > 0.85 ? 1 : -1, slot * valueDim, (slot + 1) * valueDim);
      }
      for (const [own, values] of [
        [keys, pair.valueForm === KvForm.F32 ? split : undefined],
        [new Float32Array(slots * keyDim), turned],
      ] as const) {
        if (values === undefined) continue;
        const head = growingHead(keyDim, valueDim, own, values, 0, aging);
        head.growTo(slots);
        const { exact, bound } = boundOf(contents(head, slots, data), data.q, slots, data, { scale: 0.1 }, 0);
        const what = `${pair.keyForm} x ${pair.valueForm} by ${group}, ${values === turned ? "weights" : "queries"}`;
        within(head.attend("op", data.q, slots, { scale: 0.1 }), exact.out, (d) => bound[d]!, what);
      }
    }
  }
});

test("a head that has given pages back, sinks among them: the reference's bits, near exact arithmetic", () => {
  for (const pair of PAIRS) {
    for (const window of [1, 50, 300]) {
      const aging = { ...pair, group: 64, recentPages: 2, sinkPages: 1 };
      const { head, data } = randomHead(20, 36, 700, aging, window);
      for (const n of [31, 32, 33, 97, 384, 390, 700]) {
        head.growTo(n);
        const what = `${pair.keyForm} x ${pair.valueForm}, window ${window}, ${n} slots`;
        check(head, n, data, { first: Math.max(0, n - window) }, what, contents(head, n, data));
      }
      assert.ok(head.head.u32[1]! > 0, "pages were given back");
      head.instance.check();
    }
  }
});

test("two heads' bits are the same in any place of the group", () => {
  const aging = { keyForm: KvForm.Q3, valueForm: KvForm.Q4, group: 32, recentPages: 1 };
  const { head, data } = randomHead(64, 48, 200, aging);
  head.growTo(200);
  const q = data.q.slice(0, 64);
  const alone = head.attend("op", q, 200);
  for (const nHeads of HEADS) {
    for (let place = 0; place < nHeads; ++place) {
      const all = bells(nHeads * 64, draws(nHeads), 5);
      all.set(q, place * 64);
      const out = head.attend("op", all, 200);
      sameBits(out.slice(place * 48, (place + 1) * 48), alone, `place ${place} of ${nHeads}`);
    }
  }
});

test("queries and values of any size: zero, tiny, huge; scores without a finite weight agree", () => {
  for (const pair of PAIRS) {
    const { head, data } = randomHead(20, 36, 140, { ...pair, group: 32, recentPages: 1, sinkPages: 1 });
    head.growTo(140);
    for (const size of [0, 2 ** -140, 2 ** -101, 2 ** -99, 2 ** -20, 2 ** 20, 2 ** 100]) {
      const q = data.q.map((x) => x * size);
      for (const options of [{}, { softcap: 30 }, { scale: 1e-3 }]) {
        const what = `${pair.keyForm} x ${pair.valueForm}, size ${size}, ${JSON.stringify(options)}`;
        sameValues(head.attend("op", q, 140, options), head.attend("ref", q, 140, options), what);
      }
      if (size > 1) continue;
      const all = contents(head, 140, data);
      const own = q.subarray(0, 20);
      const { exact, bound } = boundOf(all, own, 140, data, {});
      const out = head.attend("op", own, 140);
      within(out, exact.out, (d) => bound[d]! + 2 ** -90, `${pair.keyForm} x ${pair.valueForm}, queries of ${size}`);
    }
    for (const bad of [Number.NaN, Infinity]) {
      const q = data.q.map((x, i) => (i % 20 === 3 ? bad : x));
      sameValues(head.attend("op", q, 140), head.attend("ref", q, 140), `${bad} in the query`);
    }
  }
});

test("a page with a NaN or an infinity, key or value: NaN in every dim of every head that sees it, and of no other", () => {
  for (const pair of PAIRS) {
    for (const isKey of [true, false]) {
      if ((isKey ? pair.keyForm : pair.valueForm) === KvForm.F32) continue; // there it is a number like others
      for (const bad of [Number.NaN, Infinity, -Infinity]) {
        const [keyDim, valueDim, slots] = [16, 20, 230];
        const draw = draws(9);
        const [keys, values] = [bells(slots * keyDim, draw), bells(slots * valueDim, draw)];
        if (isKey) keys[50 * keyDim + 3] = bad;
        else values[50 * valueDim + 19] = bad;
        const aging = { ...pair, group: 64, recentPages: 2, sinkPages: 1 };
        const head = growingHead(keyDim, valueDim, keys, values, 0, aging);
        const q = bells(4 * keyDim, draw);
        for (const n of [70, 230]) {
          head.growTo(n);
          const what = `${pair.keyForm} x ${pair.valueForm}, ${bad} in a ${isKey ? "key" : "value"}, ${n} slots`;
          for (const op of ["op", "ref"] as const) {
            for (const first of [0, 50, 63]) {
              assert.ok(head.attend(op, q, n, { first }).every(Number.isNaN), `${what}: ${op} from ${first}`);
            }
            assert.ok(head.attend(op, q, n, { first: 64 }).every(Number.isFinite), `${what}: ${op}, not seen`);
            assert.ok(head.attend(op, q, 32).every(Number.isFinite), `${what}: ${op}, pages before it`);
          }
        }
      }
    }
  }
});

test.run();
