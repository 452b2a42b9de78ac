import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { KvForm, Option } from "../../assembly/memory/status.ts";
import { type Cache, createCache } from "./cache.ts";
import {
  type Aging,
  agesTwice,
  closedOf,
  HEAD_BYTES,
  keyIndex,
  openBytesOf,
  ownBytesOf,
  pageBytesOf,
  pagesOf,
  recentBytesOf,
  type Shape,
  SQUARES_AT,
  valueIndex,
} from "./engine.ts";
import { keptFrom, seenFrom } from "./expected.ts";

const test = suite("going back, marks and forks");

const FORMS = [KvForm.F32, KvForm.Q8, KvForm.Q4, KvForm.Q3] as const;
const PAIRS = FORMS.flatMap((keyForm) => FORMS.map((valueForm) => ({ keyForm, valueForm })));
const CONTEXT = 450;

/** One layer sees everything, one has a window or not. */
function shapeOf(aging: Aging, window: number, isMeasured = false): Shape {
  return {
    nLayers: 2,
    nHeads: 1,
    nKvHeads: 1,
    keyDim: 8,
    valueDim: 12,
    contextLength: CONTEXT,
    slabBytes: 1 << 16,
    windows: [0, window],
    group: 32,
    recentPages: 2,
    sinkPages: 1,
    options: isMeasured ? Option.KEY_DRIVEN : 0,
    ...aging,
  };
}

/** Numbers without a pattern, by token, head and dim. */
function scattered(token: number, h: number, d: number): number {
  const mixed = Math.imul(token * 64 + h * 32 + d + 1, 0x9e3779b1);
  return Math.imul(mixed ^ (mixed >>> 15), 0x85ebca6b) / 2 ** 29;
}

const isFloat = ({ keyForm, valueForm }: Shape): boolean => keyForm === KvForm.F32 && valueForm === KvForm.F32;

/** What a session must hold, by the words of cache/journal.ts. */
class Model {
  tokens: number[] = [];
  bases: number[];
  mark: { length: number; bases: number[] } | undefined;

  constructor(private readonly shape: Shape) {
    this.bases = shape.windows!.map(() => 0);
  }

  append(token: number): void {
    this.bases = this.bases.map((base, i) => Math.max(base, keptFrom(this.tokens.length, this.shape.windows![i]!)));
    this.tokens.push(token);
  }

  /** f32 pages need no mark, and take none. */
  remember(): void {
    if (!isFloat(this.shape)) this.mark = { length: this.tokens.length, bases: [...this.bases] };
  }

  fork(): Model {
    const copy = new Model(this.shape);
    copy.tokens = [...this.tokens];
    copy.bases = [...this.bases];
    return copy;
  }

  /** The longest length up to `length` that the pages allow. */
  private reachable(length: number): number {
    const now = this.tokens.length;
    const isMeasured = this.shape.options !== 0;
    let to = length;
    if (isFloat(this.shape)) {
      if (isMeasured && this.bases.some((base) => base > 0)) return 0;
    } else if (length < now - (now % 32)) {
      if (agesTwice(this.shape) || isMeasured) return 0;
      to -= to % 32;
    }
    return this.bases.some((base, i) => base > seenFrom(to, this.shape.windows![i]!)) ? 0 : to;
  }

  truncate(length: number): number {
    if (length >= this.tokens.length) return this.tokens.length;
    const near = this.reachable(length);
    const { mark } = this;
    if (mark !== undefined && mark.length <= length && mark.length > near) {
      if (mark.bases.every((base, i) => base === this.bases[i])) {
        this.tokens.length = mark.length;
        return mark.length;
      }
    }
    this.tokens.length = near;
    if (near === 0) this.bases.fill(0);
    if (mark !== undefined && mark.length > near) this.mark = undefined;
    return near;
  }

  /** Whether page number `index` of a head is one of the pool. */
  isPooled(index: number): boolean {
    const closed = closedOf(this.tokens.length);
    if (!agesTwice(this.shape)) return index < closed;
    return index >= this.shape.sinkPages! && index < closed - this.shape.recentPages!;
  }

