import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Instance } from "../kernel/instance.ts";
import {
  createEngine,
  createHead,
  HEAD_BYTES,
  pageBytesOf,
  pagesAt,
  SESSION_BYTES,
  type Shape,
  SMALL,
} from "./engine.ts";

const test = suite("pool");

/** Takes pages as the cache does: a head of `nPages` full pages of `value`. */
function fill(instance: Instance, nPages: number, value: number): number[] {
  const head = createHead(instance, SMALL, nPages);
  const row = instance.input(new Float32Array(8).fill(value)).address;
  for (let i = 0; i < 32 * nPages; ++i) {
    instance.exports.append(head.address, row, row, 8, 8);
    instance.exports.closeFull(head.address);
  }
  return pagesAt(instance, head.address);
}

function wordsOf(instance: Instance, page: number, shape: Shape): Uint32Array {
  return new Uint32Array(instance.exports.memory.buffer, page, pageBytesOf(shape) / 4);
}

test("reserve: n pages are free afterwards, never more than missing, none when enough are", () => {
  const instance = createEngine(SMALL);
  const { poolFreePages, poolPages, poolReserve } = instance.exports;
  const counts = () => [poolPages(), poolFreePages()];
  assert.equal(counts(), [0, 0]);
  for (const [n, total, free] of [
    [0, 0, 0],
    [3, 3, 3],
    [2, 3, 3],
    [3, 3, 3],
    [7, 7, 7],
  ] as const) {
    assert.is(Number(poolReserve(n)), 1);
    assert.equal(counts(), [total, free], `reserve ${n}`);
  }
  fill(instance, 5, 1);
  assert.equal(counts(), [7, 2]);
  assert.is(Number(poolReserve(4)), 1);
  assert.equal(counts(), [9, 4]);
});

test("pages are aligned, apart from each other and inside the arena; memory grows by what they take", () => {
  const instance = createEngine(SMALL);
  const { arenaBytes, poolReserve } = instance.exports;
  const before = arenaBytes();
  assert.is(Number(poolReserve(10)), 1);
  assert.is(Number(poolReserve(25)), 1);
  const bytes = pageBytesOf(SMALL);
  const slab = (n: number) => 64 * Math.ceil((n * bytes) / 64) + 64;
  assert.is(arenaBytes() - before, slab(10) + slab(15), "two slabs to whole 64 bytes, 64 bytes of padding each");
  const pages = fill(instance, 25, 1).sort((a, b) => a - b);
  for (const [i, page] of pages.entries()) {
    assert.is(page % 16, 0);
    assert.ok(page >= before && page + bytes <= arenaBytes());
    if (i > 0) assert.ok(page - pages[i - 1]! >= bytes);
  }
});

test("when memory cannot grow: false, and the pool is as it was", () => {
  const instance = createEngine({ ...SMALL, keyDim: 256, valueDim: 256 });
  const { arenaAlloc, arenaBytes, poolFreePages, poolPages, poolReserve } = instance.exports;
  assert.is(Number(poolReserve(2)), 1);
  assert.is(arenaAlloc(BigInt(2 ** 32 - arenaBytes() - 4096)), 0, "an end address must not come near 2^32");
  assert.is(Number(poolReserve(2 ** 31)), 0, "140 TB");
  assert.is(Number(poolReserve(70000)), 0, "4.3 GiB: past the end of 32-bit addresses");
  assert.equal([poolPages(), poolFreePages()], [2, 2]);
  assert.is(Number(poolReserve(3)), 1);
});

