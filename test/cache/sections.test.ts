import { suite } from "uvu";
import * as assert from "uvu/assert";
import { KvForm } from "../../assembly/memory/status.ts";
import { type CacheConfig, pageSizes } from "../../host/kv-cache.ts";
import { bells, type Draw, draws } from "../kernel/values.ts";
import { quantizeGroup, readPage, valuesOf } from "../oracle/packed-page.ts";
import { packRef } from "../oracle/sections.ts";
import { createEngine, createHead, type HeadShape, pageBytesOf, pagesAt, SMALL } from "./engine.ts";
import { sectionWord } from "./sections.ts";

const test = suite("sections of pages");

const WORDS = [
  { mean: true },
  { outliers: 1 },
  { outliers: 8 },
  { factors: true },
  { salient: 1 },
  { salient: 8 },
  { mean: true, outliers: 2 },
  { outliers: 3, factors: true, salient: 2 },
  { mean: true, outliers: 4, factors: true, salient: 4 },
] as const;
const FORMS = [
  [KvForm.Q4, KvForm.Q4],
  [KvForm.Q3, KvForm.Q8],
  [KvForm.Q8, KvForm.Q3],
  [KvForm.F32, KvForm.Q4],
  [KvForm.Q4_CHANNELS, KvForm.Q3],
  [KvForm.Q3_CHANNELS, KvForm.F32],
] as const;
const DIMS = [
  [64, 64, 64],
  [20, 80, 32],
  [128, 8, 32],
] as const;

/** Pages of a head of this shape that was given these tokens; the first has aged. */
function grownPages(shape: HeadShape, keys: Float32Array, values: Float32Array) {
  const { keyDim, valueDim, group = 64, sections } = shape;
  const instance = createEngine({ ...SMALL, ...shape, slabBytes: 1 << 22 });
  const { append, closeFull, poolReserve } = instance.exports;
  const slots = keys.length / keyDim;
  poolReserve(slots / 32);
  const head = createHead(instance, shape, slots / 32);
  const [k, v] = [instance.input(keys).address, instance.input(values).address];
  for (let slot = 0; slot < slots; ++slot) {
    append(head.address, k + 4 * slot * keyDim, v + 4 * slot * valueDim, keyDim, valueDim);
    closeFull(head.address);
  }
  instance.check();
  const { buffer } = instance.exports.memory;
  return pagesAt(instance, head.address).map((page) => readPage(buffer, page, { keyDim, valueDim, group, sections }));
}

/** [32][dim] as 8 bits have them. */
function byteRows(data: Float32Array, dim: number, group: number, isKeys: boolean): number[][] {
  return Array.from({ length: 32 }, (_, slot) => {
    const row = Array.from(data.subarray(slot * dim, (slot + 1) * dim));
    const out: number[] = [];
    for (let first = 0; first < dim; first += group) {
      const { codes, scale } = quantizeGroup(row.slice(first, first + group), KvForm.Q8, isKeys);
      out.push(...codes.map((code) => Math.fround(code * scale)));
    }
    return out;
  });
}

/** Pages of every kind: channels far from zero, large ones, equal tokens, zeros, tiny and huge ones. */
const KINDS: readonly ((slots: number, dim: number, draw: Draw) => Float32Array)[] = [
  (slots, dim, draw) => bells(slots * dim, draw).map((x, i) => x * 2 ** ((i % dim) % 5) + (((i % dim) % 4) - 1) * 10),
  (slots, dim, draw) => bells(slots * dim, draw).map((x, i) => (i % dim === 5 ? 40 * x - 100 : x)),
  (slots, dim, draw) => bells(slots * dim, draw).map((x, i) => x * (Math.floor(i / dim) % 9 === 4 ? 30 : 1)),
  (slots, dim) => new Float32Array(slots * dim).map((_, i) => (i % dim) - 3),
  (slots, dim) => new Float32Array(slots * dim),
  (slots, dim, draw) => bells(slots * dim, draw, 1e-6),
  (slots, dim, draw) => bells(slots * dim, draw, 1e30),
];