  /** Numbers of the pages that head `h` has. */
  pagesOf(h: number): number[] {
    const [first, end] = [this.bases[h]! / 32, pagesOf(this.tokens.length)];
    return Array.from({ length: end - first }, (_, i) => first + i);
  }

  get pooled(): number {
    return this.bases.reduce((sum, _, h) => sum + this.pagesOf(h).filter((index) => this.isPooled(index)).length, 0);
  }
}

const bytesAt = (cache: Cache, address: number, n: number): Uint8Array =>
  new Uint8Array(cache.exports.memory.buffer, address, n);
const wordsAt = (cache: Cache, address: number, n: number): Uint32Array =>
  new Uint32Array(cache.exports.memory.buffer, address, n);

/** Where a page that is not one of the pool lies: open at the front, then sinks, then a ring of recent ones. */
function ownPlace(cache: Cache, session: number, shape: Shape, h: number, index: number, length: number): number {
  const open = cache.openOf(session, h);
  if (index === closedOf(length)) return open;
  const sinks = shape.sinkPages!;
  const place = index < sinks ? index : sinks + ((index - sinks) % shape.recentPages!);
  return open + openBytesOf(shape) + place * recentBytesOf(shape);
}

/** A session fed the same tokens, in a cache of its own: all pages of both heads as bytes, references left out. */
function freshPages(shape: Shape, tokens: readonly number[]) {
  const cache = createCache({ ...shape, windows: shape.windows!.map(() => 0) }, scattered);
  const session = cache.exports.sessionOpen();
  cache.exports.poolReserve(40);
  for (const token of tokens) cache.append(session, token);
  return {
    cache,
    pages: [0, 1].map((h) => cache.pagesOf(session, h)),
    squares: [0, 1].map((h) =>
      Array.from(new Float64Array(cache.exports.memory.buffer, cache.headAt(session, h) + SQUARES_AT, 2)),
    ),
  };
}

/** Fails unless the session is that of a session which was only ever given these tokens. */
function checkSession(cache: Cache, session: number, shape: Shape, model: Model): void {
  const { exports } = cache;
  const { length } = model.tokens;
  assert.is(exports.sessionLength(session), length);
  assert.is(exports.sessionPages(session), model.pooled);
  const fresh = freshPages(shape, model.tokens);
  for (const h of [0, 1]) {
    const what = `head ${h}, ${length} tokens`;
    const numbers = model.pagesOf(h);
    assert.equal(cache.headOf(session, h), { length, base: model.bases[h], nPages: numbers.length }, what);
    if (shape.options !== 0) {
      const squares = new Float64Array(exports.memory.buffer, cache.headAt(session, h) + SQUARES_AT, 2);
      assert.equal(Array.from(squares), fresh.squares[h], `${what}: key squares, all and of closed pages`);
    }
    const pages = cache.pagesOf(session, h);
    for (const [i, index] of numbers.entries()) {
      const page = pages[i]!;
      const other = fresh.pages[h]![index]!;
      if (model.isPooled(index)) assert.ok(wordsAt(cache, page, 1)[0]! > 0, `${what}: page ${index} is of the pool`);
      else {
        assert.is(
          page,
          ownPlace(cache, session, shape, h, index, length),
          `${what}: page ${index} is the session's own`,
        );
        assert.is(wordsAt(cache, page, 1)[0], 0, "own pages have no count");
      }
      if (index === closedOf(length)) {
        const [a, b] = [page, other].map((at, k) => {
          const { buffer } = (k === 0 ? cache : fresh.cache).exports.memory;
          return new Float32Array(buffer, at, openBytesOf(shape) / 4);
        });
        assert.equal(Array.from(wordsAt(cache, page, 4)), [0, 0, 0, index * 32], `${what}: header of the open page`);
        for (let slot = 0; slot < length % 32; ++slot) {
          for (let d = 0; d < shape.keyDim; ++d) {
            const at = 4 + keyIndex(slot, d, shape.keyDim);
            if (a![at] !== b![at]) assert.unreachable(`${what}: key of open slot ${slot}`);
          }
          for (let d = 0; d < shape.valueDim; ++d) {
            const at = 4 + valueIndex(slot, d, shape.keyDim, shape.valueDim);
            if (a![at] !== b![at]) assert.unreachable(`${what}: value of open slot ${slot}`);
          }
        }
        continue;
      }
      const n = (model.isPooled(index) ? pageBytesOf(shape) : recentBytesOf(shape)) - 4;
      const same = Buffer.compare(bytesAt(cache, page + 4, n), bytesAt(fresh.cache, other + 4, n)) === 0;
      if (!same) assert.unreachable(`${what}: page ${index} is not that of a fresh session`);
    }
  }
}

