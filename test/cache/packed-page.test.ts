import { suite } from "uvu";
import * as assert from "uvu/assert";
import { KvForm } from "../../assembly/memory/status.ts";
import { anySize, bells, type Draw, draws, floats } from "../kernel/values.ts";
import { halfRef } from "../oracle/half.ts";
import {
  nearestHalf,
  type PackedGroup,
  type PagePart,
  quantizeGroup,
  readPage,
  valuesOf,
} from "../oracle/packed-page.ts";
import { createEngine, createHead, type HeadShape, pageBytesOf, pagesAt, recentBytesOf, SMALL } from "./engine.ts";

const test = suite("packed pages");

const FORMS = [KvForm.F32, KvForm.Q8, KvForm.Q4, KvForm.Q3] as const;
const DIMS = [8, 20, 64, 80, 128];
const GROUPS = [32, 64];

/** A head of this shape that was given the tokens of `keys` and `values`, full pages having aged on the way. */
function grownHead(shape: HeadShape, keys: Float32Array, values: Float32Array) {
  const { keyDim, valueDim } = shape;
  const instance = createEngine({ ...SMALL, ...shape, slabBytes: 1 << 22 });
  const { append, closeFull, poolReserve } = instance.exports;
  const slots = keys.length / keyDim;
  assert.is(Number(poolReserve(slots / 32)), 1);
  const head = createHead(instance, shape, slots / 32);
  const [k, v] = [instance.input(keys).address, instance.input(values).address];
  for (let slot = 0; slot < slots; ++slot) {
    append(head.address, k + 4 * slot * keyDim, v + 4 * slot * valueDim, keyDim, valueDim);
    closeFull(head.address);
  }
  instance.check();
  const dims = { keyDim, valueDim, group: shape.group! };
  return pagesAt(instance, head.address).map((page) => readPage(instance.exports.memory.buffer, page, dims));
}

function rowsOf(data: Float32Array, dim: number, group: number): number[][][] {
  return Array.from({ length: data.length / dim }, (_, slot) =>
    Array.from({ length: Math.ceil(dim / group) }, (_, g) =>
      Array.from(data.subarray(slot * dim + g * group, slot * dim + Math.min(dim, (g + 1) * group))),
    ),
  );
}

/** Tokens of every kind, [slots][dim]: ordinary, of any size, one sign only, equal, zero, one number among zeros. */
function tokensOf(slots: number, dim: number, draw: Draw): Float32Array {
  const out = new Float32Array(slots * dim);
  for (let slot = 0; slot < slots; ++slot) {
    const level = 2 ** Math.floor(draw() * 60 - 40);
    const kinds = [
      () => bells(dim, draw),
      () => bells(dim, draw, level),
      () => anySize(dim, draw, -36, 22),
      () => bells(dim, draw, 0.1).map((x) => 3 + x),
      () => bells(dim, draw, level / 8).map((x) => -5 * level + x),
      () => new Float32Array(dim).fill((draw() - 0.5) * level),
      () => new Float32Array(dim),
      () => floats(dim, (d) => (d === slot % dim ? (draw() - 0.5) * level : 0)),
      () => bells(dim, draw, 1e30),
      () => bells(dim, draw, 1e-39),
    ];
    out.set(kinds[slot % 7 === 6 ? 7 + Math.floor(draw() * 3) : slot % 7]!(), slot * dim);
  }
  return out;
}

/** What a part must be: of f32 rows [slot][group][dims], through the forms in order. */
function agedRows(rows: number[][][], forms: readonly KvForm[], isKeys: boolean): PackedGroup[][] {
  return rows.map((row) =>
    row.map((x) => {
      let group: PackedGroup = { codes: x, scale: 1, minimum: 0 };
      for (const form of forms) {
        if (form === KvForm.F32) continue;
        group = quantizeGroup(
          group.codes.map((code) => Math.fround(code * group.scale)),
          form,
          isKeys,
        );
      }
      return group;
    }),
  );
}

