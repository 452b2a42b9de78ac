/** The command's tokenizer against the library's: every vocabulary and pre-tokenizer that can be a table, on any text. */
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ThimbleError } from "../../host/errors.ts";
import type { Metadata } from "../../host/metadata.ts";
import { PRE_TOKENIZERS } from "../../host/pre-tokenizer.ts";
import { createTokenizer } from "../../host/tokenizer.ts";
import { tokenizerTables } from "../../host/wasi/tokenizer-tables.ts";
import { readVariant, sampleTexts, variants } from "../host/tokenizer-texts.ts";
import { tokenizerFile } from "./files.ts";
import { runInMemory } from "./memory-wasi.ts";

const test = suite("wasi tokenizer");

/** Meanings of `tokenizer.ggml.pre` that are no table: functions cut the words, or merges are over plain text. */
const CUT_BY_FUNCTIONS = [...PRE_TOKENIZERS].filter(([, { steps }]) => steps.some(({ cut }) => cut !== undefined));
const REFUSED = new Set(CUT_BY_FUNCTIONS.map(([name]) => name));

const idsOf = (file: Uint8Array, text: string): number[] => {
  const { code, stdout, stderr } = runInMemory(["/m/m", "--raw", "--tokenize"], { files: { m: file }, stdin: text });
  assert.is(code, 0, stderr);
  return stdout
    .split(/\s+/)
    .filter((word) => word !== "")
    .map(Number);
};

const files = new Map<string, Promise<Metadata>>();

/** `readVariant`, each file read once. */
async function readCached(variant: string): Promise<Metadata> {
  const [path, ...settings] = variant.split("#");
  const known = files.get(path!) ?? readVariant(path!);
  files.set(path!, known);
  const changes = settings.map((setting) => /^(.*?)=(.*)$/s.exec(setting)!.slice(1) as [string, string]);
  return { ...(await known), ...Object.fromEntries(changes.map(([key, value]) => [key, JSON.parse(value)])) };
}

/** One newline at the end of stdin is not meant, nor is a byte order mark. */
const asGiven = (text: string): string => text.replace(/^\ufeff/, "").replace(/\r?\n$/, "");

const texts = sampleTexts(60, 7);

/** Names with one meaning in common are the same file. */
const seen = new Set<unknown>();
const distinct = variants.filter((variant) => {
  const pre = /^bytes\.gguf#tokenizer\.ggml\.pre="([^"]*)"$/.exec(variant)?.[1];
  const meaning = pre === undefined ? variant : (PRE_TOKENIZERS.get(pre) ?? variant);
  return !seen.has(meaning) && seen.add(meaning);
});

for (const variant of distinct) {
  test(variant, async () => {
    const metadata = await readCached(variant);
    const tokenizer = createTokenizer(metadata);
    const isTable =
      tokenizer.kind !== "unigram" && !REFUSED.has(tokenizer.pre) && !PRE_TOKENIZERS.get(tokenizer.pre)?.plain;
    if (!isTable) {
      const isRefusal = (error: unknown) => error instanceof ThimbleError && error.code === "unsupported_tokenizer";
      assert.throws(() => tokenizerTables(metadata), isRefusal);
      return;
    }
    const file = tokenizerFile(metadata);
    const bos = tokenizer.addBos ? [tokenizer.bosId!] : [];
    for (const text of texts) {
      const given = asGiven(text);
      if (given === "" && bos.length === 0) continue;
      assert.equal(idsOf(file, text), [...bos, ...tokenizer.encode(given)], `${variant}: ${JSON.stringify(text)}`);
    }
  });
}

test("long words, runs and literals side by side", async () => {
  for (const name of ["bytes.gguf", "spm.gguf"]) {
    const metadata = await readVariant(`${name}#tokenizer.ggml.pre="gpt-2"`);
    const tokenizer = createTokenizer(metadata);
    const file = tokenizerFile(metadata);
    const bos = tokenizer.addBos ? [tokenizer.bosId!] : [];
    const controls = [...tokenizer.controls.keys()].slice(0, 5).join("");
    for (const text of [
      "a".repeat(5000),
      "ab ".repeat(3000),
      " ".repeat(2000),
      `x${controls}${controls} y`,
      "\u4f60".repeat(999),
    ]) {
      assert.equal(idsOf(file, text), [...bos, ...tokenizer.encode(asGiven(text))]);
    }
  }
});

test("prose, in the vocabulary of the embedded model", async () => {
  const metadata = await readVariant("models/thimble-15m.Q4_0.gguf", ".");
  const tokenizer = createTokenizer(metadata);
  const file = tokenizerFile(metadata);
  const bos = tokenizer.addBos ? [tokenizer.bosId!] : [];
  const prose = readFileSync("README.md", "utf8") + readFileSync("docs/kv-cache.md", "utf8");
  for (let at = 0; at < 40_000; at += 4001) {
    const text = prose.slice(at, at + 4000);
    assert.equal(idsOf(file, text), [...bos, ...tokenizer.encode(asGiven(text))]);
  }
});

test.run();
