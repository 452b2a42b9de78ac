/** Capsules that were cut, changed, put together or forged: always a ThimbleError, never a page lost. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ByteReader } from "../../host/capsule/byte-reader.ts";
import { ChunkReader, sealChunks } from "../../host/capsule/chunks.ts";
import { HEAD_BYTES, HEADER_BYTES } from "../../host/capsule/format.ts";
import { createOpener, createSealer } from "../../host/capsule/seal.ts";
import type { ThimbleError } from "../../host/errors.ts";
import type { Model } from "../../host/model.ts";
import { families, loadFamily } from "../model/families.ts";
import { DEFAULT_MODEL, load, randomIds, sameBits } from "../model/load.ts";
import { bytesOf, code, following, forged, grown, type Placed, restore, save, used } from "./capsule-case.ts";

const CHUNK = (1 << 18) + 4;
/** Where the header says whether queries see cache-relative positions. */
const RELATIVE_AT = 76;
const key = new Uint8Array(32).fill(7);
const swa = families.find(({ name }) => name === "mistral-swa")!;
const llama = families.find(({ name }) => name === "llama")!;
const KEY_NORM = { metadata: { "attention.query_grouping": "key_norm" } };

const small = await loadFamily(swa, "q8_0", "long", { keys: "q4", values: "q3", kvWindow: 32 });
const large = await load(DEFAULT_MODEL, { contextLength: 256, keys: "f32", values: "f32" });

/** Restores what should not be: the code, after checking that nothing is left of it. */
async function refused(model: Model, bytes: Uint8Array, options?: { key: Uint8Array }): Promise<string> {
  const before = used(model);
  const found = await code(async () => (await restore(model, bytes, options)).session.close());
  assert.is(used(model), before, "pages are back");
  return found;
}

/** A capsule of 90 tokens and what must still follow from it at the end. */
async function sample(model: Model, n: number, options?: { key: Uint8Array }) {
  const session = await grown(model, n);
  const capsule = await save(model, session, options);
  const expected = following(model, session, 10);
  session.session.close();
  return {
    capsule,
    async unharmed(): Promise<void> {
      const again = await restore(model, capsule, options);
      assert.ok(sameBits(following(model, again, 10), expected), "the capsule itself still works");
      again.session.close();
      const fresh = await grown(model, n);
      assert.ok(sameBits(following(model, fresh, 10), expected), "so does a session beside it");
      fresh.session.close();
    },
  };
}