/** Pages of the pool that sessions refer to, with the number of references. */
function referencesOf(cache: Cache, open: readonly { session: number; model: Model }[]): Map<number, number> {
  const references = new Map<number, number>();
  for (const { session, model } of open) {
    for (const h of [0, 1]) {
      const pages = cache.pagesOf(session, h);
      for (const [i, index] of model.pagesOf(h).entries()) {
        if (model.isPooled(index)) references.set(pages[i]!, (references.get(pages[i]!) ?? 0) + 1);
      }
    }
  }
  return references;
}

function checkPool(cache: Cache, open: readonly { session: number; model: Model }[], seen: Set<number>, bytes: number) {
  const { exports } = cache;
  const references = referencesOf(cache, open);
  assert.is(exports.poolPages() - exports.poolFreePages(), references.size, "pages in use");
  for (const [page, n] of references) {
    seen.add(page);
    assert.is(wordsAt(cache, page, 1)[0], n, "references");
  }
  for (const page of seen) {
    if (references.has(page)) continue;
    assert.ok(
      wordsAt(cache, page + 4, bytes / 4 - 1).every((word) => word === 0),
      "a page given back is zero but for the link to the next",
    );
  }
}

interface Step {
  readonly kind: string;
  readonly which: number;
  readonly amount: number;
}

/** Runs the steps; says how often a mark was gone back to, across closed pages, and how often everything went. */
function play(shape: Shape, steps: readonly Step[]) {
  const cache = createCache(shape, scattered);
  const { exports } = cache;
  const open = [{ session: exports.sessionOpen(), model: new Model(shape) }];
  const seen = new Set<number>();
  const count = { marks: 0, far: 0, emptied: 0, shared: 0 };
  let next = 0;
  for (const { kind, which, amount } of steps) {
    const at = which % Math.max(open.length, 1);
    const entry = open[at];
    if (kind === "open" && open.length < 4) open.push({ session: exports.sessionOpen(), model: new Model(shape) });
    if (entry === undefined) continue;
    const { session, model } = entry;
    const grow = (n: number): void => {
      const needed = exports.sessionPagesNeeded(session, n);
      assert.is(Number(exports.poolReserve(needed)), 1);
      const free = exports.poolFreePages();
      for (let i = 0; i < n; ++i) {
        cache.append(session, ++next);
        model.append(next);
        assert.ok(free - exports.poolFreePages() <= needed, "no more pages than were said");
      }
    };
    const remember = (): void => {
      exports.sessionMark(session);
      model.remember();
    };
    const goBack = (to: number): void => {
      const mark = model.mark?.length;
      const { length } = model.tokens;
      const expected = model.truncate(to);
      assert.is(exports.sessionTruncate(session, to), expected, `${length} tokens, marked at ${mark}, to ${to}`);
      if (expected === mark && closedOf(length) > closedOf(mark)) count.marks += 1;
      if (expected > 0 && closedOf(expected) < closedOf(length)) count.far += 1;
      if (expected === 0 && to > 0) count.emptied += 1;
      checkSession(cache, session, shape, model);
    };
    const { length } = model.tokens;
    if (kind === "append") grow(Math.min(1 + (amount % 120), CONTEXT - length));
    else if (kind === "mark") remember();
    else if (kind === "truncate") goBack(amount % (length + 2));
    else if (kind === "back") goBack(Math.max(0, length - (amount % 40)));
    else if (kind === "undo") goBack((model.mark?.length ?? 0) + (amount % 3));
    else if (kind === "turn") {
      remember();
      grow(Math.min(1 + (amount % 70), CONTEXT - length));
      goBack(length + (amount % 2));
    } else if (kind === "fork" && open.length < 4) {
      const copy = { session: exports.sessionFork(session), model: model.fork() };
      assert.is.not(copy.session, 0);
      open.push(copy);
      checkSession(cache, copy.session, shape, copy.model);
    } else if (kind === "close") {
      closeSession(cache, session, shape);
      open.splice(at, 1);
    }
    count.shared += [...referencesOf(cache, open).values()].filter((n) => n > 1).length > 0 ? 1 : 0;
    checkPool(cache, open, seen, pageBytesOf(shape));
  }
  for (const { session, model } of open) checkSession(cache, session, shape, model);
  for (const { session } of open) closeSession(cache, session, shape);
  checkPool(cache, [], seen, pageBytesOf(shape));
  assert.is(exports.poolFreePages(), exports.poolPages(), "the pool has all its pages");
  cache.instance.check();
  return count;
}

