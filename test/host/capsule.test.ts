/** Capsules: sessions that were saved go on with the bits they would have had, elsewhere too; what may go wrong is said. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { saveCapsule } from "../../host/capsule/save.ts";
import type { LoadOptions } from "../../host/load-engine.ts";
import type { Model } from "../../host/model.ts";
import { families, loadFamily } from "../model/families.ts";
import { load, sameBits } from "../model/load.ts";
import { SMALL_MODEL } from "../model/small-model.ts";
import { bytesOf, code, following, grown, restore, save, subject, used } from "./capsule-case.ts";

const FORMS: Readonly<Record<string, LoadOptions>> = {
  f32: { keys: "f32", values: "f32" },
  q8: { keys: "q8", values: "q8" },
  q4: { keys: "q4", values: "q4" },
  q3: { keys: "q3", values: "q3", kvWindow: 32, kvSinks: 0 },
  "keys q8, values q3": { keys: "q8", values: "q3", kvWindow: 32 },
  "keys f32, values q4, groups of 32": { keys: "f32", values: "q4", kvGroup: 32 },
  "q4 with sections": { keys: "q4", values: "q4", kvFormat: "mean,outliers:2,factors,salient:1" },
  "q3, keys by channel": { keys: "q3", values: "q3", kvFormat: "channels" },
  "q3, a head at 8 bits": { keys: "q3", values: "q3", kvWindow: 32, kvFormat: "heads:0.0" },
  "q8 in planes": { keys: "q8", values: "q8", kvFormat: "planes:0.1" },
};
const LENGTHS = [0, 1, 31, 32, 33, 100, 200];

const family = (name: string) => families.find((one) => one.name === name)!;
const MODELS: Readonly<Record<string, (options: LoadOptions) => Promise<Model>>> = {
  "thimble-15m": (options) => load(SMALL_MODEL, { ...options, contextLength: 256 }),
  "every layer with a window": (options) => loadFamily(family("mistral-swa"), "q8_0", "long", options),
  "every second layer with a window": (options) => loadFamily(family("gemma2"), "q8_0", "long", options),
  "key-driven sharing": (options) =>
    loadFamily(family("llama"), "q8_0", "long", options, { metadata: { "attention.query_grouping": "key_norm" } }),
};

for (const [m, [name, open]] of Object.entries(MODELS).entries()) {
  for (const [f, [forms, options]] of Object.entries(FORMS).entries()) {
    if (options.kvFormat !== undefined && name.startsWith("every")) continue; // two models will do
    test(`${name}, ${forms}: the same bits go on here, in another instance and on another build`, async () => {
      const here = await open({ ...options, variant: "simd" });
      const there = await open({ ...options, chunk: 16, threads: forms === "q4" ? 2 : 1 });
      const all = LENGTHS.filter((n) => n + 40 <= here.engine.sizes.contextLength);
      assert.ok(all.length >= 5);
      // The first model is the largest: half of the lengths for each form, the others for the next one.
      const lengths = all.filter((_, i) => m > 0 || i % 2 === f % 2);
      for (const n of lengths) {
        const session = await grown(here, n);
        const capsule = await save(here, session);
        const second = await restore(here, capsule);
        const third = await restore(there, capsule);
        assert.is(second.session.cachedTokens, n);
        assert.equal(second.session.tokens, session.session.tokens);
        assert.equal(await save(here, second), capsule, `${n} tokens: saved again`);
        const expected = following(here, session, 40);
        assert.ok(sameBits(following(here, second, 40), expected), `${n} tokens, here`);
        assert.ok(sameBits(following(there, third, 40, 8), expected), `${n} tokens, there`);
        for (const { session: one } of [session, second, third]) one.close();
        assert.is(used(here) + used(there), 0);
      }
      await here.close();
      await there.close();
    });
  }
}

const model = await load(SMALL_MODEL, { contextLength: 256 });

test("a conversation goes on with its messages, and says the same", async () => {
  const options = { temperature: 0.8, seed: 5, maxTokens: 24 };
  const session = model.session();
  await session.complete("Tell me a story about a fox.", options);
  const other = await load(SMALL_MODEL, { contextLength: 250 });
  const restored = await other.restore(session.save());
  assert.equal(restored.messages, session.messages);
  assert.equal(restored.tokens, session.tokens);
  const expected = await session.complete("And then?", options);
  const actual = await restored.complete("And then?", options);
  assert.is(actual.text, expected.text);
  assert.is(actual.usage.reusedTokens, expected.usage.reusedTokens);
  session.close();
  await other.close();
});

test("a paused turn goes on", async () => {
  const options = { temperature: 0.8, seed: 11, maxTokens: 30 };
  const whole = model.session();
  const { text } = await whole.complete("Tell me a story about a fox.", options);
  whole.close();
  const session = model.session();
  await session.complete("Tell me a story about a fox.", { ...options, cpuMs: 1 });
  assert.ok(session.isPaused);
  const restored = await model.restore(session.save());
  session.close();
  assert.ok(restored.isPaused);
  let rest = "";
  const generation = restored.resume(options);
  for await (const piece of generation) rest += piece;
  assert.ok(text.endsWith(rest));
  assert.is((await generation.result).text, text);
  restored.close();
});

test("a fork, and a session that went back, are saved as they are", async () => {
  const session = await grown(model, 70);
  const { exports } = model.engine.runtime;
  const fork = model.engine.forkSession(session.address);
  exports.sessionTruncate(fork, 64);
  const plain = await grown(model, 64);
  assert.ok(sameBits(following(model, { ...session, address: fork }, 3), following(model, plain, 3)));
  exports.sessionClose(fork);
  session.session.close();
  plain.session.close();
  assert.is(used(model), 0);
});

test("while a capsule is written no turn begins; a stream that is cancelled or read lets it", async () => {
  const session = model.session();
  const ask = () => session.complete({ ids: [1, 2, 3] }, { maxTokens: 1 });
  await ask();
  const stream = session.save();
  assert.is(await code(ask), "busy");
  assert.is(await code(async () => session.save()), "busy");
  await stream.cancel();
  await ask();
  await bytesOf(session.save());
  await ask();
  const generation = session.generate({ ids: [5] }, { maxTokens: 5 })[Symbol.asyncIterator]();
  await generation.next();
  assert.is(await code(async () => session.save()), "busy");
  await generation.return?.(undefined as never);
  const cut = session.save().getReader();
  await cut.read();
  session.close();
  assert.is(await code(() => cut.read()), "closed");
  assert.is(await code(async () => session.save()), "closed");
});

test("another model, tokenizer, form, kind of activations or too small a context is named", async () => {
  const session = await grown(model, 100);
  const capsule = await save(model, session);
  const subjectOf = async (other: Model): Promise<string> => {
    try {
      await restore(other, capsule);
    } catch (error) {
      return `${(error as { code: string }).code} ${(error as { subject?: string }).subject}`;
    }
    return "none";
  };
  assert.is(await subjectOf(await load(SMALL_MODEL, { contextLength: 256, keys: "q4" })), "capsule_mismatch cache");
  const planes = await load(SMALL_MODEL, { contextLength: 256, kvFormat: "planes:0.5" });
  assert.is(await subjectOf(planes), "capsule_mismatch cache");
  const named = { contextLength: 256, keys: "q4", values: "q4" } as const;
  const wide = await load(SMALL_MODEL, { ...named, kvFormat: "heads:0.0" });
  const other = await save(wide, await grown(wide, 100));
  const others = await load(SMALL_MODEL, { ...named, kvFormat: "heads:1.0" });
  assert.is(await code(() => restore(others, other)), "capsule_mismatch", "other heads");
  assert.is(await subjectOf(await load(SMALL_MODEL, { contextLength: 99 })), "context_length_exceeded undefined");
  const floats = await load(SMALL_MODEL, { contextLength: 256, activations: "f32", keys: "q8", values: "q8" });
  assert.is(await subjectOf(floats), "capsule_mismatch activations");
  const gemma = await loadFamily(family("gemma2"), "q8_0", "long", {});
  assert.is(await subjectOf(gemma), "capsule_mismatch model");
  session.session.close();

  // The same sizes, other weights; and the same weights, another vocabulary.
  const llama = await loadFamily(family("llama"), "f32", "long", { activations: "f32" });
  const tuned = await loadFamily(
    family("llama"),
    "f32",
    "long",
    { activations: "f32" },
    {
      values: (name, values) => {
        if (name.endsWith("attn_q.weight")) values[0]! += 1;
      },
    },
  );
  const plain = await save(llama, await grown(llama, 40));
  assert.is(await code(() => restore(tuned, plain)), "capsule_mismatch");
});

test("a key hides what is said and is needed; bytes and CryptoKey are alike", async () => {
  const raw = globalThis.crypto.getRandomValues(new Uint8Array(32));
  const key = await globalThis.crypto.subtle.importKey("raw", raw, "AES-GCM", false, ["encrypt", "decrypt"]);
  const session = model.session();
  await session.complete("A secret fox named Zanzibar.", { temperature: 0, maxTokens: 8 });
  const [plain, a, b] = [
    await bytesOf(session.save()),
    await bytesOf(session.save({ key: raw })),
    await bytesOf(session.save({ key })),
  ];
  const has = (bytes: Uint8Array) => Buffer.from(bytes).includes("Zanzibar");
  assert.equal([has(plain), has(a), has(b)], [true, false, false]);
  assert.not.equal(a, b, "every capsule has a key of its own");
  for (const capsule of [a, b]) {
    for (const given of [raw, key]) (await model.restore(capsule, { key: given })).close();
    assert.is(await code(() => model.restore(capsule)), "capsule_key");
    assert.is(await code(() => model.restore(capsule, { key: new Uint8Array(32) })), "capsule_key");
  }
  assert.is(await code(() => model.restore(plain, { key })), "capsule_key");
  assert.is(await code(() => model.restore(plain, { key: new Uint8Array(16) })), "invalid_option");
  assert.is(await code(async () => session.save({ key: "secret" as never })), "invalid_option");
  session.close();
  assert.is(used(model), 0);
});

test("streams in any pieces, Blobs and buffers; failing and foreign streams are typed", async () => {
  const session = await grown(model, 40);
  const capsule = await save(model, session);
  const pieces = (size: number) =>
    new ReadableStream<Uint8Array>({
      start(controller) {
        for (let at = 0; at < capsule.length; at += size) controller.enqueue(capsule.subarray(at, at + size));
        controller.enqueue(new Uint8Array(0));
        controller.close();
      },
    });
  for (const source of [pieces(1009), pieces(1 << 22), new Blob([capsule]), capsule.buffer]) {
    (await model.restore(source)).close();
  }
  const failing = new ReadableStream<Uint8Array>({
    pull() {
      throw new Error("gone");
    },
  });
  assert.is(await code(() => model.restore(failing)), "source_unreadable");
  const foreign = new ReadableStream({ pull: (controller) => controller.enqueue("text") });
  assert.is(await code(() => model.restore(foreign)), "invalid_option");
  for (const source of [null, 5, {}, "path"]) {
    assert.is(await code(() => model.restore(source as never)), "invalid_option");
  }
  const abort = new AbortController();
  const never = new ReadableStream<Uint8Array>({ pull: () => new Promise(() => {}) });
  const restoring = model.restore(never, { signal: abort.signal });
  abort.abort(new Error("enough"));
  await restoring.then(
    () => assert.unreachable(),
    (error: Error) => assert.is(error.message, "enough"),
  );
  session.session.close();
});

test("a session that is not finished saving can be saved by nobody else, and model.close ends it", async () => {
  const other = await load(SMALL_MODEL, { contextLength: 256 });
  const session = other.session();
  const capsule = await bytesOf(session.save());
  const reader = saveCapsule(subject(other), (await grown(other, 10)).session, { messages: [], pending: undefined });
  await reader.cancel();
  await other.close();
  assert.is(await code(() => other.restore(capsule)), "closed");
});

test.run();