function checkPart(part: PagePart, form: KvForm, expected: PackedGroup[][], what: string): void {
  assert.is(part.form, form, `${what}: form`);
  assert.ok(
    part.padding.every((code) => code === 0),
    `${what}: padding`,
  );
  expected.forEach((row, slot) => {
    assert.equal(part.groups[slot], row, `${what}, slot ${slot}`);
  });
}

/** Form of a part while it is recent. */
const recent = (form: KvForm): KvForm => Math.min(form, KvForm.Q8);

test("the oracle itself: halves to even, subnormals, the largest; codes by hand", () => {
  assert.equal([1 + 2 ** -11, 1 + 3 * 2 ** -11, 2 ** -25, 3 * 2 ** -25, 65520, -1e9].map(nearestHalf), [
    1,
    1 + 2 ** -9,
    0,
    2 ** -23,
    65504,
    -65504,
  ]);
  const x = [-127, 0, 0.5, 1.5, 63.4, 127];
  assert.equal(quantizeGroup(x, KvForm.Q8, false), { codes: [-127, 0, 0, 2, 63, 127], scale: 1, minimum: 0 });
  assert.equal(quantizeGroup([-126, 1, 3, 126], KvForm.Q8, true), { codes: [-63, 0, 2, 63], scale: 2, minimum: 0 });
  assert.equal(quantizeGroup([2, 2.5, 3.5, 17], KvForm.Q4, true), { codes: [0, 0, 2, 15], scale: 1, minimum: 2 });
  assert.equal(quantizeGroup([-1, 0, 6], KvForm.Q3, false), { codes: [0, 1, 7], scale: 1, minimum: -1 });
  assert.equal(quantizeGroup([5, 5, 5], KvForm.Q3, true), { codes: [0, 0, 0], scale: 0, minimum: 5 });
});

test("every form, dims and group: codes, scales and minima are the formula's, padding zero, sizes as drawn", () => {
  for (const keyForm of FORMS) {
    for (const valueForm of FORMS) {
      for (const [i, keyDim] of DIMS.entries()) {
        for (const group of GROUPS) {
          const valueDim = DIMS[(i + keyForm + 2 * valueForm) % DIMS.length]!;
          const shape: HeadShape = { keyDim, valueDim, keyForm, valueForm, group, recentPages: 2, sinkPages: 1 };
          const what = `${keyForm} x ${valueForm}, ${keyDim} x ${valueDim} by ${group}`;
          const draw = draws(1000 * keyForm + 100 * valueForm + keyDim + group);
          const [keys, values] = [tokensOf(160, keyDim, draw), tokensOf(160, valueDim, draw)];
          const pages = grownHead(shape, keys, values);
          const [keyRows, valueRows] = [rowsOf(keys, keyDim, group), rowsOf(values, valueDim, group)];
          assert.is(pages.length, 5, what);
          for (const [p, page] of pages.entries()) {
            // Five closed pages: a sink, two that have aged, two recent ones.
            const isAged = Math.max(keyForm, valueForm) <= KvForm.Q8 || p === 1 || p === 2;
            assert.is(page.references, isAged ? 1 : 0, `${what}, page ${p}: references`);
            assert.is(page.nBytes, isAged ? pageBytesOf(shape) : recentBytesOf(shape), `${what}, page ${p}: bytes`);
            assert.is(page.isBroken, false, `${what}, page ${p}`);
            for (const [part, form, rows] of [
              [page.keys, keyForm, keyRows],
              [page.values, valueForm, valueRows],
            ] as const) {
              const forms = !isAged || form <= KvForm.Q8 ? [recent(form)] : [KvForm.Q8, form];
              const expected = agedRows(rows.slice(32 * p, 32 * p + 32), forms, part === page.keys);
              checkPart(part, forms.at(-1)!, expected, `${what}, page ${p}, ${part === page.keys ? "keys" : "values"}`);
            }
          }
        }
      }
    }
  }
});