/** Closes a session: its own pages, and its journal's, are zero afterwards. */
function closeSession(cache: Cache, session: number, shape: Shape): void {
  const [own, heads] = [cache.openOf(session, 0), 2];
  const journal = isFloat(shape) ? 0 : heads * (HEAD_BYTES + ownBytesOf(shape));
  cache.exports.sessionClose(session);
  const bytes = bytesAt(cache, own, heads * ownBytesOf(shape) + journal);
  assert.ok(
    bytes.every((byte) => byte === 0),
    "nothing of the tokens is left in a closed session",
  );
}

const KINDS = [
  ...["open", "append", "append", "append", "append", "append", "append", "mark", "mark"],
  ...["truncate", "back", "undo", "turn", "turn", "turn", "fork", "fork", "close"],
];

function runSequences(shapes: (window: number) => Shape, seed: number, numRuns: number) {
  const step = fc.record({ kind: fc.constantFrom(...KINDS), which: fc.nat(), amount: fc.nat() });
  const steps = fc.array(step, { minLength: 30, maxLength: 60, size: "max" });
  const window = fc.constantFrom(0, 0, 0, 16, 60, 150);
  const total = { marks: 0, far: 0, emptied: 0, shared: 0 };
  const property = fc.property(window, steps, (window, steps) => {
    const count = play(shapes(window), steps);
    for (const key of ["marks", "far", "emptied", "shared"] as const) total[key] += count[key];
  });
  fc.assert(property, { seed, numRuns, endOnFailure: true, includeErrorInReport: true });
  return total;
}

for (const [i, pair] of PAIRS.entries()) {
  const name = `keys ${["f32", "q8", "q4", "q3"][pair.keyForm]}, values ${["f32", "q8", "q4", "q3"][pair.valueForm]}`;
  test(`${name}: any sequence of open, append, mark, truncate, fork, close; all is as in a fresh session`, () => {
    const { marks, far, emptied, shared } = runSequences((window) => shapeOf(pair, window), 100 + i, 12);
    const isExact = Math.max(pair.keyForm, pair.valueForm) === KvForm.F32;
    assert.ok(isExact || marks >= 3, `${marks} marks gone back to across closed pages`);
    assert.ok(far >= 3, `${far} times back across closed pages`);
    assert.ok(emptied >= 3, `${emptied} times to nothing`);
    assert.ok(shared >= 5, `pages were shared ${shared} times`);
  });
}

test("layers that measure their keys: the sums of a fresh session, whatever came before", () => {
  for (const [i, pair] of [PAIRS[0]!, PAIRS[5]!, PAIRS[11]!].entries()) {
    runSequences((window) => shapeOf(pair, window, true), 200 + i, 10);
  }
});

test("other numbers of sinks and recent pages", () => {
  const [keyForm, valueForm] = [KvForm.Q4, KvForm.Q3];
  for (const [i, [sinkPages, recentPages]] of (
    [
      [0, 1],
      [3, 1],
      [0, 4],
      [2, 3],
    ] as const
  ).entries()) {
    runSequences((window) => shapeOf({ keyForm, valueForm, sinkPages, recentPages }, window), 300 + i, 10);
  }
});

