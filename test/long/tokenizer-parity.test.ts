/**
 * The tokenizer against llama.cpp, live: 10,000 texts per vocabulary and pre-tokenizer, with control tokens parsed and
 * literal. THIMBLE_LLAMA_PYTHON names a Python with llama-cpp-python 0.3.36 and gguf. THIMBLE_TOKENIZERS may name further
 * GGUF files, separated by colons; THIMBLE_TOKENIZER_TEXTS another number of texts, THIMBLE_TOKENIZER_SEED another seed, THIMBLE_TOKENIZER_ONLY a part of
 * the names to run.
 *
 * Known differences (see host/tokenizer.ts) are counted, not excused: a test fails at the first difference.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createTokenizer } from "../../host/tokenizer.ts";
import { FOLDER, readVariant, sampleTexts, variants } from "../host/tokenizer-texts.ts";

interface Reference {
  readonly special: number[][];
  readonly literal: number[][];
  readonly time: number;
}

const python = process.env.THIMBLE_LLAMA_PYTHON;
const count = Number(process.env.THIMBLE_TOKENIZER_TEXTS ?? 10_000);
const seed = Number(process.env.THIMBLE_TOKENIZER_SEED ?? 2024);
const further = (process.env.THIMBLE_TOKENIZERS ?? "").split(":").filter((path) => path !== "");
const only = process.env.THIMBLE_TOKENIZER_ONLY ?? "";
const chosen = [...variants, ...further].filter((variant) => variant.includes(only));
const test = suite("tokenizer parity");

if (python === undefined) {
  console.log(
    `not run: parity with llama.cpp for ${variants.length} vocabularies and pre-tokenizers ` +
      "(THIMBLE_LLAMA_PYTHON names no Python with llama-cpp-python)",
  );
} else {
  const texts = sampleTexts(count, seed);
  const folder = mkdtempSync(join(tmpdir(), "thimble-parity-"));
  const stringsFile = join(folder, "strings.json");
  writeFileSync(stringsFile, JSON.stringify(texts));
  test.after(() => rmSync(folder, { recursive: true }));

  for (const [index, variant] of chosen.entries()) {
    test(`gives llama.cpp's ids: ${variant}`, async () => {
      const tokenizer = createTokenizer(await readVariant(variant));
      const reference = encodeByLlama(variant, stringsFile);
      const start = performance.now();
      let tokens = 0;
      const different: string[] = [];
      for (const [at, text] of texts.entries()) {
        for (const special of [true, false]) {
          const ids = tokenizer.encode(text, { special });
          const expected = reference[special ? "special" : "literal"][at]!;
          tokens += ids.length;
          if (ids.join() === expected.join()) continue;
          const what = `${JSON.stringify(text)}, special ${special}`;
          different.push(`${what}\n  llama.cpp ${spell(expected)}\n  thimble   ${spell(ids)}`);
        }
      }
      const seconds = ((performance.now() - start) / 1000).toFixed(1);
      const progress = `${index + 1}/${chosen.length} ${variant}`;
      console.log(
        `${progress}: ${2 * texts.length - different.length} of ${2 * texts.length} equal, ${tokens} tokens, ` +
          `${seconds} s (llama.cpp ${reference.time} s)`,
      );
      assert.is(different.length, 0, different.slice(0, 3).join("\n"));

      function spell(ids: readonly number[]): string {
        return ids.map((id) => `${id} ${JSON.stringify(Buffer.from(tokenizer.bytes(id)).toString())}`).join(", ");
      }
    });
  }
}

function encodeByLlama(variant: string, stringsFile: string): Reference {
  const script = "test/golden/make_tokenizer_parity.py";
  const path = variant.startsWith("/") ? variant : `${FOLDER}/${variant}`;
  const { status, signal, stdout, stderr } = spawnSync(python!, [script, stringsFile, "-", path], {
    encoding: "utf8",
    maxBuffer: 2 ** 30,
  });
  assert.is(status, 0, `${script} ended with ${status ?? signal}: ${stderr.slice(-2000)}`);
  return JSON.parse(stdout);
}

test.run();