test("every section alone and together: codes, scales and sections are the formulas', sizes as drawn and as the host counts", () => {
  for (const [i, [keyForm, valueForm]] of FORMS.entries()) {
    for (const [j, names] of [{}, ...WORDS].entries()) {
      const sections = sectionWord(names);
      for (const [k, make] of KINDS.entries()) {
        if ((i + j + k) % 2 === 1) continue; // every other one will do
        const [keyDim, valueDim, group] = DIMS[(i + j + k) % DIMS.length]!;
        const shape: HeadShape = { keyDim, valueDim, keyForm, valueForm, group, recentPages: 1, sections };
        const draw = draws(100 * i + 10 * j + k);
        const [keys, values] = [make(64, keyDim, draw), make(64, valueDim, draw)];
        const [page] = grownPages(shape, keys, values);
        const what = `${keyForm} x ${valueForm}, ${JSON.stringify(names)}, kind ${k}, ${keyDim} x ${valueDim}`;
        assert.is(page!.nBytes, pageBytesOf(shape), what);
        const cache = { keyForm, valueForm, group, sections } as CacheConfig;
        assert.is(page!.nBytes, pageSizes(cache, { keyDim, valueDim }).aged, `${what}: host`);
        for (const [part, form, data, dim, isKeys] of [
          [page!.keys, keyForm, keys, keyDim, true],
          [page!.values, valueForm, values, valueDim, false],
        ] as const) {
          if (form <= KvForm.Q8) continue;
          const { groups, ...extras } = packRef(byteRows(data, dim, group, isKeys), {
            form,
            isKeys,
            dim,
            group,
            sections,
          });
          assert.equal(part.extras, extras, `${what}, ${isKeys ? "keys" : "values"}: sections`);
          assert.equal(part.groups, groups, `${what}, ${isKeys ? "keys" : "values"}: codes`);
        }
      }
    }
  }
});

/** Mean square of what a page's keys or values lack. */
function lossOf(
  names: Parameters<typeof sectionWord>[0],
  keyForm: KvForm,
  isKeys: boolean,
  data: Float32Array,
): number {
  const shape = {
    keyDim: 64,
    valueDim: 64,
    keyForm,
    valueForm: KvForm.Q4,
    recentPages: 1,
    sections: sectionWord(names),
  };
  const [page] = grownPages(shape, data, data);
  const rows = valuesOf(isKeys ? page!.keys : page!.values);
  return rows.flat().reduce((sum, x, i) => sum + (x - data[i]!) ** 2, 0) / 2048;
}

test("what each is for: channels far from zero, large channels, large tokens", () => {
  const noise = bells(64 * 64, draws(1));
  const shifted = noise.map((x, i) => x + (i % 64 === 7 ? 30 : 0));
  const large = noise.map((x, i) => x * (i % 64 === 7 ? 30 : 1));
  const token = noise.map((x, i) => x * (Math.floor(i / 64) === 7 ? 30 : 1));
  const gain = (names: Parameters<typeof sectionWord>[0], isKeys: boolean, data: Float32Array): number =>
    lossOf({}, KvForm.Q4, isKeys, data) / lossOf(names, KvForm.Q4, isKeys, data);
  const gains = {
    mean: gain({ mean: true }, true, shifted),
    outliers: gain({ outliers: 1 }, true, large),
    factors: gain({ factors: true }, false, large),
    salientKeys: gain({ salient: 1 }, true, token),
    salientValues: gain({ salient: 1 }, false, token),
    channelsShifted: lossOf({}, KvForm.Q4, true, shifted) / lossOf({}, KvForm.Q4_CHANNELS, true, shifted),
    channelsLarge: lossOf({}, KvForm.Q4, true, large) / lossOf({}, KvForm.Q4_CHANNELS, true, large),
  };
  for (const [name, gained] of Object.entries(gains)) assert.ok(gained > 3, `${name}: ${gained}`);
});

test("keys in planes are the codes of 8 bits", () => {
  const keys = bells(96 * 20, draws(2));
  for (const valueForm of [KvForm.Q8, KvForm.Q3]) {
    const of = (keyForm: KvForm) => {
      const shape = { keyDim: 20, valueDim: 20, keyForm, valueForm, group: 32, recentPages: 1 };
      return grownPages(shape, keys, keys).map((page) => page.keys);
    };
    const [bytes, planes] = [of(KvForm.Q8), of(KvForm.Q8_PLANES)];
    for (const [p, part] of planes.entries()) {
      const isAged = valueForm === KvForm.Q8 || p < 2;
      assert.is(part.form, isAged ? KvForm.Q8_PLANES : KvForm.Q8);
      assert.equal(part.groups, bytes[p]!.groups);
    }
  }
});

test.run();
