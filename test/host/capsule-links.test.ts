/** Capsules that continue one another, and prompt packs: together the session's bits; alone, out of order or forged, typed errors. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { HEADER_BYTES, RECORD_BYTES } from "../../host/capsule/format.ts";
import { saveCapsule } from "../../host/capsule/save.ts";
import type { LoadOptions } from "../../host/load-engine.ts";
import type { Model } from "../../host/model.ts";
import { families, loadFamily } from "../model/families.ts";
import { load, randomIds, sameBits } from "../model/load.ts";
import { SMALL_MODEL } from "../model/small-model.ts";
import { bytesOf, code, following, forged, grown, type Placed, restore, save, subject, used } from "./capsule-case.ts";

const FORMS: Readonly<Record<string, LoadOptions>> = {
  f32: { keys: "f32", values: "f32" },
  q8: { keys: "q8", values: "q8" },
  q4: { keys: "q4", values: "q4" },
};
const family = (name: string) => families.find((one) => one.name === name)!;
const MODELS: Readonly<Record<string, (options: LoadOptions) => Promise<Model>>> = {
  "thimble-15m": (options) => load(SMALL_MODEL, { ...options, contextLength: 256 }),
  "every second layer with a window": (options) => loadFamily(family("gemma2"), "q8_0", "long", options),
  "key-driven sharing": (options) =>
    loadFamily(family("llama"), "q8_0", "long", options, { metadata: { "attention.query_grouping": "key_norm" } }),
};

/** Goes on to the tokens `ids`, back to what they share with those before. */
async function goTo(model: Model, { session }: Placed, ids: readonly number[]): Promise<void> {
  const vocabulary = { size: model.config.vocabSize, eosIds: [] };
  for await (const _ of session.generate(ids, vocabulary, { maxTokens: 0 }));
}

const since = ({ session }: Placed) => ({ since: session.known.saved?.id });

/** Lengths one after the other; where one is shorter, the session goes back. Another seed: other tokens from 40 on. */
const STEPS: readonly (readonly [length: number, seed: number])[] = [
  [70, 3],
  [71, 3],
  [96, 3],
  [96, 3],
  [50, 3],
  [90, 4],
  [110, 3],
];

for (const [name, open] of Object.entries(MODELS)) {
  for (const [forms, options] of Object.entries(FORMS)) {
    test(`${name}, ${forms}: a capsule and those that continue it are the session, after every step`, async () => {
      const model = await open(options);
      const { vocabSize } = model.config;
      const ids = (length: number, seed: number) =>
        [...randomIds(40, vocabSize, 3), ...randomIds(200, vocabSize, seed)].slice(0, length);
      const session = await grown(model, 0);
      const links: Uint8Array[] = [];
      for (const [length, seed] of STEPS) {
        await goTo(model, session, ids(length, seed));
        links.push(await save(model, session, since(session)));
        assert.is(session.session.known.saved?.links, links.length);
        const whole = await restore(model, await saveWhole(model, session));
        const restored = await restoreAll(model, links);
        assert.equal(restored.session.tokens, session.session.tokens);
        assert.equal(await saveWhole(model, restored), await saveWhole(model, session), `${length} tokens`);
        assert.ok(sameBits(following(model, restored, 12), following(model, whole, 12)), `${length} tokens`);
        restored.session.close();
        whole.session.close();
      }
      assert.ok(links[1]!.length < links[0]!.length, "a token more: the open pages");
      assert.ok(links[3]!.length < HEADER_BYTES + 2048 + 24 * model.engine.runtime.exports.imageHeads(), "nothing new");
      // Made from capsules it goes on being saved from there, on another instance too.
      const other = await open({ ...options, chunk: 16 });
      const moved = await restoreAll(other, links);
      await goTo(other, moved, ids(120, 3));
      links.push(await save(other, moved, since(moved)));
      const back = await restoreAll(model, links);
      await goTo(model, session, ids(120, 3));
      assert.ok(sameBits(following(model, back, 5), following(model, session, 5)));
      back.session.close();
      session.session.close();
      assert.is(used(model), 0);
      await model.close();
      await other.close();
    });
  }
}

