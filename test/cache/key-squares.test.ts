import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Option } from "../../assembly/memory/status.ts";
import { createCache } from "./cache.ts";
import { type Shape, SQUARES_AT } from "./engine.ts";

const test = suite("key squares");

const SHAPE: Shape = {
  nLayers: 2,
  nHeads: 4,
  nKvHeads: 2,
  keyDim: 8,
  valueDim: 12,
  contextLength: 200,
  options: Option.KEY_DRIVEN,
};

/** The sum of squares that a head's record holds. */
function squaresOf({ exports, headAt }: ReturnType<typeof createCache>, session: number, h: number): number {
  return new Float64Array(exports.memory.buffer, headAt(session, h) + SQUARES_AT, 1)[0]!;
}

/** The keys of `cache.append`; every sum here is exact in f64. */
function squaresOfTokens(tokens: readonly number[], h: number): number {
  let sum = 0;
  for (const token of tokens) for (let d = 0; d < 8; ++d) sum += (token + h * 2 ** -4 + d * 2 ** -10) ** 2;
  return sum;
}

/** A session of tokens 1 .. n. */
function filled(shape: Shape, n: number) {
  const cache = createCache(shape);
  const session = cache.exports.sessionOpen();
  cache.exports.poolReserve(40);
  for (let token = 1; token <= n; ++token) cache.append(session, token);
  return { cache, session, truncate: (length: number) => cache.exports.sessionTruncate(session, length) };
}

test("after a truncation: the squares of the keys that stay, of each head", () => {
  const { cache, session, truncate } = filled(SHAPE, 150);
  for (const length of [149, 129, 128, 127, 96, 33, 32, 31, 5, 4, 3, 2, 1, 0]) {
    assert.is(truncate(length), length);
    const tokens = Array.from({ length }, (_, i) => i + 1);
    for (let h = 0; h < 4; ++h) {
      assert.is(squaresOf(cache, session, h), squaresOfTokens(tokens, h), `${length} tokens, head ${h}`);
    }
  }
});

test("a window that has given keys back cannot be measured again: everything goes", () => {
  const { cache, session, truncate } = filled({ ...SHAPE, windows: [16, 0] }, 150);
  assert.is(truncate(149), 0);
  assert.equal(
    [0, 1, 2, 3].map((h) => squaresOf(cache, session, h)),
    [0, 0, 0, 0],
  );
  assert.is(cache.exports.sessionPages(session), 0);
  for (let token = 1; token <= 40; ++token) cache.append(session, token);
  assert.is(truncate(39), 39, "all keys are there yet");
  const tokens = Array.from({ length: 39 }, (_, i) => i + 1);
  assert.is(squaresOf(cache, session, 1), squaresOfTokens(tokens, 1));
});

test("a session opened in a closed one's place starts at 0", () => {
  const { cache, session, truncate } = filled(SHAPE, 40);
  truncate(30);
  cache.exports.sessionClose(session);
  assert.is(cache.exports.sessionOpen(), session);
  assert.equal(
    [0, 1, 2, 3].map((h) => squaresOf(cache, session, h)),
    [0, 0, 0, 0],
  );
});

test("other models measure nothing", () => {
  const { cache, session, truncate } = filled({ ...SHAPE, options: 0 }, 40);
  assert.is(truncate(30), 30);
  assert.is(squaresOf(cache, session, 0), 0);
});

test.run();
