/**
 * Token ids of every pre-tokenizer and vocabulary kind against llama.cpp's, by digest
 * (test/golden/make_tokenizer_parity.py), and decoding of what was encoded. The live comparison with 10,000 texts each
 * is test/long/tokenizer-parity.test.ts.
 */
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { PRE_TOKENIZERS } from "../../host/pre-tokenizer.ts";
import { createTokenizer } from "../../host/tokenizer.ts";
import { FOLDER, readVariant, variants } from "./tokenizer-texts.ts";

interface Row {
  readonly variants: readonly string[];
  /** Two digests of 8 hex digits per text: control tokens parsed, and literal. */
  readonly digests: string;
}

const strings: string[] = JSON.parse(readFileSync(`${FOLDER}/strings.json`, "utf8"));
const rows: Row[] = JSON.parse(readFileSync(`${FOLDER}/golden.json`, "utf8"));

const test = suite("tokenizer parity");

test("has a reference for every variant, and a variant for every pre-tokenizer", () => {
  assert.equal(rows.flatMap((row) => row.variants).sort(), [...variants].sort());
  const names = variants.join("\n");
  for (const name of PRE_TOKENIZERS.keys()) {
    assert.ok(name === "gemma4" || names.includes(`pre=${JSON.stringify(name)}`), name);
  }
});

for (const { variants: names, digests } of rows) {
  for (const variant of names) {
    test(`gives llama.cpp's ids: ${variant}`, async () => {
      const tokenizer = createTokenizer(await readVariant(variant));
      for (const [at, text] of strings.entries()) {
        for (const [half, special] of [true, false].entries()) {
          const ids = tokenizer.encode(text, { special });
          const expected = digests.slice(16 * at + 8 * half, 16 * at + 8 * half + 8);
          assert.is(digestOf(ids), expected, `${JSON.stringify(text)}, special ${special}: ${ids}`);
        }
      }
    });
  }
}

/** FNV-1a over the ids as little-endian u32. */
function digestOf(ids: readonly number[]): string {
  let value = 0x811c9dc5;
  for (const id of ids) {
    for (let shift = 0; shift < 32; shift += 8) value = Math.imul(value ^ ((id >>> shift) & 0xff), 0x01000193) >>> 0;
  }
  return value.toString(16).padStart(8, "0");
}

test.run();