for (const [name, options] of Object.entries({ plain: undefined, encrypted: { key } })) {
  test(`${name}: cut at any place, or with more behind it`, async () => {
    const { capsule, unharmed } = await sample(large, 200, options);
    assert.ok(capsule.length > 3 * CHUNK);
    const inside = [0, 1, 3, 4, 5, 31, 32, 36, 37, 100];
    const edges = [0, HEADER_BYTES, HEADER_BYTES + CHUNK, HEADER_BYTES + 2 * CHUNK, capsule.length];
    const lengths = edges.flatMap((edge) => inside.flatMap((n) => [edge + n, edge - n]));
    for (const n of new Set(lengths.filter((length) => length >= 0 && length < capsule.length))) {
      assert.is(await refused(large, capsule.subarray(0, n), options), "capsule_malformed", `${n} bytes`);
    }
    const longer = new Uint8Array(capsule.length + 1);
    longer.set(capsule);
    assert.is(await refused(large, longer, options), "capsule_malformed");
    await unharmed();
  });

  test(`${name}: flipped bits, moved, doubled and dropped pieces`, async () => {
    const { capsule, unharmed } = await sample(small, 90, options);
    const pages = small.engine.runtime.exports.poolPages();
    const picks = randomIds(1600, 1 << 30, 41);
    for (let i = 0; i < 400; ++i) {
      const bad = capsule.slice();
      const place = picks[i]! % (i % 2 === 0 ? capsule.length : Math.min(capsule.length, 400));
      bad[place]! ^= 1 << (picks[i + 400]! % 8);
      assert.not.equal(await refused(small, bad, options), "none", `bit of byte ${place}`);
    }
    for (let i = 0; i < 200; ++i) {
      const [a, b] = [picks[i + 800]! % capsule.length, picks[i + 1000]! % capsule.length];
      const n = 1 + (picks[i + 1200]! % 300);
      const piece = capsule.slice(a, a + n);
      const kinds = [
        [capsule.subarray(0, b), piece, capsule.subarray(b + piece.length)],
        [capsule.subarray(0, b), piece, capsule.subarray(b)],
        [capsule.subarray(0, a), capsule.subarray(a + n)],
      ];
      const bad = new Uint8Array(Buffer.concat(kinds[i % 3]!));
      if (Buffer.compare(bad, capsule) === 0) continue;
      assert.not.equal(await refused(small, bad, options), "none", `splice ${i}`);
    }
    assert.is(small.engine.runtime.exports.poolPages(), pages, "the pool did not grow");
    await unharmed();
  });

  test(`${name}: chunks in another order, or of another capsule`, async () => {
    const { capsule, unharmed } = await sample(large, 90, options);
    const { capsule: other } = await sample(large, 90, options);
    const step = CHUNK + (options === undefined ? 32 : 16);
    const at = (i: number) => HEADER_BYTES + i * step;
    const swapped = capsule.slice();
    swapped.set(capsule.subarray(at(0), at(1)), at(1));
    swapped.set(capsule.subarray(at(1), at(2)), at(0));
    assert.is(await refused(large, swapped, options), "capsule_malformed");
    const replayed = capsule.slice();
    replayed.set(capsule.subarray(at(0), at(1)), at(1));
    assert.is(await refused(large, replayed, options), "capsule_malformed");
    const session = await grown(large, 90, 9);
    const foreign = await save(large, session, options);
    session.session.close();
    const mixed = other.slice();
    mixed.set(foreign.subarray(at(1), at(2)), at(1));
    assert.is(await refused(large, mixed, options), "capsule_malformed");
    await unharmed();
  });
}

test("plain chunks of two bodies under one header do not mix, wherever their contents end", async () => {
  const header = new Uint8Array(HEADER_BYTES);
  const sealed = async (fill: number) => {
    const body = new Uint8Array(2.5 * (1 << 18)).fill(fill);
    const chunks: Uint8Array[] = [];
    for await (const chunk of sealChunks([body], await createSealer(header, undefined), () => {})) chunks.push(chunk);
    return chunks;
  };
  const [a, b] = [await sealed(1), await sealed(2)];
  const read = async (chunks: readonly Uint8Array[]) => {
    const reader = new ByteReader(new Uint8Array(Buffer.concat(chunks)), undefined);
    const body = new ChunkReader(reader, await createOpener(header, false, undefined));
    while (!(await body.isEnd())) body.now(1 << 18);
  };
  assert.is(await code(() => read(a)), "none");
  for (const mixed of [
    [b[0]!, a[1]!, a[2]!],
    [a[0]!, b[1]!, a[2]!],
    [a[0]!, a[1]!, b[2]!],
    [a[1]!, a[0]!, a[2]!],
  ]) {
    assert.is(await code(() => read(mixed)), "capsule_malformed");
  }
});

test("headers with values of no sense", async () => {
  const { capsule, unharmed } = await sample(small, 90);
  const values = [0, 1, 2, 31, 0x7fffffff, 0x80000000, 0xffffffff];
  for (let at = 0; at < HEADER_BYTES; at += 4) {
    for (const value of values) {
      const bad = await forged(capsule, (_, header) => new DataView(header.buffer).setUint32(at, value, true));
      if (Buffer.compare(bad, capsule) === 0) continue;
      const found = await refused(small, bad);
      // A session that may evict, and has not yet, has the same pages.
      if (at === RELATIVE_AT && value === 1) assert.is(found, "none");
      else assert.not.equal(found, "none", `${value} at ${at}`);
    }
  }
  await unharmed();
});