test("a closed session's pages are zeroed, and are the ones the next session gets", () => {
  const shape = { ...SMALL, nLayers: 2, nKvHeads: 3, nHeads: 3 };
  const instance = createEngine(shape);
  const { append, closeFull, poolFreePages, poolPages, poolReserve, sessionClose, sessionOpen } = instance.exports;
  assert.is(Number(poolReserve(12)), 1);
  const secret = instance.input(new Float32Array(8).fill(1234.5)).address;
  const used = () => {
    const session = sessionOpen();
    const pages: number[] = [];
    for (let h = 0; h < 6; ++h) {
      const head = session + SESSION_BYTES + HEAD_BYTES * h;
      for (let i = 0; i < 70; ++i) {
        append(head, secret, secret, 8, 8);
        closeFull(head);
      }
      pages.push(...pagesAt(instance, head));
    }
    new Uint32Array(instance.exports.memory.buffer, session, 1)[0] = 70;
    return { session, pages };
  };
  const first = used();
  assert.is(new Set(first.pages).size, 18, "two of the pool and an open one in each head");
  assert.is(poolFreePages(), 0);
  sessionClose(first.session);
  assert.is(poolFreePages(), 12);
  for (const page of first.pages) {
    assert.ok(
      wordsOf(instance, page, shape)
        .subarray(1)
        .every((word) => word === 0),
      "nothing of the tokens is left",
    );
  }
  const second = used();
  assert.equal(new Set(second.pages), new Set(first.pages));
  assert.is(second.session, first.session);
  assert.is(poolPages(), 12);
  instance.check();
});

test("pages that come back are zero but for what was appended, the link of the free list too", () => {
  const instance = createEngine(SMALL);
  const { append, closeFull, poolReserve, sessionClose, sessionOpen } = instance.exports;
  assert.is(Number(poolReserve(3)), 1);
  const zero = instance.input(new Float32Array(8)).address;
  for (let round = 0; round < 3; ++round) {
    const session = sessionOpen();
    const head = session + SESSION_BYTES;
    for (let i = 0; i < 96; ++i) {
      append(head, zero, zero, 8, 8);
      closeFull(head);
      const page = pagesAt(instance, head).at(-1)!;
      const [references, ...words] = wordsOf(instance, page, SMALL);
      assert.is(references, i % 32 === 31 ? 1 : 0, "of the pool, or open");
      assert.is(words[2], i & ~31, "its first position");
      words[2] = 0;
      assert.ok(words.every((word) => word === 0));
    }
    new Uint32Array(instance.exports.memory.buffer, session, 1)[0] = 96;
    sessionClose(session);
  }
});

test("a head's pages lie side by side, however the heads take turns; where its own are gone it takes the next one's", () => {
  const shape = { ...SMALL, nLayers: 2, nKvHeads: 3, nHeads: 3, contextLength: 1000 };
  const instance = createEngine(shape);
  const { append, closeFull, poolFreePages, poolReserve, sessionClose, sessionOpen } = instance.exports;
  const row = instance.input(new Float32Array(8)).address;
  const heads = Array.from({ length: 6 }, (_, h) => SESSION_BYTES + HEAD_BYTES * h);
  const grow = (session: number, head: number, nPages: number) => {
    for (let i = 0; i < 32 * nPages; ++i) {
      append(session + head, row, row, 8, 8);
      closeFull(session + head);
    }
  };
  const end = (session: number, tokens: number) => {
    new Uint32Array(instance.exports.memory.buffer, session, 1)[0] = tokens;
    sessionClose(session);
  };
  const pages = (session: number, head: number) => pagesAt(instance, session + head);
  const bytes = pageBytesOf(shape);
  assert.is(Number(poolReserve(6 * 4)), 1);
  for (let round = 0; round < 3; ++round) {
    const session = sessionOpen();
    for (let block = 0; block < 4; ++block) for (const head of heads) grow(session, head, 1);
    for (const head of heads) {
      const [first] = pages(session, head);
      assert.equal(
        pages(session, head),
        [0, 1, 2, 3].map((i) => first! + i * bytes),
      );
    }
    assert.is(poolFreePages(), 0);
    end(session, 128);
  }
  const session = sessionOpen();
  grow(session, heads[4]!, 20);
  const taken = pages(session, heads[4]!);
  assert.is(new Set(taken).size, 20);
  assert.ok(
    taken.slice(1, 8).every((page, i) => page === taken[i]! + bytes),
    "its own and those of head 5",
  );
  assert.is(poolFreePages(), 4);
  instance.check();
});

test.run();
