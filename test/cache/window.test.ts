import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Cache, createCache } from "./cache.ts";
import { pageBytesOf, type Shape } from "./engine.ts";
import { Expected, mostPages, mostPooled, seenFrom } from "./expected.ts";

const test = suite("sliding windows");

const WINDOWS = [1, 2, 31, 32, 33, 64, 100, 512];
const ONE: Shape = { nLayers: 1, nHeads: 1, nKvHeads: 1, keyDim: 8, valueDim: 12, contextLength: 4096 };
const MIXED: Shape = { ...ONE, nLayers: 3, nHeads: 2, nKvHeads: 2, contextLength: 400, windows: [16, 0, 100] };

/** A new session, and beside it what it must hold. */
function openIn(cache: Cache, shape: Shape) {
  const session = cache.exports.sessionOpen();
  const expected = new Expected(shape);
  let next = session % 1000; // sessions differ
  return {
    session,
    expected,
    /** Appends tokens with numbers of their own. */
    grow(n: number): void {
      for (let i = 0; i < n; ++i) {
        next = (next % 16000) + 1;
        cache.append(session, next);
        expected.append(next);
      }
    },
    /** Goes back, there and in what is expected; returns the new length. */
    truncate(length: number): number {
      const kept = cache.exports.sessionTruncate(session, length);
      assert.is(kept, expected.truncate(length), `to ${length}`);
      return kept;
    },
  };
}

/** A session in a pool of `nPages`. */
function start(shape: Shape, nPages: number) {
  const cache = createCache(shape);
  assert.is(Number(cache.exports.poolReserve(nPages)), 1);
  return { cache, exports: cache.exports, ...openIn(cache, shape) };
}

/** A free page holds nothing but the link to the next one. */
function isBlank(cache: Cache, shape: Shape, page: number): boolean {
  const words = new Uint32Array(cache.exports.memory.buffer, page, pageBytesOf(shape) / 4);
  return words.subarray(1).every((word) => word === 0);
}

test("3,000 tokens: all that a query sees is there, the pages before its window are back in the pool, zeroed", () => {
  for (const window of WINDOWS) {
    const shape = { ...ONE, windows: [window] };
    const most = mostPooled(3000, window);
    const { cache, exports, session, expected, grow } = start(shape, most);
    assert.is(exports.sessionPagesNeeded(session, 4096), most, `window ${window}: the most it holds`);
    let largest = 0;
    let largestPooled = 0;
    let before: number[] = [];
    for (let t = 0; t < 3000; ++t) {
      grow(1);
      const { base, length, nPages } = cache.headOf(session, 0);
      assert.equal([length, base % 32, nPages], [t + 1, 0, Math.ceil((t + 1 - base) / 32)]);
      if (base > seenFrom(t, window)) assert.unreachable(`window ${window}: slot ${t} lacks slots before ${base}`);
      const nPooled = nPages - ((t + 1) % 32 === 0 ? 0 : 1);
      assert.is(exports.poolPages() - exports.poolFreePages(), nPooled, "a page is held or free");
      largest = Math.max(largest, nPages);
      largestPooled = Math.max(largestPooled, nPooled);
      const pages = cache.pagesOf(session, 0).filter((page) => page !== cache.openOf(session, 0));
      assert.is(pages.length, nPooled);
      for (const page of before) {
        if (!pages.includes(page)) assert.ok(isBlank(cache, shape, page), `window ${window}: a page given back`);
      }
      before = pages;
      if (t % 61 === 0 || t > 2990) expected.check(cache, session);
    }
    assert.equal([largest, largestPooled], [mostPages(3000, window), most], `window ${window}`);
    exports.sessionClose(session);
    assert.equal([exports.poolFreePages(), exports.poolPages()], [most, most]);
    for (const page of before) assert.ok(isBlank(cache, shape, page), "a page of a closed session");
    cache.instance.check();
  }
});

test("the last 32 tokens can be taken back, whatever came before, and the sequence goes on", () => {
  for (const window of WINDOWS) {
    const { cache, exports, session, expected, grow, truncate } = start({ ...ONE, windows: [window] }, 20);
    grow(window + 95);
    for (let back = 0; back <= 32; ++back) {
      const length = expected.tokens.length;
      assert.is(truncate(length - back), length - back, `window ${window}: ${back} tokens back from ${length}`);
      expected.check(cache, session);
      assert.is(exports.poolPages() - exports.poolFreePages(), expected.pages);
      grow(back + 1);
      expected.check(cache, session);
    }
    for (let back = 1; back <= 32; ++back) assert.is(truncate(expected.tokens.length - 1), expected.tokens.length);
    expected.check(cache, session);
    cache.instance.check();
  }
});

test("further back than a window has pages for: an empty session, which works again", () => {
  for (const window of WINDOWS) {
    const { cache, exports, session, expected, grow, truncate } = start({ ...ONE, windows: [window] }, 24);
    const lengths = [window + 40, window + 64, window + 65, window + 200, 2 * window + 300];
    for (const length of lengths.flatMap((n) => [n - 1, n, n + 1])) {
      for (const to of [0, 1, length - 96 - window, length - 65, length - 64, length - 63, length - 34, length - 33]) {
        grow(length - expected.tokens.length);
        const kept = truncate(Math.max(0, to));
        assert.ok(kept === 0 || kept === to, `window ${window}: ${to} of ${length} gives ${kept}`);
        expected.check(cache, session);
        if (kept === 0) assert.is(exports.poolFreePages(), 24);
      }
    }
    grow(3 * window + 100);
    assert.is(truncate(1), 0, `window ${window}`);
    grow(50);
    expected.check(cache, session);
    assert.is(truncate(60), 50, "a longer one changes nothing");
    cache.instance.check();
  }
});

