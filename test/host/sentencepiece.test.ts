/** SentencePiece vocabularies: joins and best sums against plain definitions, spaces in front, bytes, hostile files. */
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createCharacterMap } from "../../host/charsmap.ts";
import { createDetokenizer } from "../../host/detokenizer.ts";
import { ThimbleError } from "../../host/errors.ts";
import type { Metadata } from "../../host/metadata.ts";
import { createTokenizer } from "../../host/tokenizer.ts";
import { text as anyText, readVariant } from "./tokenizer-texts.ts";

const spmFile = await readVariant("spm.gguf");
const unigramFile = await readVariant("unigram.gguf");
const spm = createTokenizer(spmFile);
const unigram = createTokenizer(unigramFile);

const test = suite("sentencepiece");

test("says what the file says", () => {
  assert.is(spm.kind, "spm");
  assert.is(spm.pre, "none");
  assert.is(spm.addBos, true);
  assert.is(spm.addEos, false);
  assert.is(spm.bosId, 1);
  assert.equal([...spm.controls.keys()], ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|endoftext|>"]);
  assert.equal(spm.warnings, []);
  assert.is(unigram.kind, "unigram");
  assert.is(unigram.addBos, false);
  assert.is(unigram.addEos, true);
});

test("decoding undoes encoding, also without a space in front and around control tokens", () => {
  const bare = createTokenizer({ ...spmFile, "tokenizer.ggml.add_space_prefix": false });
  for (const tokenizer of [spm, bare]) {
    fc.assert(
      fc.property(anyText, fc.boolean(), (text, special) => {
        const plain = text.replaceAll("\u2581", ""); // the vocabulary's space: comes back as one
        assert.is(tokenizer.decode(tokenizer.encode(plain, { special })), plain);
      }),
      { numRuns: 500 },
    );
  }
  assert.is(spm.decode(spm.encode("<s>the cat<tool> sat")), "<s>the cat<tool> sat");
});

test("a text that goes on keeps its first space when it streams", () => {
  const ids = spm.encode("the cat");
  const detokenizer = createDetokenizer(spm);
  assert.is(ids.map((id) => detokenizer.push(id)).join("") + detokenizer.flush(), " the cat");
  assert.is(spm.decode(ids), "the cat");
});

test("spells bytes out where no token has a character, and puts them together again", () => {
  const ids = spm.encode("\u{1f9ea}");
  assert.equal(
    ids.slice(-4).map((id) => [...spm.bytes(id)]),
    [[0xf0], [0x9f], [0xa7], [0xaa]],
  );
  const detokenizer = createDetokenizer(spm);
  assert.equal(
    ids.slice(-4).map((id) => detokenizer.push(id)),
    ["", "", "", "\u{1f9ea}"],
  );
});

test("never gives a control token for literal text, even where joins could spell one", () => {
  const tokens = ["<unk>", "<s>", "</s>", "<", "s", ">", "s>", "\u2581"];
  const scores = [0, 0, 0, -1, -2, -3, -4, -5];
  const forged = createTokenizer(
    model({ tokens, scores, token_type: [2, 3, 3, 1, 1, 1, 1, 1], add_space_prefix: false }),
  );
  assert.equal(forged.encode("<s>"), [1]);
  assert.equal(forged.encode("<s>", { special: false }), [3, 6]);
  fc.assert(
    fc.property(anyText, (text) => {
      for (const tokenizer of [spm, unigram]) {
        const unknown = tokenizer.controls.get("<unk>");
        const ids = tokenizer.encode(text, { special: false });
        assert.not(ids.some((id) => id !== unknown && tokenizer.isControl(id)));
      }
    }),
  );
});

test("joins the highest score first, the leftmost among equals", () => {
  const tokens = ["<unk>", "<s>", "</s>", "a", "b", "ab", "ba", "aa", "bab", "\u2581", "aab", "\u2581a"];
  const letters = fc.string({ unit: fc.constantFrom("a", "b", " ", "c"), minLength: 1, maxLength: 30 });
  const someScores = fc.array(fc.integer({ min: -3, max: 0 }), { minLength: tokens.length, maxLength: tokens.length });
  fc.assert(
    fc.property(letters, someScores, (text, scores) => {
      const token_type = tokens.map((_, id) => (id === 0 ? 2 : id < 3 ? 3 : 1));
      const tokenizer = createTokenizer(model({ tokens, scores, token_type, add_space_prefix: false }));
      assert.equal(tokenizer.encode(text), joinByDefinition(text, tokens, scores));
    }),
    { numRuns: 500 },
  );
});

test("the unigram tokenization has the best sum of scores", () => {
  const tokens = ["<pad>", "</s>", "<unk>", "a", "b", "ab", "ba", "aa", "bab", "aab"];
  const letters = fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength: 1, maxLength: 12 });
  const someScores = fc.array(fc.integer({ min: -30, max: -1 }), {
    minLength: tokens.length,
    maxLength: tokens.length,
  });
  fc.assert(
    fc.property(letters, someScores, (text, scores) => {
      const token_type = tokens.map((_, id) => (id === 2 ? 2 : id < 3 ? 3 : 1));
      const tokenizer = createTokenizer({ ...model({ tokens, scores, token_type }), "tokenizer.ggml.model": "t5" });
      const unknown = Math.min(...scores.slice(3)) - 10;
      const ids = tokenizer.encode(text.replaceAll("c", "")); // sums are comparable without unknown characters
      const sum = ids.reduce((total, id) => total + (id === 2 ? unknown : scores[id]!), 0);
      assert.is(sum, bestByDefinition(text.replaceAll("c", ""), tokens, scores));
      const known = tokenizer.encode(text).filter((id) => id !== 2);
      assert.is(tokenizer.decode(known), text.replaceAll("c", ""));
      assert.is(tokenizer.encode(text).filter((id) => id === 2).length, text.split(/c+/).length - 1);
    }),
    { numRuns: 500 },
  );
});

