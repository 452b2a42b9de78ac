/**
 * Heads that keep 8 bits (`kvFormat: "heads:..."`): a head that is named holds what a cache of 8 bits holds, one that is not
 * what the cache would hold without names, bit for bit; two sizes of pages come from one pool and all go back to it.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Size } from "../../assembly/memory/status.ts";
import type { LoadOptions } from "../../host/load-engine.ts";
import type { Model } from "../../host/model.ts";
import { allLogits, DEFAULT_MODEL, load, randomIds, sameBits } from "./load.ts";

const FOLDER = "test/golden/architectures";
const LLAMA = `${FOLDER}/llama.f32.gguf`;
/** A window in some of its layers. */
const GEMMA = `${FOLDER}/gemma3.f32.gguf`;
const TOKENS = 200;

/** Pages, and the first 200 tokens' logits, of a model that was loaded so. */
interface Held {
  readonly model: Model;
  /** By head over all layers: its pages with headers, references apart. */
  readonly heads: readonly (readonly string[])[];
  readonly logits: Float32Array;
}

function pagesOf({ engine, config }: Model, session: number): string[][] {
  const { runtime } = engine;
  const { exports } = runtime;
  return Array.from({ length: config.nLayers * config.nKvHeads }, (_, head) => {
    const pages = Math.ceil(exports.headSlots(session, head) / Size.PAGE_SLOTS);
    return Array.from({ length: pages }, (_, index) => {
      const page = exports.headPage(session, head, index) >>> 0;
      return Buffer.from(runtime.bytes(page + 4, exports.pageSize(page) - 4)).toString("base64");
    });
  });
}

async function grow(path: string, options: LoadOptions): Promise<Held> {
  const model = await load(path, { contextLength: 256, kvWindow: 32, chunk: 64, maxOutputs: 64, ...options });
  const { engine, config } = model;
  const ids = randomIds(TOKENS, config.vocabSize, 3);
  const session = engine.openSession();
  for (let at = 0; at < TOKENS; at += 40) {
    model.forward(ids.slice(at, at + 40).map((input, i) => ({ session, input, position: at + i })));
  }
  const heads = pagesOf(model, session);
  engine.runtime.exports.sessionClose(session);
  return { model, heads, logits: allLogits(model, ids, 64) };
}

/** Every head "layer.head" of a model. */
function everyHead({ config }: Model): string[] {
  return Array.from({ length: config.nLayers * config.nKvHeads }, (_, i) => {
    return `${Math.floor(i / config.nKvHeads)}.${i % config.nKvHeads}`;
  });
}

for (const [path, forms] of [
  [LLAMA, { keys: "q4", values: "q3" }],
  [LLAMA, { keys: "q3", values: "f32", kvSinks: 0 }],
  [GEMMA, { keys: "f32", values: "q4" }],
  [GEMMA, { keys: "q4", values: "q4", kvFormat: "mean,outliers:2,factors,salient:1" }],
] as const) {
  const format = "kvFormat" in forms ? `${forms.kvFormat},` : "channels,"; // as without names
  const named = (heads: readonly string[]) => ({
    ...forms,
    kvRotation: false,
    kvFormat: `${format}heads:${heads.join("/")}`,
  });
  const wider = (form: "f32" | "q3" | "q4") => (form === "f32" ? "f32" : "q8");

  test(`${path}, ${JSON.stringify(forms)}: named heads are those of 8 bits, the others as without names`, async () => {
    const plain = await grow(path, { ...forms, kvRotation: false });
    const whole = await grow(path, { keys: wider(forms.keys), values: wider(forms.values), kvRotation: false });
    const { nKvHeads, nLayers } = plain.model.config;
    // What the last layer keeps has no effect on what others hold, and all of the first layer sees the same tokens.
    const last = await grow(path, named([`${nLayers - 1}.${nKvHeads - 1}`]));
    assert.equal(last.heads.slice(0, -1), plain.heads.slice(0, -1), "heads that are not named");
    assert.not.equal(last.heads.at(-1), plain.heads.at(-1), "the one that is");
    const first = await grow(path, named(["0.0"]));
    assert.equal(first.heads[0], whole.heads[0], "pages at 8 bits");
    assert.equal(first.heads.slice(1, nKvHeads), plain.heads.slice(1, nKvHeads), "others of its layer");
    assert.not(sameBits(last.logits, plain.logits), "names have an effect");
    const all = await grow(path, named(everyHead(plain.model)));
    assert.equal(all.heads, whole.heads, "every head named is a cache of 8 bits");
    assert.ok(sameBits(all.logits, whole.logits));
  });
}

