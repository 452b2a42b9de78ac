import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createCache as createCacheOf } from "./cache.ts";
import { closedOf, HEAD_BYTES, ownBytesOf, pagesAt, pagesOf, SESSION_BYTES, type Shape } from "./engine.ts";

const test = suite("session");

const SHAPE: Shape = { nLayers: 2, nHeads: 2, nKvHeads: 2, keyDim: 8, valueDim: 12, contextLength: 150 };
const HEADS = SHAPE.nLayers * SHAPE.nKvHeads;

const createCache = (shape = SHAPE) => createCacheOf(shape);

test("open: no tokens, no pages, room for the context; regions of sessions do not overlap", () => {
  const nLayers = 30; // so many heads that the padding between regions cannot hide a missing word of each
  const { exports } = createCache({ ...SHAPE, nLayers });
  const { arenaBytes, sessionLength, sessionOpen, sessionPages, sessionPagesNeeded } = exports;
  const sessions = [sessionOpen(), sessionOpen(), sessionOpen()];
  const heads = nLayers * SHAPE.nKvHeads;
  const bytes = SESSION_BYTES + heads * (HEAD_BYTES + 4 * pagesOf(150) + ownBytesOf(SHAPE));
  for (const [i, session] of sessions.entries()) {
    assert.equal([sessionLength(session), sessionPages(session)], [0, 0]);
    assert.equal(
      [0, 1, 32, 33, 150].map((n) => sessionPagesNeeded(session, n)),
      [0, 0, 1, 1, 4].map((pages) => pages * heads),
    );
    assert.ok(session + bytes <= (sessions[i + 1] ?? arenaBytes()));
    const capacity = new Uint32Array(exports.memory.buffer, session, 2)[1];
    assert.is(capacity, 150);
  }
});

test("pages needed: one for every page that fills up", () => {
  const { append, exports } = createCache();
  const { poolReserve, sessionOpen, sessionPages, sessionPagesNeeded, sessionTruncate } = exports;
  poolReserve(100);
  const session = sessionOpen();
  for (let length = 1; length <= 70; ++length) {
    append(session, length);
    for (const more of [0, 1, 2, 31, 32, 33, 64]) {
      const expected = HEADS * (closedOf(length + more) - closedOf(length));
      assert.is(sessionPagesNeeded(session, more), expected, `${length} + ${more}`);
    }
    assert.is(sessionPages(session), HEADS * closedOf(length));
  }
  sessionTruncate(session, 64);
  assert.equal([sessionPages(session), sessionPagesNeeded(session, 32)], [2 * HEADS, HEADS]);
  sessionTruncate(session, 63);
  assert.equal([sessionPages(session), sessionPagesNeeded(session, 1)], [HEADS, HEADS]);
});

test("truncate: to every length, pages past it come back, tokens before it stay, longer ones change nothing", () => {
  const { append, exports, tokens } = createCache();
  const { poolFreePages, poolPages, poolReserve, sessionLength, sessionOpen, sessionPages, sessionTruncate } = exports;
  poolReserve(5 * HEADS);
  const session = sessionOpen();
  for (const length of [149, 129, 128, 127, 97, 96, 95, 64, 33, 32, 31, 1, 0]) {
    for (let token = sessionLength(session); token < 150; ++token) append(session, token);
    sessionTruncate(session, 151);
    sessionTruncate(session, 150);
    assert.is(sessionLength(session), 150);
    sessionTruncate(session, length);
    assert.is(sessionLength(session), length);
    assert.is(sessionPages(session), HEADS * closedOf(length));
    assert.is(poolFreePages(), poolPages() - HEADS * closedOf(length));
    for (let h = 0; h < HEADS; ++h) {
      assert.equal(
        tokens(session, h),
        Array.from({ length }, (_, i) => i),
        `${length}, head ${h}`,
      );
    }
  }
  assert.is(poolPages(), 5 * HEADS);
});

test("close and open again: the region is reused, and the session starts empty with all its room", () => {
  const { append, exports, tokens } = createCache();
  const { arenaBytes, poolReserve, sessionClose, sessionLength, sessionOpen, sessionPages } = exports;
  poolReserve(100);
  const session = sessionOpen();
  for (let i = 0; i < 50; ++i) append(session, i);
  const bytes = arenaBytes();
  for (let round = 0; round < 5; ++round) {
    sessionClose(session);
    assert.is(sessionOpen(), session);
    assert.equal([sessionLength(session), sessionPages(session)], [0, 0]);
    for (let i = 0; i < 40; ++i) append(session, 1000 * round + i);
    assert.is(tokens(session, 3)[39], 1000 * round + 39);
  }
  assert.is(arenaBytes(), bytes, "nothing was allocated");
});

test("several closed sessions wait for reuse, all of them", () => {
  const { arenaBytes, sessionClose, sessionOpen } = createCache().exports;
  const sessions = Array.from({ length: 5 }, () => sessionOpen());
  const bytes = arenaBytes();
  for (let round = 0; round < 3; ++round) {
    for (const session of sessions) sessionClose(session);
    const again = sessions.map(() => sessionOpen());
    assert.equal([...again].sort(), [...sessions].sort());
    assert.is(arenaBytes(), bytes);
  }
});

test("any sequence of opening, appending, truncating, closing: tokens stay, no page is lost, shared or dirty", () => {
  const step = fc.record({
    kind: fc.constantFrom("open", "append", "append", "append", "truncate", "close"),
    which: fc.nat(),
    amount: fc.integer({ min: 0, max: 150 }),
  });
  const property = fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
    const { append, exports, headAt, instance, tokens } = createCache();
    const open: { session: number; tokens: number[] }[] = [];
    let next = 0;
    let mostPages = 0;
    for (const { kind, which, amount } of steps) {
      const at = which % Math.max(open.length, 1);
      const entry = open[at];
      if (kind === "open" && open.length < 4) open.push({ session: exports.sessionOpen(), tokens: [] });
      else if (entry === undefined) continue;
      else if (kind === "append") {
        const n = Math.min(amount % 50, 150 - entry.tokens.length);
        exports.poolReserve(exports.sessionPagesNeeded(entry.session, n));
        for (let i = 0; i < n; ++i) {
          append(entry.session, ++next);
          entry.tokens.push(next);
        }
      } else if (kind === "truncate") {
        exports.sessionTruncate(entry.session, amount);
        entry.tokens.length = Math.min(entry.tokens.length, amount);
      } else if (kind === "close") {
        exports.sessionClose(entry.session);
        open.splice(at, 1);
      }
      const expected = HEADS * open.reduce((sum, { tokens }) => sum + closedOf(tokens.length), 0);
      mostPages = Math.max(mostPages, expected);
      assert.is(exports.poolPages() - exports.poolFreePages(), expected, "pages in use");
      assert.is(exports.poolPages(), mostPages, "the pool is as large as it had to be");
    }
    const pages = open.flatMap(({ session }) =>
      Array.from({ length: HEADS }, (_, h) => pagesAt(instance, headAt(session, h))).flat(),
    );
    assert.is(new Set(pages).size, pages.length, "no page has two owners");
    for (const entry of open) {
      for (let h = 0; h < HEADS; ++h) assert.equal(tokens(entry.session, h), entry.tokens);
      exports.sessionClose(entry.session);
    }
    assert.is(exports.poolFreePages(), exports.poolPages());
    instance.check();
  });
  fc.assert(property, { seed: 5, numRuns: 60 });
});

test.run();