test("an unknown character costs 10 more than the worst token", () => {
  const tokens = ["<pad>", "</s>", "<unk>", "ab", "b", "aba"];
  const token_type = [3, 3, 2, 1, 1, 1];
  const encode = (scores: number[]) =>
    createTokenizer({ ...model({ tokens, scores, token_type }), "tokenizer.ggml.model": "t5" }).encode("ab");
  assert.equal(encode([0, 0, 0, -100, -1, -100]), [3]);
  assert.equal(encode([0, 0, 0, -100, -1, -88.5]), [3]);
  assert.equal(encode([0, 0, 0, -30, 25, -40]), [2, 4]); // -50 + 25 is more than -30
});

test("takes hostile texts of a megabyte in time that grows with their length", () => {
  for (const tokenizer of [spm, unigram]) {
    for (const unit of ["a", " ", "\u{1f600}", "<|im_en", " a", "ab c"]) {
      const text = unit.repeat(2 ** 20 / unit.length);
      const part = timed(() => tokenizer.encode(text.slice(0, text.length / 4)));
      const whole = timed(() => tokenizer.encode(text));
      assert.ok(whole < 10 * part + 3000, `${tokenizer.kind} ${JSON.stringify(unit)}: ${part} ms, all ${whole} ms`);
    }
  }
});

test("refuses vocabularies that cannot be used, with a code", () => {
  const cases: [string, unknown, string][] = [
    ["scores", undefined, "missing_metadata"],
    ["scores", [1, 2], "unsupported_tokenizer"],
    ["scores", ["1"], "missing_metadata"],
    ["scores", Array(1500).fill(Number.NaN), "malformed_file"],
    ["add_space_prefix", 1, "missing_metadata"],
    ["unknown_token_id", 1500, "malformed_file"],
    ["precompiled_charsmap", "abc", "missing_metadata"],
    ["precompiled_charsmap", [300], "malformed_file"],
  ];
  for (const [key, value, expected] of cases) {
    const file = key === "precompiled_charsmap" ? unigramFile : spmFile;
    const code = (error: unknown) => error instanceof ThimbleError && error.code === expected;
    assert.throws(() => createTokenizer({ ...file, [`tokenizer.ggml.${key}`]: value }), code, `${key} = ${value}`);
  }
});