/** All of it, without a word to the session that it was saved. */
async function saveWhole(model: Model, { session }: Placed): Promise<Uint8Array> {
  const copy = session.fork();
  const bytes = await bytesOf(saveCapsule(subject(model), copy, { messages: [], pending: undefined }));
  copy.close();
  return bytes;
}

async function restoreAll(model: Model, links: readonly Uint8Array[], options?: { key: Uint8Array }): Promise<Placed> {
  return restore(model, links as never, options);
}

const model = await load(SMALL_MODEL, { contextLength: 256, keys: "q4", values: "q4", kvWindow: 32 });
const key = new Uint8Array(32).fill(9);

async function refused(sources: unknown, options?: { key: Uint8Array }): Promise<string> {
  const before = used(model);
  const found = await code(async () => (await restore(model, sources as Uint8Array, options)).session.close());
  assert.is(used(model), before, "pages are back");
  return found;
}

/** Three capsules of one session, and two of another that began alike. */
async function chain(options?: { key: Uint8Array }) {
  const ids = randomIds(200, model.config.vocabSize, 5);
  const [session, other] = [await grown(model, 0), await grown(model, 0)];
  const links: Uint8Array<ArrayBuffer>[] = [];
  for (const length of [80, 120, 150]) {
    await goTo(model, session, ids.slice(0, length));
    links.push(await save(model, session, { ...options, ...since(session) }));
  }
  const others: Uint8Array<ArrayBuffer>[] = [];
  for (const length of [80, 130]) {
    await goTo(model, other, [...ids.slice(0, 79), ...randomIds(length - 79, model.config.vocabSize, 8)]);
    others.push(await save(model, other, { ...options, ...since(other) }));
  }
  const expected = following(model, session, 6);
  session.session.close();
  other.session.close();
  return {
    links,
    others,
    async unharmed() {
      const again = await restoreAll(model, links, options);
      assert.ok(sameBits(following(model, again, 6), expected), "the capsules themselves still work");
      again.session.close();
      assert.is(used(model), 0);
    },
  };
}