test("bodies forged with good tags: tokens, messages, heads, pages of other places", async () => {
  const model = await loadFamily(llama, "q8_0", "long", { keys: "q4", values: "q4", kvWindow: 32 }, KEY_NORM);
  for (const [one, n] of [
    [small, 90],
    [model, 90],
  ] as const) {
    const { capsule, unharmed } = await sample(one, n);
    const view = new DataView(capsule.buffer);
    const state = view.getUint32(56, true);
    const table = 4 * (view.getUint32(48, true) + view.getUint32(52, true)) + state;
    const nHeads = one.engine.runtime.exports.imageHeads();
    const change = (edit: (body: DataView) => void) => forged(capsule, (body) => edit(new DataView(body.buffer)));
    for (const value of [one.config.vocabSize, 0xffffffff]) {
      assert.is(await refused(one, await change((body) => body.setUint32(0, value, true))), "capsule_malformed");
    }
    for (const base of [1, 31, 33, 64, 96, 128, 0x7fffffe0, 0xffffffe0, 0xffffffff]) {
      const bad = await change((body) => body.setUint32(table, base, true));
      assert.is(await refused(one, bad), "capsule_malformed", `base ${base}`);
    }
    for (const squares of [Number.NaN, Number.POSITIVE_INFINITY, -1]) {
      for (const at of [8, 16]) {
        const bad = await change((body) => body.setFloat64(table + at, squares, true));
        assert.is(await refused(one, bad), "capsule_malformed", `squares ${squares}`);
      }
    }
    // Everywhere: random words; where a page's checksum does not notice, the session may be restored and must run.
    const picks = randomIds(900, 1 << 30, 17);
    for (let i = 0; i < 300; ++i) {
      const bad = await change((body) => {
        const size = i % 3 === 0 ? body.byteLength : table + nHeads * HEAD_BYTES;
        body.setUint8(picks[i]! % size, picks[i + 300]! & 255);
        body.setUint8(picks[i + 600]! % size, (picks[i + 300]! >>> 8) & 255);
      });
      const found = await code(async () => {
        const placed = await restore(one, bad);
        following(one, placed, 10);
        placed.session.close();
      });
      assert.ok(["none", "capsule_malformed", "context_length_exceeded"].includes(found), found);
      assert.is(used(one), 0);
    }
    await unharmed();
  }
});

test("sessions that have forgotten, forged with good tags: ends of heads, rules, entries, anything", async () => {
  const model = await load(DEFAULT_MODEL, { contextLength: 256, policy: "key-norm", keys: "q4", values: "q4" });
  const session = model.session({ overflow: "evict", keep: { ratio: 0.3 }, sinks: 32, window: 64 });
  session.pin({ first: 70, end: 72 });
  await session.complete({ ids: randomIds(330, 4000, 4) }, { temperature: 0, maxTokens: 40, ignoreEos: true });
  const capsule = await bytesOf(session.save());
  session.close();
  const view = new DataView(capsule.buffer);
  const state = view.getUint32(56, true);
  const stateAt = 4 * (view.getUint32(48, true) + view.getUint32(52, true));
  const table = stateAt + state;
  const tried = async (edit: (body: DataView) => unknown): Promise<string> => {
    const bad = await forged(capsule, (body) => edit(new DataView(body.buffer)));
    const found = await code(async () => {
      const restored = await model.restore(bad);
      await restored.complete({ ids: [5] }, { temperature: 0, maxTokens: 40, ignoreEos: true });
      restored.close();
    });
    assert.is(used(model), 0, "pages are back");
    return found;
  };
  let end = 0;
  assert.is(await tried((body) => (end = body.getUint32(table + 4, true))), "none");
  for (const value of [0, 1, end - 1, end + 1, end - 32, end + 32, 257, 0x7fffffe0, 0xffffffff]) {
    const found = await tried((body) => body.setUint32(table + 4, value, true));
    assert.ok(["capsule_malformed", "context_length_exceeded"].includes(found), `end ${value}: ${found}`);
  }
  const text = (from: string, to: string) => async () => {
    const found = await tried((body) => {
      const bytes = new Uint8Array(body.buffer, stateAt, state);
      const at = Buffer.from(bytes).indexOf(from);
      assert.ok(at >= 0 && from.length === to.length, from);
      bytes.set(Buffer.from(to), at);
    });
    assert.is(found, "capsule_malformed", `${from} -> ${to}`);
  };
  await text('"overflow":"evict"', '"overflow":"evicx"')();
  await text('"ratio":0.3', '"ratio":1.3')();
  await text('"sinks":32', '"sinks":33')();
  await text('"first":70', '"first":72')();
  await text('"policy":"key-norm"', '"policy":[12345678]')();
  const picks = randomIds(300, 1 << 30, 23);
  for (let i = 0; i < 100; ++i) {
    const found = await tried((body) => {
      const size = i % 2 === 0 ? body.byteLength : table + HEAD_BYTES * 4;
      body.setUint8(picks[i]! % size, picks[i + 100]! & 255);
      body.setUint8(picks[i + 200]! % size, (picks[i + 100]! >>> 8) & 255);
    });
    assert.ok(["none", "capsule_malformed", "capsule_mismatch", "context_length_exceeded"].includes(found), found);
  }
});