test("pages of both sizes go back to their own lists, zeroed, and serve the next session", async () => {
  const options = { keys: "q4", values: "q3", kvFormat: "heads:0.0/1.0", contextLength: 256, kvWindow: 32 } as const;
  const model = await load(LLAMA, options);
  const { engine, config, stats } = model;
  const { exports, bytes } = { ...engine.runtime, bytes: engine.runtime.bytes.bind(engine.runtime) };
  const { page, widePage } = stats.plan;
  assert.ok(widePage > page);
  const nHeads = config.nLayers * config.nKvHeads;
  const free = () => [exports.poolFreePages(), exports.poolFreePages(true)];
  const all = () => [exports.poolPages(), exports.poolPages(true)];
  const feed = (session: number, n: number, seed: number): void => {
    const position = exports.sessionLength(session);
    model.forward(randomIds(n, config.vocabSize, seed).map((input, i) => ({ session, input, position: position + i })));
  };
  const first = engine.openSession();
  for (let i = 0; i < 4; ++i) feed(first, 50, i);
  // 200 tokens: 6 closed pages, of which the window has one and the first tokens another.
  assert.equal([exports.sessionPages(first), exports.sessionPages(first, true)], [4 * (nHeads - 2), 4 * 2]);
  const second = exports.sessionFork(first);
  feed(second, 20, 9);
  feed(second, 12, 10);
  assert.equal([exports.sessionPages(second), exports.sessionPages(second, true)], [5 * (nHeads - 2), 5 * 2]);
  assert.equal(
    all().map((n, i) => n - free()[i]!),
    [5 * (nHeads - 2), 5 * 2],
    "the fork shares what it had",
  );
  const places = Array.from({ length: nHeads }, (_, head) => exports.headPage(second, head, 3) >>> 0);
  exports.sessionClose(first);
  exports.sessionClose(second);
  assert.equal(free(), all());
  for (const [head, address] of places.entries()) {
    const isWide = head === 0 || head === config.nKvHeads;
    assert.ok(
      bytes(address + 4, (isWide ? widePage : page) - 4).every((byte) => byte === 0),
      `head ${head} is zeroed`,
    );
  }
  const pool = all();
  const third = engine.openSession();
  for (let i = 0; i < 4; ++i) feed(third, 50, i);
  assert.equal(all(), pool, "and nothing new is taken");
  exports.sessionClose(third);
});

test("what a session holds, gives back and forgets is counted in pages of both sizes", async () => {
  const kvFormat = "heads:0.0/1.0";
  const options = { keys: "q4", values: "q3", kvFormat, contextLength: 256, kvWindow: 32, kvSinks: 0 } as const;
  await using model = await load(LLAMA, options);
  const { page, widePage } = model.stats.plan;
  const nHeads = model.config.nLayers * model.config.nKvHeads;
  const each = (nHeads - 2) * page + 2 * widePage;
  await using session = model.session();
  const ids = randomIds(200, model.config.vocabSize, 1);
  for await (const _ of session.generate({ ids }, { maxTokens: 1 }));
  assert.is(session.stats.cacheBytes, 5 * each);
  assert.is(session.trim(), 5 * each);
  await using endless = model.session({ overflow: "evict", sinks: 32, window: 32 });
  for await (const _ of endless.generate({ ids: [...ids, ...ids] }, { maxTokens: 1 }));
  const { ledger, stats } = endless;
  assert.ok(ledger.length > 0);
  assert.is(stats.evictedBytes, (stats.evictedTokens / 32) * each, "bytes of what was forgotten");
});

test("neither size of pages takes ahead what the other is planned to have", async () => {
  const options = { keys: "q4", values: "q3", kvFormat: "heads:0.0/1.0", contextLength: 400, kvWindow: 32 } as const;
  for (const sessions of [1, 3]) {
    const model = await load(DEFAULT_MODEL, { ...options, kvSinks: 0, sessions });
    const { engine, config, stats } = model;
    const { exports } = engine.runtime;
    const open = Array.from({ length: sessions }, () => engine.openSession());
    for (let at = 0; at < 400; at += 16) {
      for (const session of open) {
        const ids = randomIds(16, config.vocabSize, at);
        model.forward(ids.map((input, i) => ({ session, input, position: at + i })));
      }
      const bytes = exports.poolPages() * stats.plan.page + exports.poolPages(true) * stats.plan.widePage;
      assert.ok(bytes <= sessions * stats.plan.context, `${bytes} bytes after ${at + 16} tokens`);
    }
    const full = exports.poolPages() * stats.plan.page + exports.poolPages(true) * stats.plan.widePage;
    assert.is(full, sessions * stats.plan.context);
  }
});

test("heads that a model lacks, and lists that mean nothing, are refused", async () => {
  const wrong = [
    "heads",
    "heads:",
    "heads:0",
    "heads:0.0/",
    "heads:0.0/0.0",
    "heads:0.0:1",
    "heads:-1.0",
    "heads:0.1e1",
  ];
  const absent = ["heads:0.9", "heads:99.0", "heads:9999.52", "heads:0.53"];
  for (const kvFormat of [...wrong, ...absent, "heads:0.0,heads:1.0"]) {
    const error = await load(LLAMA, { keys: "q4", values: "q4", kvFormat }).catch((reason) => reason);
    assert.is(error.code, "invalid_option", kvFormat);
  }
  const error = await load(LLAMA, { keys: "q4", kvFormat: "heads:0.0", policy: "key-norm" }).catch((reason) => reason);
  assert.is(error.code, "invalid_option", "slots that move one by one");
});

test.run();
