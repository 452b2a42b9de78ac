/**
 * The tokenizer against Hugging Face's own (test/golden/tokenizer.json), its behaviour on hostile vocabularies and
 * texts, and the merges of long words against the plain definition.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { gguf } from "@huggingface/gguf";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createSymbolMerger } from "../../host/bpe.ts";
import { ThimbleError } from "../../host/errors.ts";
import { createTokenizer } from "../../host/tokenizer.ts";

interface Summary {
  readonly count: number;
  readonly sha256: string;
  readonly ids?: readonly number[];
}

interface Golden {
  readonly heldout_text: readonly Summary[];
  readonly retrieval: readonly Summary[];
  readonly strings: readonly { readonly text: string; readonly ids: number[]; readonly literal?: number[] }[];
}

const MODEL = "models/thimble-15m.Q4_0.gguf";
const metadata: Record<string, unknown> = { ...(await gguf(MODEL, { allowLocalFile: true })).metadata };
const tokenizer = createTokenizer(metadata);
const golden: Golden = JSON.parse(readFileSync("test/golden/tokenizer.json", "utf8"));
const lines = (name: string): Record<string, string>[] =>
  readFileSync(`models/eval/${name}.jsonl`, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));

const test = suite("tokenizer");

function expectSummary(text: string, expected: Summary, what: string): void {
  const ids = tokenizer.encode(text);
  if (expected.ids !== undefined) assert.equal(ids, expected.ids, what);
  assert.is(ids.length, expected.count, what);
  assert.is(createHash("sha256").update(Uint32Array.from(ids)).digest("hex"), expected.sha256, what);
  assert.is(tokenizer.decode(ids), text, what);
}

test("gives the reference's ids for every evaluation text", () => {
  for (const [index, line] of lines("heldout_text").entries()) {
    expectSummary(line.text!, golden.heldout_text[index]!, `heldout_text ${index}`);
  }
  for (const [index, line] of lines("retrieval").entries()) {
    expectSummary(line.prompt! + line.answer!, golden.retrieval[index]!, `retrieval ${index}`);
  }
});

test("gives the reference's ids for awkward strings, with control tokens parsed and literal", () => {
  for (const { text, ids, literal } of golden.strings) {
    assert.equal(tokenizer.encode(text), ids, JSON.stringify(text));
    assert.equal(tokenizer.encode(text, { special: false }), literal ?? ids, `literal ${JSON.stringify(text)}`);
    assert.is(tokenizer.decode(ids), text, JSON.stringify(text));
  }
});

test("decoding undoes encoding, and literal encoding never gives a control token", () => {
  const piece = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.constantFrom("<|im_end|>", "<|im_start|>", "<|im_", "end|>"),
  );
  fc.assert(
    fc.property(fc.array(piece), (pieces) => {
      const text = pieces.join("");
      assert.is(tokenizer.decode(tokenizer.encode(text)), text);
      const ids = tokenizer.encode(text, { special: false });
      assert.is(tokenizer.decode(ids), text);
      assert.not(ids.some((id) => tokenizer.isControl(id)));
    }),
  );
});

test("says what the file says", () => {
  assert.is(tokenizer.vocabSize, 8192);
  assert.is(tokenizer.pre, "smollm");
  assert.is(tokenizer.bosId, 1);
  assert.is(tokenizer.eosId, 2);
  assert.equal(tokenizer.eosIds, [0, 2]);
  assert.is(tokenizer.addBos, false);
  assert.equal(tokenizer.warnings, []);
  assert.equal([...tokenizer.controls.keys()], ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]);
  assert.equal(Buffer.from(tokenizer.bytes(2)).toString(), "<|im_end|>");
  assert.ok(tokenizer.isControl(2) && !tokenizer.isControl(3));
});

test("refuses lone surrogates and ids outside the vocabulary", () => {
  for (const text of ["\ud800", "a\udc00b", "\udc00\ud800"])
    assert.throws(() => tokenizer.encode(text), code("invalid_text"));
  for (const id of [-1, 8192, 1.5, Number.NaN]) assert.throws(() => tokenizer.bytes(id), code("invalid_option"));
});

test("takes long texts without spaces in time that grows with their length", () => {
  for (const unit of ["a", " ", "\n", "😀", "<|im_en", "1"]) {
    const size = unit === "a" ? 1 << 20 : 1 << 17;
    const text = unit.repeat(size / unit.length);
    const part = timed(() => tokenizer.encode(text.slice(0, text.length / 4)));
    const whole = timed(() => {
      assert.is(tokenizer.decode(tokenizer.encode(text)), text);
    });
    assert.ok(whole < 10 * part + 2000, `${JSON.stringify(unit)}: ${part} ms for a quarter, ${whole} ms for all`);
  }
});

test("merges long words as the definition says", () => {
  const { tokens, merges } = vocabularyOf(metadata);
  const mergeIds = createSymbolMerger(tokens, merges);
  const idOf = new Map(tokens.map((token, id) => [token, id]));
  const merge = (text: string) => mergeIds(Int32Array.from(text, (c) => idOf.get(c)!)).map((id) => tokens[id]);
  const ranks = new Map(merges.map((pair, rank) => [pair.join(" "), rank]));
  const word = fc.oneof(
    fc.string({ unit: fc.constantFrom(..."aehtnĠČ"), minLength: 1, maxLength: 60 }),
    fc.string({ unit: fc.constantFrom("the", "ing", "Ġa", "nd", "aa", "x"), minLength: 1, maxLength: 30 }),
  );
  fc.assert(
    fc.property(word, (text) => {
      assert.equal(merge(text), mergeByDefinition(text, ranks));
    }),
    { numRuns: 500 },
  );
});

test("refuses vocabularies that cannot be used, with a code", () => {
  const cases: [string, unknown, string][] = [
    ["tokenizer.ggml.model", undefined, "missing_metadata"],
    ["tokenizer.ggml.model", 7, "missing_metadata"],
    ["tokenizer.ggml.model", "rwkv", "unsupported_tokenizer"],
    ["tokenizer.ggml.model", "llama", "missing_metadata"],
    ["tokenizer.ggml.model", "constructor", "unsupported_tokenizer"],
    ["tokenizer.ggml.pre", 1, "missing_metadata"],
    ["tokenizer.ggml.tokens", undefined, "missing_metadata"],
    ["tokenizer.ggml.tokens", "abc", "missing_metadata"],
    ["tokenizer.ggml.tokens", ["a", 1], "missing_metadata"],
    ["tokenizer.ggml.tokens", [], "unsupported_tokenizer"],
    ["tokenizer.ggml.merges", undefined, "missing_metadata"],
    ["tokenizer.ggml.merges", [1], "missing_metadata"],
    ["tokenizer.ggml.merges", ["ab"], "unsupported_tokenizer"],
    ["tokenizer.ggml.merges", ["a b c"], "unsupported_tokenizer"],
    ["tokenizer.ggml.merges", [" a"], "unsupported_tokenizer"],
    ["tokenizer.ggml.merges", ["a "], "unsupported_tokenizer"],
    ["tokenizer.ggml.merges", ["a z"], "unsupported_tokenizer"],
    ["tokenizer.ggml.merges", ["b a"], "unsupported_tokenizer"],
    ["tokenizer.ggml.merges", ["a b", "a b"], "unsupported_tokenizer"],
    ["tokenizer.ggml.token_type", [3, 1], "unsupported_tokenizer"],
    ["tokenizer.ggml.token_type", [3, "1", 1, 1], "missing_metadata"],
    ["tokenizer.ggml.token_type", [3, 3, 1, 1], "unsupported_tokenizer"],
    ["tokenizer.ggml.token_type", [3, 1, 1, 3], "unsupported_tokenizer"],
    ["tokenizer.ggml.eos_token_id", 4, "malformed_file"],
    ["tokenizer.ggml.eos_token_id", -1, "malformed_file"],
    ["tokenizer.ggml.eos_token_id", "0", "missing_metadata"],
    ["tokenizer.ggml.add_bos_token", 1, "missing_metadata"],
    ["tokenizer.ggml.add_bos_token", true, "missing_metadata"],
  ];
  assert.is(createTokenizer(tiny()).vocabSize, 4);
  for (const [key, value, expected] of cases) {
    assert.throws(() => createTokenizer(tiny({ [key]: value }), "f.gguf"), code(expected), `${key} = ${value}`);
  }
});

test("refuses a token that is there twice", () => {
  const twice = tiny({ tokens: ["<|im_end|>", "a", "b", "ab", "a"], types: [3, 1, 1, 1, 1] });
  assert.throws(() => createTokenizer(twice), /"a" is in the vocabulary twice/);
});

test("never fails with anything but its own error", () => {
  const keys = ["model", "pre", "tokens", "merges", "token_type", "bos_token_id", "eos_token_id", "add_bos_token"];
  const value = fc.oneof(
    fc.anything(),
    fc.array(fc.string()),
    fc.array(fc.integer({ min: 0, max: 6 })),
    fc.constant("gpt-2"),
  );
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom(...keys), value), (changes) => {
      const entries = Object.entries(changes).map(([key, item]) => [`tokenizer.ggml.${key}`, item]);
      try {
        createTokenizer(tiny(Object.fromEntries(entries))).encode("ab <|im_end|>");
      } catch (error) {
        assert.instance(error, ThimbleError);
      }
    }),
    { numRuns: 500 },
  );
});

test("warns of a missing, default or unknown pre-tokenizer and splits as llama.cpp does without one", () => {
  for (const pre of [undefined, "default", "no-such-model", "constructor"]) {
    const { warnings, pre: inForce } = createTokenizer(tiny({ "tokenizer.ggml.pre": pre }));
    assert.is(inForce, "default");
    assert.match(warnings.join("\n"), pre === undefined ? "absent" : `"${pre}"`);
    assert.match(warnings.join("\n"), "default");
  }
  assert.not(
    createTokenizer(tiny({ "tokenizer.ggml.pre": "qwen2" }))
      .warnings.join()
      .includes("tokenizer.ggml.pre"),
  );
});

test("warns of bytes without tokens", () => {
  assert.match(createTokenizer(tiny()).warnings.join("\n"), /bytes .*\b7A\b/);
});

test("keeps strange token names apart from JavaScript's own", () => {
  const tokens = ["<|im_end|>", "__proto__", "constructor", "_", "p", "r"];
  const strange = createTokenizer(tiny({ tokens, merges: [], types: [3, 4, 4, 1, 1, 1] }));
  assert.equal(strange.encode("__proto__pconstructor<|im_end|>"), [1, 4, 2, 0]);
  assert.is(strange.decode([1, 2, 3]), "__proto__constructor_");
  const inherited = Object.create({ "tokenizer.ggml.model": "gpt2" }) as Record<string, unknown>;
  assert.throws(() => createTokenizer(inherited), code("missing_metadata"));
});

test("takes a word that is a token for that token where the pre-tokenizer says so, but never a control token", () => {
  const tokens = ["cat", "c", "a", "t", "at", "tac"];
  const file = tiny({ tokens, merges: ["a t"], types: [3, 1, 1, 1, 1, 1], "tokenizer.ggml.pre": "llama-bpe" });
  const whole = createTokenizer(file);
  assert.equal(whole.encode("tac"), [5]);
  assert.equal(whole.encode("cat"), [0]);
  assert.equal(whole.encode("cat", { special: false }), [1, 4]);
  assert.equal(createTokenizer({ ...file, "tokenizer.ggml.pre": "smollm" }).encode("tac"), [3, 2, 1]);
});

test("adds BOS by default where llama.cpp does", () => {
  const added = (pre: string, changes = {}) =>
    createTokenizer(tiny({ "tokenizer.ggml.pre": pre, "tokenizer.ggml.bos_token_id": 0, ...changes })).addBos;
  assert.equal(
    ["llama-bpe", "tekken", "qwen2", "gpt-2"].map((pre) => added(pre)),
    [true, true, false, false],
  );
  assert.is(added("llama-bpe", { "tokenizer.ggml.add_bos_token": false }), false);
  assert.is(createTokenizer(tiny({ "tokenizer.ggml.pre": "llama-bpe" })).addBos, false);
});

test("merges vocabularies with very many merges as it does others", () => {
  const { tokens, merges } = vocabularyOf(metadata);
  const more = Array.from({ length: 100_000 }, (_, index) => `\u0120\u0120\u0120${index}`);
  const filler = more.flatMap((token) => [token, `${token}x`]);
  const many = createTokenizer({
    ...metadata,
    "tokenizer.ggml.tokens": [...tokens, ...filler],
    "tokenizer.ggml.merges": [...merges.map((pair) => pair.join(" ")), ...more.map((token) => `${token} x`)],
    "tokenizer.ggml.token_type": [...(metadata["tokenizer.ggml.token_type"] as number[]), ...filler.map(() => 1)],
  });
  for (const { text, ids } of golden.strings) assert.equal(many.encode(text), ids, JSON.stringify(text));
});

test("takes markers that a converter called user-defined for control tokens", () => {
  const tokens = ["<|im_end|>", "<|user|>", "<tool>", "a"];
  const marked = createTokenizer(tiny({ tokens, merges: [], types: [3, 4, 4, 1] }));
  assert.equal(marked.encode("a<|user|><tool>"), [3, 1, 2]);
  assert.equal(marked.encode("a<|user|><tool>", { special: false }), [3, 2]);
});

/** A vocabulary of four tokens with one merge. */
function tiny(changes: Record<string, unknown> = {}): Record<string, unknown> {
  const { tokens, merges, types, ...rest } = changes;
  return {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": tokens ?? ["<|im_end|>", "a", "b", "ab"],
    "tokenizer.ggml.token_type": types ?? [3, 1, 1, 1],
    "tokenizer.ggml.merges": merges ?? ["a b"],
    ...rest,
  };
}

function vocabularyOf(source: Record<string, unknown>) {
  const tokens = source["tokenizer.ggml.tokens"] as string[];
  const merges = (source["tokenizer.ggml.merges"] as string[]).map((line) => line.split(" ") as [string, string]);
  return { tokens, merges };
}

/** Joins the best pair, leftmost first, until there is none. */
function mergeByDefinition(word: string, ranks: ReadonlyMap<string, number>): string[] {
  const parts = [...word];
  for (;;) {
    let best = -1;
    let bestRank = Infinity;
    for (let at = 0; at + 1 < parts.length; at++) {
      const rank = ranks.get(`${parts[at]} ${parts[at + 1]}`) ?? Infinity;
      if (rank < bestRank) [best, bestRank] = [at, rank];
    }
    if (best < 0) return parts;
    parts.splice(best, 2, parts[best]! + parts[best + 1]!);
  }
}

function timed(action: () => void): number {
  const start = performance.now();
  action();
  return performance.now() - start;
}

const code = (expected: string) => (error: unknown) => error instanceof ThimbleError && error.code === expected;

test.run();