test("by hand: what can be gone back to, form by form", () => {
  const cases = [
    // form, lengths: at 200 tokens, marked at 70.
    [KvForm.F32, { 199: 199, 192: 192, 150: 150, 96: 96, 71: 71, 70: 70, 69: 69, 1: 1 }],
    [KvForm.Q8, { 199: 199, 192: 192, 150: 128, 96: 96, 80: 70, 70: 70, 69: 64, 31: 0, 1: 0 }],
    [KvForm.Q4, { 199: 199, 192: 192, 191: 70, 150: 70, 96: 70, 70: 70, 69: 0, 1: 0 }],
    [KvForm.Q3, { 199: 199, 192: 192, 191: 70, 150: 70, 96: 70, 70: 70, 69: 0, 1: 0 }],
  ] as const;
  for (const [form, lengths] of cases) {
    for (const [to, expected] of Object.entries(lengths)) {
      const shape = shapeOf({ keyForm: form, valueForm: form }, 0);
      const cache = createCache(shape, scattered);
      const { exports } = cache;
      const session = exports.sessionOpen();
      const model = new Model(shape);
      exports.poolReserve(12);
      const grow = (n: number) => {
        for (let token = model.tokens.length + 1; token <= n; ++token) {
          cache.append(session, token);
          model.append(token);
        }
      };
      grow(70);
      exports.sessionMark(session);
      model.remember();
      grow(200);
      assert.is(exports.sessionTruncate(session, Number(to)), expected, `form ${form}, to ${to}`);
      assert.is(model.truncate(Number(to)), expected, "the model says so too");
      checkSession(cache, session, shape, model);
      grow(220);
      checkSession(cache, session, shape, model);
    }
  }
});

test("a mark behind a window that has left the recent pages: undone without touching what is not there", () => {
  for (const pair of PAIRS) {
    for (const window of [1, 16, 40]) {
      const shape = shapeOf({ ...pair, recentPages: 4 }, window);
      // At 430 the page table before the window's is full but for one entry: a write in front of its own shows.
      for (const length of [150, 200, 330, 430]) {
        for (const astray of [10, 20]) {
          const cache = createCache(shape, scattered);
          const { exports } = cache;
          const session = exports.sessionOpen();
          const model = new Model(shape);
          exports.poolReserve(40);
          const grow = (n: number) => {
            for (let i = 0; i < n; ++i) {
              const token = model.tokens.length + 1;
              cache.append(session, token);
              model.append(token);
            }
          };
          grow(length);
          exports.sessionMark(session);
          model.remember();
          grow(astray);
          const what = `window ${window}, ${length} and ${astray} tokens`;
          assert.is(exports.sessionTruncate(session, length), model.truncate(length), what);
          checkSession(cache, session, shape, model);
          closeSession(cache, session, shape);
          assert.is(exports.poolFreePages(), exports.poolPages(), what);
        }
      }
    }
  }
});

test("an undone turn leaves the forms of before: going on gives the pages of a session that never went astray", () => {
  for (const pair of PAIRS) {
    const shape = shapeOf(pair, 0);
    const cache = createCache(shape, scattered);
    const { exports } = cache;
    const session = exports.sessionOpen();
    const model = new Model(shape);
    exports.poolReserve(40);
    const grow = (n: number, from: number) => {
      for (let i = 0; i < n; ++i) {
        cache.append(session, from + i);
        model.append(from + i);
      }
    };
    for (const [first, astray] of [
      [30, 5],
      [40, 3],
      [64, 33],
      [100, 100],
      [31, 200],
    ] as const) {
      grow(first, 1000 + model.tokens.length);
      exports.sessionMark(session);
      model.remember();
      for (let again = 0; again < 2; ++again) {
        const { length } = model.tokens;
        grow(astray, 5000 + 1000 * again);
        assert.is(exports.sessionTruncate(session, length), length, `marked at ${length}`);
        assert.is(model.truncate(length), length);
        checkSession(cache, session, shape, model);
      }
      if (model.tokens.length > 240) break;
    }
    closeSession(cache, session, shape);
    assert.is(exports.poolFreePages(), exports.poolPages());
  }
});

test.run();