for (const [name, options] of Object.entries({ plain: undefined, encrypted: { key } })) {
  test(`${name}: missing, doubled, swapped, foreign links`, async () => {
    const { links, others, unharmed } = await chain(options);
    const [a, b, c] = links as [Uint8Array, Uint8Array, Uint8Array];
    const [x, y] = others as [Uint8Array, Uint8Array];
    const wrong: Readonly<Record<string, Uint8Array[]>> = {
      "the newest alone": [c],
      "no full one": [b, c],
      "one is missing": [a, c],
      "out of order": [a, c, b],
      backwards: [c, b, a],
      "the full one last": [b, c, a],
      doubled: [a, b, b, c],
      "two full ones": [a, a],
      "another base": [x, b, c],
      "of another session": [a, y],
      "another in between": [a, y, c],
      "full ones of two sessions": [x, a],
    };
    for (const [what, sources] of Object.entries(wrong)) {
      assert.is(await refused(sources, options), "capsule_mismatch", what);
    }
    assert.is(await refused([], options), "capsule_malformed");
    assert.is(await refused([a, new Uint8Array(0)], options), "none", "an empty source is none");
    (await restoreAll(model, [a, b], options)).session.close();
    // One source, the newest first, as stores give them.
    const joined = new Uint8Array(Buffer.concat([c, b, a]));
    (await restore(model, joined, options)).session.close();
    assert.not.equal(await refused(new Uint8Array(Buffer.concat([a, b, c])), options), "none");
    assert.is(await refused(new Uint8Array(Buffer.concat([c, b])), options), "capsule_mismatch");
    assert.is(await refused(new Uint8Array(Buffer.concat([c, b, a, a])), options), "capsule_malformed");
    await unharmed();
  });

  test(`${name}: cut, flipped and spliced at any place of any link`, async () => {
    const { links, unharmed } = await chain(options);
    const pages = model.engine.runtime.exports.poolPages();
    const picks = randomIds(1200, 1 << 30, 23);
    const within = (bad: (link: Uint8Array<ArrayBuffer>, i: number) => Uint8Array, i: number) =>
      links.map((link, n) => (n === i % 3 ? bad(link, i) : link));
    for (let i = 0; i < 90; ++i) {
      const flip = within((link) => {
        const bytes = link.slice();
        bytes[picks[i]! % (i % 2 === 0 ? link.length : 300)]! ^= 1 << (picks[i + 300]! % 8);
        return bytes;
      }, i);
      assert.not.equal(await refused(flip, options), "none", `bit ${picks[i]}`);
      const cut = within((link) => link.subarray(0, picks[i]! % link.length), i);
      assert.not.equal(await refused(cut, options), "none", `cut ${picks[i]}`);
      const [one, two] = [links[i % 3]!, links[(i + 1) % 3]!];
      const at = picks[i + 600]! % Math.min(one.length, two.length);
      const splice = within((link) => new Uint8Array(Buffer.concat([link.subarray(0, at), two.subarray(at)])), i);
      assert.not.equal(await refused(splice, options), "none", `splice ${at}`);
    }
    assert.is(model.engine.runtime.exports.poolPages(), pages, "the pool did not grow");
    await unharmed();
  });

  test(`${name}: forged with good tags: records of other places, forms, orders; headers`, async () => {
    const { links, unharmed } = await chain(options);
    const picks = randomIds(900, 1 << 30, 29);
    for (let i = 0; i < 120; ++i) {
      const bad = await forged(
        links[2]!,
        (body, header) => {
          const view = new DataView(i % 4 === 0 ? header.buffer : body.buffer);
          const at = picks[i]! % (view.byteLength - 4);
          view.setUint32(i % 4 === 0 ? at & 255 : at, picks[i + 300]! >>> (picks[i + 600]! % 31), true);
        },
        options?.key,
      );
      const found = await code(async () => {
        const placed = await restoreAll(model, [links[0]!, links[1]!, bad], options);
        following(model, placed, 6);
        placed.session.close();
      });
      assert.ok(/^(none|capsule_.*|context_length_exceeded)$/.test(found), found);
      assert.is(used(model), 0);
      // As an older one it is another capsule than the newer one continues.
      const older = await forged(
        links[1]!,
        (body) => body.set([picks[i]! & 255], picks[i]! % body.length),
        options?.key,
      );
      if (options === undefined && Buffer.compare(older, links[1]!) === 0) continue;
      assert.match(await refused([links[0]!, older, links[2]!], options), /^capsule_(mismatch|malformed)$/);
    }
    await unharmed();
  });
}

test("records forged with good tags: damaged, doubled, swapped, left out", async () => {
  const session = await grown(model, 70);
  const capsule = await save(model, session);
  session.session.close();
  const edit = (change: (records: Uint8Array[]) => Uint8Array[]) =>
    forged(capsule, (body, header) => {
      const view = new DataView(header.buffer);
      const tokens = view.getUint32(48, true) + view.getUint32(52, true);
      const start = 4 * tokens + view.getUint32(56, true) + 24 * model.engine.runtime.exports.imageHeads();
      const records: Uint8Array[] = [];
      for (let at = start; at < body.length; ) {
        const bytes = RECORD_BYTES + 4 * new DataView(body.buffer, at).getUint32(8, true);
        records.push(body.slice(at, at + bytes));
        at += bytes;
      }
      return new Uint8Array(Buffer.concat([body.subarray(0, start), ...change(records)]));
    });
  assert.is(await refused(await edit((records) => records)), "none");
  const changes: Readonly<Record<string, (records: Uint8Array[]) => Uint8Array[]>> = {
    "a bit of a closed page": ([first, ...rest]) => [first!.map((byte, i) => byte ^ Number(i === 99)), ...rest],
    "a bit of an open page": (records) => [
      ...records.slice(0, -1),
      records.at(-1)!.map((b, i) => b ^ Number(i === 99)),
    ],
    "the mark of a broken page": ([first, ...rest]) => [first!.map((byte, i) => byte ^ Number(i === 16)), ...rest],
    doubled: ([first, ...rest]) => [first!, first!, ...rest],
    swapped: ([first, second, ...rest]) => [second!, first!, ...rest],
    "left out": (records) => records.slice(0, -1),
    "the first left out": (records) => records.slice(1),
    "one of no head": (records) => [...records, records[0]!.map((byte, i) => (i < 4 ? 255 : byte))],
  };
  for (const [what, change] of Object.entries(changes)) {
    assert.is(await refused(await edit(change)), "capsule_malformed", what);
  }
});