test("what a page stands for is near what was appended: half a step of each conversion, of ordinary numbers", () => {
  const [keyDim, valueDim, group] = [64, 80, 64];
  for (const [form, top] of [
    [KvForm.Q8, Number.NaN],
    [KvForm.Q4, 15],
    [KvForm.Q3, 7],
  ] as const) {
    const draw = draws(form);
    const [keys, values] = [bells(64 * keyDim, draw), bells(64 * valueDim, draw)];
    const shape: HeadShape = { keyDim, valueDim, keyForm: form, valueForm: form, group, recentPages: 1 };
    const [page] = grownHead(shape, keys, values);
    for (const [part, data, dim] of [
      [page!.keys, keys, keyDim],
      [page!.values, values, valueDim],
    ] as const) {
      valuesOf(part).forEach((row, slot) => {
        const x = data.subarray(slot * dim, (slot + 1) * dim);
        for (let d = 0; d < dim; ++d) {
          const own = x.subarray(d - (d % group), d - (d % group) + group);
          const absmax = own.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
          const range = Math.max(...own) - Math.min(...own);
          const eight = (0.5 / (part === page!.keys ? 63 : 127) + 2 ** -11) * absmax; // half a step, the last ones clipped by the scale's rounding
          const fewer = form === KvForm.Q8 ? 0 : (0.5 / top + 2 ** -11) * (range + 2 * eight) + 2 ** -11 * absmax;
          const error = Math.abs(row[d]! - x[d]!);
          assert.ok(error <= 1.001 * (eight + fewer), `form ${form}, slot ${slot}, dim ${d}: ${error}`);
        }
      });
    }
  }
});

test("groups of equal numbers, of zeros, too large and too small for a half: what they stand for", () => {
  const [keyDim, valueDim] = [20, 64];
  for (const form of [KvForm.Q8, KvForm.Q4, KvForm.Q3]) {
    const of = (key: number, value: number): number[] => {
      const [keys, values] = [new Float32Array(64 * keyDim).fill(key), new Float32Array(64 * valueDim).fill(value)];
      const shape: HeadShape = { keyDim, valueDim, keyForm: form, valueForm: form, group: 32, recentPages: 1 };
      const [page] = grownHead(shape, keys, values);
      assert.is(page!.isBroken, false);
      return [page!.keys, page!.values].map((part) => {
        const all = valuesOf(part).flat();
        assert.ok(all.every((x) => x === all[0]));
        return all[0]!;
      });
    };
    const isBytes = form === KvForm.Q8;
    const most = 65504 * (form === KvForm.Q4 ? 16 : 8);
    const [key, value] = [63 * 2 ** -24, 127 * 2 ** -24];
    assert.equal(of(0, 0).map(Math.abs), [0, 0]);
    assert.equal(of(63, 127), [63, 127]);
    assert.equal(of(-63, -127), [-63, -127]);
    assert.equal(of(1e30, 1e30), isBytes ? [63 * 65504, 127 * 65504] : [most, most]);
    assert.equal(of(-1e30, -1e30), isBytes ? [-63 * 65504, -127 * 65504] : [-65504, -65504]);
    assert.equal(of(1e-30, 1e-30).map(Math.abs), [0, 0]);
    assert.equal(of(key, value), isBytes ? [key, value] : [key, value].map(nearestHalf));
  }
});