test("layers with different windows: one that lacks what it needs empties all, one without a window keeps everything", () => {
  const { cache, exports, session, expected, grow, truncate } = start(MIXED, 2 * (3 + 13 + 6));
  for (const [length, to, kept] of [
    [60, 20, 20],
    [60, 1, 1],
    [120, 0, 0],
    [110, 30, 0],
    [300, 268, 268],
    [301, 269, 269],
    [400, 368, 368],
    [370, 338, 0],
    [380, 348, 348],
    [380, 200, 0],
    [40, 8, 8],
  ] as const) {
    grow(length - expected.tokens.length);
    expected.check(cache, session);
    assert.is(truncate(to), kept, `${to} of ${length}`);
    expected.check(cache, session);
  }
  grow(400 - 8);
  assert.equal(
    [0, 2, 4].map((h) => cache.headOf(session, h).nPages),
    [2, 13, 5],
  );
  expected.check(cache, session);
  exports.sessionClose(session);
  assert.is(exports.poolFreePages(), exports.poolPages());
  cache.instance.check();
});

test("pages needed: never less than any number of tokens takes, never more than the head's most", () => {
  for (const windows of [...WINDOWS.map((window) => [window]), MIXED.windows!]) {
    const shape = { ...ONE, nLayers: windows.length, windows };
    const { exports, session, expected, grow, truncate } = start(shape, 60);
    const most = windows.reduce((sum, window) => sum + mostPooled(4096, window), 0);
    const check = () => {
      for (const n of [0, 1, 2, 31, 32, 33, 50, 64, 97]) {
        const needed = exports.sessionPagesNeeded(session, n);
        const taken = expected.pagesFor(n);
        const what = `windows ${windows}: ${expected.tokens.length} + ${n}`;
        assert.ok(needed >= taken, `${what}: ${needed} pages, it takes ${taken}`);
        assert.ok(needed + expected.pages <= most, `${what}: ${needed} pages and ${expected.pages} held`);
        if (n === 0) assert.is(needed, 0, what);
      }
    };
    for (const n of [0, 1, 30, 1, 1, 31, 32, 1, 40, 23, 100, 7, 64, 65]) {
      grow(n);
      check();
    }
    for (const back of [1, 5, 26]) {
      truncate(expected.tokens.length - back);
      check();
    }
  }
});

test("any sequence of opening, appending, truncating, closing: no page is lost, shared or dirty, the pool never dry", () => {
  const kinds = ["open", "append", "append", "append", "append", "append", "truncate", "back", "back", "close"];
  const step = fc.record({ kind: fc.constantFrom(...kinds), which: fc.nat(), amount: fc.nat() });
  const steps = fc.array(step, { minLength: 20, maxLength: 100, size: "max" });
  const window = fc.oneof(fc.constantFrom(0, 1, 16, 32, 33, 100), fc.integer({ min: 1, max: 200 }));
  const windows = fc.array(window, { minLength: 1, maxLength: 3 });
  let emptied = 0;
  const property = fc.property(windows, steps, (windows, steps) => {
    const shape: Shape = { ...MIXED, nLayers: windows.length, nHeads: 1, nKvHeads: 1, windows };
    const cache = createCache(shape);
    const { exports } = cache;
    const open = [openIn(cache, shape)];
    for (const { kind, which, amount } of steps) {
      const at = which % Math.max(open.length, 1);
      const entry = open[at];
      if (kind === "open" && open.length < 3) open.push(openIn(cache, shape));
      if (entry === undefined) continue;
      const { session, expected, grow, truncate } = entry;
      const { length } = expected.tokens;
      if (kind === "append") {
        const n = Math.min(1 + (amount % 50), 400 - length);
        const needed = exports.sessionPagesNeeded(session, n);
        exports.poolReserve(needed);
        const free = exports.poolFreePages();
        for (let i = 0; i < n; ++i) {
          grow(1);
          assert.ok(free - exports.poolFreePages() <= needed, "no more pages than were said");
        }
      } else if (kind === "truncate" || kind === "back") {
        const to = kind === "back" ? Math.max(0, length - (amount % 33)) : amount % (length + 2);
        if (truncate(to) < Math.min(to, length)) emptied += 1;
      } else if (kind === "close") {
        exports.sessionClose(session);
        open.splice(at, 1);
      }
      const pages = open.reduce((sum, { expected }) => sum + expected.pages, 0);
      assert.is(exports.poolPages() - exports.poolFreePages(), pages, "pages in use");
    }
    const held = open.flatMap(({ session }) => windows.flatMap((_, h) => cache.pagesOf(session, h)));
    assert.is(new Set(held).size, held.length, "no page has two owners");
    assert.not(held.includes(0), "the pool never ran dry");
    for (const { session, expected } of open) expected.check(cache, session);
    for (const { session } of open) exports.sessionClose(session);
    assert.is(exports.poolFreePages(), exports.poolPages());
    for (const page of held) assert.ok(isBlank(cache, shape, page), "a page of a closed session");
    cache.instance.check();
  });
  fc.assert(property, { seed: 11, numRuns: 80 });
  assert.ok(emptied > 30, `${emptied} truncations went further back than a window has pages for`);
});

test.run();