test("since: only what the session was saved as or made from; a save that was lost leaves the one before", async () => {
  const session = await grown(model, 80);
  const foreign = await grown(model, 80);
  const full = await save(model, session);
  await save(model, foreign);
  const first = session.session.known.saved!;
  assert.is(first.links, 1);
  assert.match(first.id, /^[0-9a-f]{64}$/);
  const other = { since: "ab".repeat(32) };
  assert.is(await code(() => save(model, session, other)), "invalid_option");
  assert.is(await code(() => save(model, session, { since: 5 as never })), "invalid_option");
  await goTo(model, session, randomIds(100, model.config.vocabSize, 3));
  await save(model, session, { since: first.id }); // lost on its way
  assert.not.equal(session.session.known.saved, first);
  await goTo(model, session, randomIds(130, model.config.vocabSize, 3));
  const second = await save(model, session, { since: first.id });
  const restored = await restoreAll(model, [full, second]);
  assert.ok(sameBits(following(model, restored, 5), following(model, session, 5)));
  const cancelled = saveCapsule(subject(model), foreign.session, { messages: [], pending: undefined });
  const saved = foreign.session.known.saved;
  await cancelled.cancel();
  assert.equal(foreign.session.known.saved, saved);
  for (const one of [session, foreign, restored]) one.session.close();
  assert.is(used(model), 0);
});

test("totals go on after a restore; messages and a pause are in the newest", async () => {
  const session = model.session();
  const options = { temperature: 0, maxTokens: 12 };
  await session.complete("Tell me a story about a fox.", options);
  const base = await bytesOf(session.save());
  await session.complete("And then?", options);
  const { cacheBytes: _, ...stats } = session.stats;
  const restored = await model.restore([base, await bytesOf(session.save({ since: session.saved!.id }))]);
  const { cacheBytes: __, ...again } = restored.stats;
  assert.equal(again, stats);
  assert.ok(stats.prefillMs > 0 && stats.completionTokens === 24);
  assert.equal(restored.messages, session.messages);
  assert.equal(restored.saved, { id: session.saved!.id, links: 2 });
  const [a, b] = [await session.complete("Why?", options), await restored.complete("Why?", options)];
  assert.is(a.text, b.text);
  for (const bad of ['{"messages":[],"totals":{}}', '{"messages":[],"totals":5}']) {
    const text = new TextEncoder().encode(bad);
    const forgedState = await forged(base, (body, header) => {
      const view = new DataView(header.buffer);
      const at = 4 * (view.getUint32(48, true) + view.getUint32(52, true));
      body.fill(32, at, at + view.getUint32(56, true)).set(text, at);
    });
    assert.is(await refused(forgedState), "capsule_malformed");
  }
  session.close();
  restored.close();
});

const SYSTEM =
  "You are a storyteller. Every story has a fox in it, and a river, and ends well for all who were kind to others.";

