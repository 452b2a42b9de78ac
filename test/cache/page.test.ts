import { suite } from "uvu";
import * as assert from "uvu/assert";
import { sameBits } from "../kernel/compare.ts";
import { Instance } from "../kernel/instance.ts";
import { bells, draws } from "../kernel/values.ts";
import {
  createEngine,
  createHead,
  keyIndex,
  openAt,
  openBytesOf,
  pageBytesOf,
  pagesAt,
  SMALL,
  slotAt,
  valueIndex,
} from "./engine.ts";

const test = suite("page and append");

const DIMS = [
  [8, 8],
  [64, 64],
  [128, 32],
  [20, 36],
  [7, 12],
] as const;

test("slots written in any order read back where the drawing says; nothing else changes", () => {
  const draw = draws(41);
  for (const [keyDim, valueDim] of DIMS) {
    const instance = new Instance();
    const page = instance.output(pageBytesOf({ ...SMALL, keyDim, valueDim }));
    const expected = page.f32.slice();
    const order = Array.from({ length: 32 }, (_, i) => (i * 13) % 32);
    for (const slot of order) {
      const [key, value] = [bells(keyDim, draw), bells(valueDim, draw)];
      const addresses = [instance.input(key).address, instance.input(value).address] as const;
      instance.exports.writeSlot(page.address, slot, ...addresses, keyDim, valueDim);
      for (const [d, x] of key.entries()) expected[4 + keyIndex(slot, d, keyDim)] = x;
      for (const [d, x] of value.entries()) expected[4 + valueIndex(slot, d, keyDim, valueDim)] = x;
      sameBits(page.f32, expected, `${keyDim} x ${valueDim}, slot ${slot}`);
    }
    assert.ok(
      expected.subarray(4).every((x) => !Number.isNaN(x)),
      "32 slots fill the page",
    );
    instance.check();
  }
});

test("append: into the open page, which goes to the pool when its last slot is full; every slot reads back", () => {
  for (const [keyDim, valueDim] of DIMS) {
    const draw = draws(keyDim);
    const instance = createEngine({ ...SMALL, keyDim, valueDim });
    const { append, closeFull, poolFreePages, poolReserve } = instance.exports;
    assert.is(Number(poolReserve(4)), 1);
    const head = createHead(instance, { keyDim, valueDim }, 4);
    const page = openAt(instance, head.address);
    const open = () =>
      new Float32Array(instance.exports.memory.buffer, page, openBytesOf({ keyDim, valueDim }) / 4).slice();
    const stored: { key: Float32Array; value: Float32Array }[] = [];
    for (let n = 1; n <= 100; ++n) {
      const [key, value] = [bells(keyDim, draw), bells(valueDim, draw)];
      stored.push({ key, value });
      const expected = open();
      if (n % 32 === 1) new Uint32Array(expected.buffer)[3] = n - 1; // its first position
      for (const [d, x] of key.entries()) expected[4 + keyIndex((n - 1) % 32, d, keyDim)] = x;
      for (const [d, x] of value.entries()) expected[4 + valueIndex((n - 1) % 32, d, keyDim, valueDim)] = x;
      append(head.address, instance.input(key).address, instance.input(value).address, keyDim, valueDim);
      sameBits(open(), expected, "a slot is written, nothing else");
      assert.equal(Array.from(head.u32.subarray(0, 3)), [n, 0, Math.ceil(n / 32)]);
      assert.is(pagesAt(instance, head.address).at(-1), page, "the newest slots are in the open page");
      assert.is(poolFreePages(), 4 - Math.floor((n - 1) / 32), "appending takes none");
      closeFull(head.address);
      sameBits(open(), expected, "nor does closing change the open page");
      assert.equal(Array.from(head.u32.subarray(0, 3)), [n, 0, Math.ceil(n / 32)]);
      assert.is(poolFreePages(), 4 - Math.floor(n / 32));
      assert.is(pagesAt(instance, head.address).at(-1) === page, n % 32 !== 0);
    }
    const pages = pagesAt(instance, head.address);
    assert.is(new Set(pages).size, 4);
    for (const [i, { key, value }] of stored.entries()) {
      const slot = slotAt(instance, pages[i >> 5]!, i % 32, keyDim, valueDim);
      assert.equal(slot, { key: Array.from(key), value: Array.from(value) }, `slot ${i}`);
    }
    assert.equal(
      pages.map((at) => Array.from(new Uint32Array(instance.exports.memory.buffer, at, 4))),
      [
        [1, 0, 0, 0],
        [1, 0, 0, 32],
        [1, 0, 0, 64],
        [0, 0, 0, 96],
      ],
      "references, forms, mark and first position of pages of the pool and of the open one",
    );
    instance.check();
  }
});

test("two heads that append in turn keep apart", () => {
  const instance = createEngine(SMALL);
  const { append, closeFull, poolReserve } = instance.exports;
  assert.is(Number(poolReserve(6)), 1);
  const heads = [createHead(instance, SMALL, 3), createHead(instance, SMALL, 3)];
  for (let i = 0; i < 70; ++i) {
    for (const [h, head] of heads.entries()) {
      const row = instance.input(new Float32Array(8).fill(100 * h + i)).address;
      append(head.address, row, row, 8, 8);
      closeFull(head.address);
    }
  }
  for (const [h, head] of heads.entries()) {
    const pages = pagesAt(instance, head.address);
    for (let i = 0; i < 70; ++i) {
      assert.is(slotAt(instance, pages[i >> 5]!, i % 32, 8, 8).value[7], 100 * h + i);
    }
  }
  instance.check();
});

test.run();
