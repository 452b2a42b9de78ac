/** Texts and vocabularies for the tokenizer tests. */
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { openFile } from "../../bindings/node/file-source.ts";
import { readHeader } from "../../host/gguf.ts";
import type { Metadata } from "../../host/metadata.ts";

export const FOLDER = "test/golden/tokenizers";

/** Values of a metadata object for a variant: a path, then `#key=<JSON>` for keys to change. */
export async function readVariant(variant: string, folder = FOLDER): Promise<Metadata> {
  const [path, ...settings] = variant.split("#");
  const file = path!.startsWith("/") ? path! : `${folder}/${path}`;
  const source = await openFile(file);
  const { metadata } = await readHeader(source);
  await source.close();
  const changes = settings.map((setting) => {
    const at = setting.indexOf("=");
    return [setting.slice(0, at), JSON.parse(setting.slice(at + 1))];
  });
  return { ...metadata, ...Object.fromEntries(changes) };
}

export const variants: readonly string[] = JSON.parse(readFileSync(`${FOLDER}/variants.json`, "utf8"));

/** Characters that some pre-tokenizer treats in a way of its own. */
const POOLS = [
  "abcdefghijklmnopqrstuvwxyz ABC",
  "aZ bY \u00e9\u00c9 \u4e00",
  " \t\r\n\u000b\f\u0085\u00a0\u3000\u2003\u2028\u001c\u001f\ufeffa1",
  "  \n\n\r\t ab.1",
  "0123456789.,-+ ",
  "0123456789",
  "12\u0663\u00b2\u00bd\u2167\u2460 a\u4e001",
  "'sdtmrevlSDTMREVL \u2019\u017f",
  "!?.,;:()[]{}<>|_-=\"'`~@#$%^&*/\\ a1\n",
  "\u00e9\u00e8\u0301\u0308\u0323\u00df\u00f8\ufb01\u00b5\u00aa\u01bb\u0294 aA",
  "\u0430\u0431\u0412 \u0394\u03c9\u0561\u10d0\u10a0\u1c90\uab70\u2c00",
  "\u4f60\u597d\u3042\u30ab\uff76\uac00\u1100\u3131\u3105\uff01\uff0c\u3002\u3001\u2026\u2014\u201c\u2018 a1",
  "\u0915\u094d\u0937\u093f\u0964\u0e01\u0e40\u0e81\u1780\u1000\u060c\u06d4\u0627 a1",
  "\u{1f600}\u{1f44d}\u{1f3fd}\u200d\ufe0f\u2764 \u{20000}\u{2a6de}\u{2b73b}\u{10400}\u{118a0}\u{1e900}\u{1d54f}\u{1d7d8}a1",
  "\0\u0001\u001b\u007f\u0080\u009f\u00ad\u0378\u088f\ue000\uf8ff\ufffd\uffff\u{10ffff} a1'",
  "\u2581 \u2581a_\u0120\u010a",
];
const PIECES = [
  "<|im_start|>",
  "<|im_end|>",
  "<s>",
  "</s>",
  "<unk>",
  "<|endoftext|>",
  "<tool>",
  "</tool>",
  "<|marker",
  "@@",
  "<|im_",
  "end|>",
  "\n\n\n",
  "<0x0A>",
  "[UNUSED_0]",
  "<|eot_id|>",
  "[MASK]",
  "<mask>",
  "<sentinel:12>",
  "IMGIMGABZ",
  "don't",
  "I'LL",
  "The cat",
  " sat",
  "there",
  "HTTPServer",
  "iPhone's",
  "1234567",
  " 42",
  "\u0663\u0664\u0665",
  "   ",
  "\r\n",
  "\t\t",
  "\u00bd\u00b2",
  "$5 + 3",
  "=> <= ||",
  "\u4f60\u597d",
  "x = [1, 2];\n",
  "e\u0301a\u0308",
  "\ufb01",
  "...",
  "\u2026",
  "a".repeat(40),
  " ".repeat(30),
  "\n".repeat(9),
  "1".repeat(20),
];

const fromPool = (pool: string) => fc.string({ unit: fc.constantFrom(...pool), maxLength: 24 });

export const text = fc
  .array(
    fc.oneof(
      ...POOLS.map(fromPool),
      fc.constantFrom(...PIECES),
      fc.constantFrom(...PIECES),
      fc.string({ unit: "binary", maxLength: 8 }),
      fc.string({ unit: "grapheme", maxLength: 12 }),
      fc.string({ maxLength: 20 }),
    ),
    { maxLength: 6 },
  )
  .map((parts) => parts.join("").replace(/\p{Surrogate}/gu, ""));

/** The same texts on every run. */
export const sampleTexts = (count: number, seed: number): string[] => fc.sample(text, { numRuns: count, seed });