test("a pack is shared: its sessions take no pages for it, say what they would alone, and outlive it", async () => {
  const options = { temperature: 0.7, seed: 4, maxTokens: 10 };
  const pack = await model.createPack({ system: SYSTEM });
  const file = await bytesOf(pack.save());
  assert.equal(await bytesOf(pack.save()), file, "the same bytes");
  const alone = model.session();
  const conversation = [
    { role: "system", content: SYSTEM },
    { role: "user", content: "Tell me a story." },
  ] as const;
  const expected = await alone.complete(conversation, options);
  alone.close();
  const opened = await model.openPack(new Blob([file]).stream());
  assert.is(opened.tokens, pack.tokens);
  assert.is(opened.id, pack.id);
  pack.close();
  const before = used(model);
  const sessions = Array.from({ length: 5 }, () => opened.session());
  assert.is(used(model), before, "pages are shared");
  for (const session of sessions) {
    assert.equal(session.messages, conversation.slice(0, 1));
    const turn = await session.complete("Tell me a story.", options);
    assert.is(turn.text, expected.text);
    assert.is(turn.usage.reusedTokens, opened.tokens);
    assert.is(session.saved, undefined);
  }
  // What a session adds to the pack, as a capsule that continues the public file; with a key for its own part.
  const [one] = sessions;
  for (const secret of [undefined, { key }]) {
    const own = await bytesOf(one!.save({ since: opened.id, ...secret }));
    assert.ok(own.length < (await bytesOf(one!.save())).length);
    const restored = await model.restore([file, own], secret);
    assert.equal(restored.messages, one!.messages);
    assert.is(restored.stats.completionTokens, 10);
    restored.close();
    assert.is(await code(() => model.restore(own, secret)), "capsule_mismatch");
  }
  opened.close();
  const last = await one!.complete("And then?", options);
  assert.ok(last.text.length > 0);
  assert.is(await code(async () => opened.session()), "closed");
  for (const session of sessions) session.close();
  assert.is(used(model), 0);
});

test("packs of texts and ids; what is no pack, or not of this model, is named", async () => {
  for (const prompt of [{ text: "Once upon a time" }, { ids: [1, 5, 9, 20] }]) {
    const pack = await model.createPack(prompt);
    const session = pack.session();
    assert.is(session.tokens.length, pack.tokens);
    const turn = await session.complete({ text: " there" }, { maxTokens: 1 });
    assert.is(turn.usage.reusedTokens, pack.tokens);
    session.close();
    pack.close();
  }
  assert.is(await code(() => model.createPack({ ids: [] })), "empty_prompt");
  assert.is(await code(() => model.createPack({ ids: [-1] })), "invalid_option");
  const pack = await model.createPack({ system: SYSTEM });
  const file = await bytesOf(pack.save());
  const hidden = await bytesOf(pack.save({ key }));
  (await model.openPack(hidden, { key })).close();
  assert.is(await code(() => model.openPack(hidden)), "capsule_key");
  const session = pack.session();
  const capsule = await bytesOf(session.save());
  const subjectOf = async (run: () => Promise<unknown>): Promise<string> => {
    try {
      await run();
    } catch (error) {
      return `${(error as { code: string }).code} ${(error as { subject?: string }).subject}: ${(error as Error).message}`;
    }
    return "none";
  };
  assert.match(await subjectOf(() => model.restore(file)), /^capsule_mismatch kind: .*model\.openPack/);
  assert.match(await subjectOf(() => model.openPack(capsule)), /^capsule_mismatch kind: .*restore it/);
  const other = await load(SMALL_MODEL, { contextLength: 256 });
  const found = await subjectOf(() => other.openPack(file));
  assert.match(found, /^capsule_mismatch cache: .*keys: "q4".*kvWindow: 32.*keys: "q8".*load it with these/);
  const policy = await load(SMALL_MODEL, {
    contextLength: 256,
    keys: "q4",
    values: "q4",
    kvWindow: 32,
    policy: "snapkv",
  });
  assert.match(await subjectOf(() => policy.openPack(file)), /^capsule_mismatch cache: .*load it without/);
  const scored = await policy.createPack({ system: SYSTEM });
  const scoredFile = await bytesOf(scored.save());
  assert.match(await subjectOf(() => model.openPack(scoredFile)), /^capsule_mismatch cache: .*load it with one/);
  (await policy.openPack(scoredFile)).close();
  await policy.close();
  const closing = other.openPack(await bytesOf((await other.createPack({ system: SYSTEM })).save()));
  await other.close();
  assert.is(await code(() => closing), "closed");
  session.close();
  pack.close();
  assert.is(used(model), 0);
});

test.run();