test("never fails with anything but its own error", () => {
  const keys = ["tokens", "scores", "token_type", "unknown_token_id", "add_space_prefix", "precompiled_charsmap"];
  const value = fc.oneof(fc.anything(), fc.array(fc.string()), fc.array(fc.integer({ min: -5, max: 9 })));
  const changes = fc.dictionary(fc.constantFrom(...keys), value);
  const base = model({ tokens: ["<unk>", "<s>", "</s>", "a"], scores: [0, 0, 0, -1], token_type: [2, 3, 3, 1] });
  fc.assert(
    fc.property(changes, fc.constantFrom("llama", "t5"), anyText, (changed, kind, text) => {
      const entries = Object.entries(changed).map(([key, item]) => [`tokenizer.ggml.${key}`, item]);
      try {
        const file = { ...base, ...Object.fromEntries(entries), "tokenizer.ggml.model": kind };
        const tokenizer = createTokenizer(file);
        tokenizer.decode(tokenizer.encode(text));
      } catch (error) {
        assert.instance(error, ThimbleError);
      }
    }),
    { numRuns: 1000 },
  );
});

test("a broken character map is no map, or one without what lies outside", () => {
  const bytes = Uint8Array.from(unigramFile["tokenizer.ggml.precompiled_charsmap"] as number[]);
  const damage = fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(255)), { maxLength: 40 });
  fc.assert(
    fc.property(damage, fc.nat(bytes.length), anyText, (changes, length, text) => {
      const broken = bytes.slice(0, length);
      for (const [at, value] of changes) broken[at] = value;
      const map = createCharacterMap(broken);
      for (let at = 0; at < text.length; at++) {
        const found = map?.(text, at);
        assert.ok(found === undefined || (found.length > 0 && at + found.length <= text.length));
      }
    }),
  );
  assert.equal(createCharacterMap(bytes)?.("x\uff21", 1), { text: "A", length: 1 });
  assert.equal(createCharacterMap(bytes)?.("e\u0301e", 0), { text: "\u00e9", length: 2 });
});

function model(keys: Record<string, unknown>): Metadata {
  const entries = Object.entries(keys).map(([key, value]) => [`tokenizer.ggml.${key}`, value]);
  return { "tokenizer.ggml.model": "llama", ...Object.fromEntries(entries) };
}

function joinByDefinition(text: string, tokens: readonly string[], scores: readonly number[]): number[] {
  const plain = tokens.map((token, id) => (id < 3 ? "" : token));
  const parts = [...text.replaceAll(" ", "\u2581")];
  for (;;) {
    let best = -1;
    let bestScore = -Infinity;
    for (let at = 0; at + 1 < parts.length; at++) {
      const id = plain.indexOf(parts[at]! + parts[at + 1]!);
      if (id >= 0 && scores[id]! > bestScore) [best, bestScore] = [at, scores[id]!];
    }
    if (best < 0) return parts.map((part) => Math.max(0, plain.indexOf(part)));
    parts.splice(best, 2, parts[best]! + parts[best + 1]!);
  }
}

function bestByDefinition(text: string, tokens: readonly string[], scores: readonly number[]): number {
  const best = [0, ...Array<number>(text.length).fill(-Infinity)];
  for (let end = 1; end <= text.length; end++) {
    for (const [id, token] of tokens.entries()) {
      if (id < 3 || !text.slice(0, end).endsWith(token)) continue;
      best[end] = Math.max(best[end]!, best[end - token.length]! + scores[id]!);
    }
  }
  return best[text.length]!;
}

function timed(action: () => void): number {
  const start = performance.now();
  action();
  return performance.now() - start;
}

test.run();