test("a NaN or an infinity marks the page, once it is packed and for good, and no other page", () => {
  const [keyDim, valueDim] = [20, 40];
  for (const [keyForm, valueForm] of [
    [KvForm.Q8, KvForm.Q8],
    [KvForm.Q4, KvForm.Q3],
    [KvForm.F32, KvForm.Q4],
    [KvForm.Q3, KvForm.F32],
  ] as const) {
    const shape: HeadShape = { keyDim, valueDim, keyForm, valueForm, group: 32, recentPages: 1 };
    for (const bad of [Number.NaN, Infinity, -Infinity]) {
      for (const [slot, d] of [
        [0, 0],
        [31, 19],
        [32, 7],
        [63, 0],
        [50, 19],
        [95, 3],
      ] as const) {
        for (const isKey of [true, false]) {
          const [keys, values] = [new Float32Array(96 * keyDim).fill(1), new Float32Array(96 * valueDim).fill(2)];
          if (isKey) keys[slot * keyDim + d] = bad;
          else values[slot * valueDim + d] = bad;
          const pages = grownHead(shape, keys, values);
          const isPacked = (isKey ? keyForm : valueForm) !== KvForm.F32;
          assert.equal(
            pages.map((page) => page.isBroken),
            [0, 1, 2].map((p) => isPacked && p === slot >> 5),
            `${keyForm} x ${valueForm}: ${bad} in ${isKey ? "key" : "value"} ${slot}, dim ${d}`,
          );
          if (isPacked) continue;
          const part = isKey ? pages[slot >> 5]!.keys : pages[slot >> 5]!.values;
          assert.ok(Object.is(valuesOf(part)[slot % 32]![d], bad), "as it is");
        }
      }
    }
  }
});

test("numbers of both signs near the largest f32 are finite: the page is not broken", () => {
  const shape: HeadShape = {
    keyDim: 32,
    valueDim: 32,
    keyForm: KvForm.Q8,
    valueForm: KvForm.Q4,
    group: 32,
    recentPages: 1,
  };
  const large = Float32Array.from({ length: 96 * 32 }, (_, i) => (i % 2 === 0 ? 3e38 : -3e38));
  for (const page of grownHead(shape, large, large)) assert.not(page.isBroken);
});

test("roundToHalf: every half, what lies between two of them, every exponent, beyond the largest, NaN", () => {
  const { roundToHalf } = createEngine(SMALL).exports;
  const word = new DataView(new ArrayBuffer(4));
  const floatOf = (bits: number): number => {
    word.setUint32(0, bits);
    return word.getFloat32(0);
  };
  const bitsOf = (x: number): number => {
    word.setFloat32(0, x);
    return word.getUint32(0);
  };
  const check = (x: number): void => {
    const half = halfRef(roundToHalf(x));
    if (!Object.is(half, nearestHalf(x))) assert.unreachable(`${x}: ${half}, expected ${nearestHalf(x)}`);
  };
  for (let bits = 0; bits < 0x7c00; ++bits) {
    for (const sign of [1, -1]) {
      assert.is(roundToHalf(sign * halfRef(bits)), sign < 0 ? bits + 0x8000 : bits, "a half stays itself");
      if (bits === 0x7bff) continue;
      const middle = sign * (halfRef(bits) + (halfRef(bits + 1) - halfRef(bits)) / 2);
      const at = bitsOf(middle);
      for (const near of [at - 1, at, at + 1]) check(floatOf(near));
    }
  }
  const draw = draws(16);
  for (let exponent = 0; exponent < 255; ++exponent) {
    for (const fraction of [
      0,
      1,
      0xfff,
      0x1000,
      0x1001,
      0x7fffff,
      ...Array.from({ length: 20 }, () => draw() * 2 ** 23),
    ]) {
      for (const sign of [0, 2 ** 31]) check(floatOf(sign + exponent * 2 ** 23 + Math.floor(fraction)));
    }
  }
  for (const x of [65504, 65519, 65520, 65536, 3.4e38, Infinity]) {
    assert.equal([roundToHalf(x), roundToHalf(-x)], [0x7bff, 0xfbff], `${x}`);
  }
  for (const bits of [0x7f800001, 0x7fc00000, 0xffc00000, 0x7fffffff]) {
    assert.ok(Number.isNaN(halfRef(roundToHalf(floatOf(bits)))));
  }
});

test.run();