/** Overwrites every closed page and the open ones of a session with what no forward pass would write. */
function scribble(model: Model, { address }: Placed, n: number): void {
  const { runtime } = model.engine;
  const { exports } = runtime;
  const words = randomIds(4096, 2 ** 32, 99);
  words.push(0x7fc00000, 0x7f800000, 0xff800000, 0x7c007c00, 0xffffffff, 1);
  let at = 0;
  for (let head = 0; head < exports.imageHeads(); ++head) {
    const nPages = Math.ceil((n - exports.headBase(address, head)) / 32);
    for (let p = 0; p < nPages; ++p) {
      const page = exports.headPage(address, head, p) >>> 0;
      const contents = runtime.words(page + 16, (exports.pageSize(page) - 16) / 4);
      for (let i = 0; i < contents.length; ++i) contents[i] = words[at++ % words.length]!;
    }
  }
}

test("pages of any bits: whatever comes out, the engine runs on", async () => {
  const driven = await loadFamily(llama, "q8_0", "long", { keys: "q3", values: "q8", kvWindow: 32 }, KEY_NORM);
  for (const model of [small, driven, large]) {
    const fresh = await grown(model, 40);
    const expected = following(model, fresh, 10);
    fresh.session.close();
    const session = await grown(model, 120);
    scribble(model, session, 120);
    const capsule = await save(model, session);
    const restored = await restore(model, capsule);
    assert.ok(sameBits(following(model, restored, 40), following(model, session, 40)));
    session.session.close();
    restored.session.close();
    const after = await grown(model, 40);
    assert.ok(sameBits(following(model, after, 10), expected));
    after.session.close();
    assert.is(used(model), 0);
  }
});

test("a budget that has no room for the pages says so, and stays whole", async () => {
  const session = await grown(large, 200);
  const capsule = await save(large, session);
  const expected = following(large, session, 5);
  session.session.close();
  const options = { contextLength: 256, keys: "f32", values: "f32" } as const;
  const least = await load(DEFAULT_MODEL, { ...options, budget: 1 << 20 }).catch(
    (error: ThimbleError) => error.needed!,
  );
  const budget = (least as number) + large.stats.plan.session + (1 << 17);
  const tight = await load(DEFAULT_MODEL, { ...options, budget });
  const other = await grown(tight, 200);
  assert.is(await refused(tight, capsule), "over_budget");
  assert.ok(sameBits(following(tight, other, 5), expected));
  other.session.close();
  const restored = await restore(tight, capsule);
  assert.ok(sameBits(following(tight, restored, 5), expected), "there is room once the other is gone");
});

test.run();
