/**
 * The values of `tokenizer.ggml.pre` and what they mean: how text is cut into words before the merges run.
 *
 * Source of names, patterns and flags: llama.cpp, src/llama-vocab.cpp and src/unicode.cpp, as vendored by
 * llama-cpp-python 0.3.36. Patterns are stated over the stand-ins of `unicode-kind.ts`, simplified where the result is
 * provably the same (llama.cpp has one class for all letters, so upper and lower case differ in ASCII only), and with
 * functions where a pattern would take quadratic time. llama.cpp's own deviations from the original tokenizers are
 * kept: ids equal to its ids are the aim.
 *
 * An unknown or missing name falls back to `default`, llama.cpp's pattern for files without one; the caller warns. With
 * it text is usually cut into more and other tokens than the model was trained on, and answers get worse.
 * @module
 */
import { LETTER_RANGES } from "./letter-ranges.ts";
import type { Cut, SplitStep } from "./word-split.ts";

export interface PreTokenizer {
  readonly steps: readonly SplitStep[];
  /** A word that is a token is that token, whatever the merges say. */
  readonly ignoreMerges?: boolean;
  /** Value of `tokenizer.ggml.add_bos_token` where the file has none. Default false. */
  readonly addBos?: boolean;
  /** Tokens are spelled in plain UTF-8 with U+2581 for the space and <0xNN> for bytes, not in the byte alphabet. */
  readonly plain?: boolean;
  /** A run of line ends that is a token is that token, whatever the merges say. */
  readonly wholeNewlines?: boolean;
}

// Members of classes: ASCII and stand-in.
const L = "A-Za-z\\xd2";
const N = "0-9\\xd1";
const M = "\\xd4";
const P = "!-#%-*,-/:;?@\\[-\\]_{}\\xd3";
const S = "$+<->^`|~\\xd5";

const ENDS = "\\s+(?!\\S)|\\s+";
const LINES = `\\s*[\\r\\n]+|${ENDS}`;
const CONTRACTION = "'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])";
const WORD = `[^\\r\\n${L}${N}]?[${L}]+`;
const SIGNS = ` ?[^\\s${L}${N}]+`;

const kinds = (pattern: string): SplitStep => ({ on: "kinds", pattern });
const characters = (pattern: string): SplitStep => ({ on: "characters", pattern });

const GPT2 = kinds(`'s|'t|'re|'ve|'m|'ll|'d| ?[${L}]+| ?[${N}]+|${SIGNS}|${ENDS}`);
const DIGIT = kinds(`[${N}]`);
const DIGITS = kinds(`[${N}]+`);
const DIGITS3 = kinds(`[${N}]{1,3}`);
const ASCII_DIGITS3 = kinds("[0-9][0-9][0-9]");
const LINE = kinds("[^\\n]+|\\n+");

const LLAMA3 = kinds(`${CONTRACTION}|${WORD}|[${N}]{1,3}|${SIGNS}[\\r\\n]*|${LINES}`);
const QWEN2 = kinds(`${CONTRACTION}|${WORD}|[${N}]|${SIGNS}[\\r\\n]*|${LINES}`);

/** Case matters in ASCII: a word is capitals and then small letters. */
function casedWords(letters: string, contraction: string, digits: string): SplitStep {
  const upper = letters.replace("a-z", "");
  const lower = letters.replace("A-Z", "");
  const lead = `[^\\r\\n${L}${N}]?`;
  const words = `${lead}[${upper}]*[${lower}]+${contraction}|${lead}[${upper}]+[${lower}]*${contraction}`;
  return kinds(`${words}|${digits}|${SIGNS}[\\r\\n/]*|${LINES}`);
}

/** Letters of all cases alike, with marks. */
const markedWords = (digits: string) =>
  kinds(`[^\\r\\n${L}${N}]?[${L}${M}]+(?:${CONTRACTION})?|${digits}|${SIGNS}[\\r\\n/]*|${LINES}`);

const ASCII_WORD = "[!-/:-@\\[-`{-~][A-Za-z]+";
const CHINESE_AND_KANA = "[\\u4e00-\\u9fa5\\u3040-\\u30ff]+";
const deepseekV3 = (signs: string) =>
  kinds(`${ASCII_WORD}|[^\\r\\n${L}${P}${S}]?[${L}${M}]+| ?[${P}${S}]+${signs}|${ENDS}`);
const DEEPSEEK_V3 = [DIGITS3, characters(CHINESE_AND_KANA), deepseekV3("[\\r\\n]*|\\s*[\\r\\n]+")];

// "characters" patterns spell white space out: JavaScript's own has characters that C++'s lacks.
const NO_SENTENCE_SIGNS = characters(" ?[^(\\t-\\r |.,!?\\u2026\\u3002\\uff0c\\u3001\\u0964\\u06d4\\u060c)]+");
const CHINESE_AND_MORE = characters("[\\u0800-\\u9fa5\\uac00-\\ud7ff]+");

const isDeepseekLetter = (codePoint: number) =>
  LETTER_RANGES.some(([first, last]) => codePoint >= first && codePoint <= last);

const KIMI_K2: SplitStep = {
  on: "han",
  pattern:
    `[\\xd6\\xd7]+|[^\\r\\n${L}\\xd6${N}]?[${L}]+(?:${CONTRACTION})?|[${N}]{1,3}` +
    `| ?[^\\s${L}\\xd6${N}]+[\\r\\n]*|${LINES}`,
};

/** What is in front of a number stays with its first group: groups of three from the right, the first of one to three. */
const cutNumbers: Cut = (text, start, end, offer) => {
  const isNumber = (at: number) => at < end && /[0-9\xd1]/.test(text[at]!);
  for (let at = start; at < end; at++) {
    if (!isNumber(at)) continue;
    const first = at;
    while (isNumber(at)) at++;
    let group = first + ((at - first) % 3 || 3);
    for (; group <= at; group += 3) offer(group);
  }
};

/** Before every group of three ASCII digits, counted from the right. */
const cutThousands: Cut = (text, start, end, offer) => {
  const isDigit = (at: number) => at < end && text[at]! >= "0" && text[at]! <= "9";
  for (let at = start; at < end; at++) {
    if (!isDigit(at)) continue;
    const first = at;
    while (isDigit(at)) at++;
    for (let group = first + ((at - first) % 3); group < at; group += 3) offer(group);
  }
};

/** Trailing white space. */
const cutTrail: Cut = (text, start, end, offer) => {
  let at = end;
  while (at > start && /[\t-\r ]/.test(text[at - 1]!)) at--;
  offer(at);
};

/** White space without a line's end: runs of 512, then each power of two below at most once. */
const cutCascade: Cut = (text, start, end, offer) => {
  const isSpace = (at: number) => /[\t-\r ]/.test(text[at]!);
  if (/[\r\n]/.test(text[end - 1]!)) return;
  for (let at = start; at < end; at++) if (!isSpace(at)) return;
  let at = start;
  for (let size = 512; size > 0; size = end - at >= 512 ? 512 : size >> 1) {
    if (end - at < size) continue;
    at += size;
    offer(at);
  }
};

const gpt2: PreTokenizer = { steps: [GPT2] };
const digitThenGpt2: PreTokenizer = { steps: [DIGIT, GPT2] };
const llama3: PreTokenizer = { steps: [LLAMA3] };
const llama3Bos: PreTokenizer = { steps: [LLAMA3], ignoreMerges: true, addBos: true };
const qwen2: PreTokenizer = { steps: [QWEN2] };
const deepseekV3Like: PreTokenizer = { steps: DEEPSEEK_V3 };
const bloom: PreTokenizer = { steps: [NO_SENTENCE_SIGNS] };
const gpt4o: PreTokenizer = { steps: [casedWords(L, `(?:${CONTRACTION})?`, `[${N}]{1,3}`)] };
const tinyAya: PreTokenizer = { steps: [{ on: "kinds", cut: cutNumbers }, markedWords(`[${N}]{1,3}`)] };
const bailing: PreTokenizer = {
  steps: [kinds(`${CONTRACTION}|${WORD}|[${N}]|${SIGNS}[\\r\\n]*|\\s*[\\r\\n]|${ENDS}`)],
};
const gemma4: PreTokenizer = { steps: [LINE], plain: true, wholeNewlines: true, addBos: true };

const GROUPS: readonly (readonly [string, PreTokenizer])[] = [
  ["default", { steps: [kinds(`[${P}$+<=>^~|]+`), GPT2, DIGITS, ASCII_DIGITS3] }],
  ["gpt-2 phi-2 jina-es jina-de jina-v2-es jina-v2-de gigachat a.x-4.0 mellum modern-bert exaone4", gpt2],
  ["jina-v1-en jina-v2-code roberta-bpe mpt olmo jais trillion granite-docling", gpt2],
  ["starcoder refact command-r smollm codeshell exaone minerva-7b mellum2", digitThenGpt2],
  ["llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano", llama3Bos],
  ["dbrx smaug-bpe chatglm-bpe", llama3],
  ["glm4 glm5", { steps: [LLAMA3], ignoreMerges: true }],
  ["jais-2", { steps: [LLAMA3, { on: "kinds", cut: cutCascade }] }],
  ["qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2", qwen2],
  [
    "qwen35",
    { steps: [kinds(`${CONTRACTION}|[^\\r\\n${L}${N}]?[${L}${M}]+|[${N}]| ?[^\\s${L}${M}${N}]+[\\r\\n]*|${LINES}`)] },
  ],
  ["ufakzeka", { steps: [kinds(`${WORD}|[${N}]|${SIGNS}[\\r\\n]*|${LINES}`)] }],
  ["laguna", { steps: [LINE, QWEN2] }],
  [
    "minicpm5",
    { steps: [DIGITS3, kinds(`${CONTRACTION}|${WORD}|[${N}]+|${SIGNS}[\\r\\n]*|${LINES}`)], ignoreMerges: true },
  ],
  ["seed-coder", { steps: [kinds(`${CONTRACTION}|${WORD}|[${N}]| ?[^\\s${L}${N}\\r\\n]+|${LINES}`)] }],
  ["bailingmoe bailingmoe2 llada-moe", bailing],
  [
    "exaone-moe",
    {
      steps: [
        kinds(
          `${CONTRACTION}|[^\\r\\n${L}${N}]?[${L}][${L}${M}]*(?: [${L}][${L}${M}]*)*|[${N}]|${SIGNS}[\\r\\n/]?` +
            `|\\s*[\\r\\n]|${ENDS}`,
        ),
      ],
    },
  ],
  ["tekken", { steps: [casedWords(L, "", `[${N}]`)], ignoreMerges: true, addBos: true }],
  ["gpt-4o llama4 kanana2 talkie minimax-m2", gpt4o],
  ["granite-embed-multi-97m", { steps: [casedWords(L + M, `(?:${CONTRACTION})?`, `[${N}]{1,3}`)], ignoreMerges: true }],
  ["tiny_aya cohere2moe", tinyAya],
  [
    "deepseek-llm",
    {
      steps: [
        kinds("[\\r\\n]"),
        { on: "characters", pattern: `[\\t-\\r ]?[A-Za-z${letterClass()}]+`, astral: isDeepseekLetter },
        characters("[\\t-\\r ]?[!-/:-~\\uff01-\\uff0f\\uff1a-\\uff5e\\u2018-\\u201f\\u3000-\\u3002]+"),
        { on: "kinds", cut: cutTrail },
        CHINESE_AND_MORE,
        DIGITS,
      ],
    },
  ],
  [
    "deepseek-coder",
    { steps: [kinds("[\\r\\n]"), kinds(`\\s?[${L}]+`), kinds(`\\s?[${P}]+`), CHINESE_AND_MORE, DIGIT] },
  ],
  ["deepseek-v3 hunyuan-dense hy_v4 joyai-llm", deepseekV3Like],
  ["spark2_5", { steps: [DIGITS3, characters(CHINESE_AND_KANA), deepseekV3("|[\\r\\n]"), DIGIT] }],
  [
    "youtu",
    {
      steps: [
        characters(
          "[\\uac00-\\ud7a3\\u3131-\\u318e]+" +
            "|[\\uff01\\u2026\\u201c\\u201d\\u2018\\u2019\\u2014\\uff1a\\uff1b\\uff0c\\u3001-\\u303f\\ufe30-\\ufe4f]+" +
            `|[\\u3105-\\u312f]+|${CHINESE_AND_KANA}`,
        ),
        markedWords(`[${N}]`),
      ],
      ignoreMerges: true,
    },
  ],
  [
    "afmoe",
    {
      steps: [
        { on: "kinds", cut: cutNumbers },
        characters(
          "[\\u4e00-\\u9fff\\u3400-\\u4dbf\\u8c48-\\ufaff\\u3040-\\u30ff\\uff65-\\uff9f\\u2f00-\\u2fdf\\u0e40-\\u0eff" +
            "\\u1780-\\u17ff\\u1000-\\u109f\\uaa60-\\uaa7f\\ua9e0-\\ua9ff\\uac00-\\ud7af\\u1100-\\u11ff]+",
        ),
        deepseekV3("[\\r\\n]*|\\s*[\\r\\n]+"),
      ],
    },
  ],
  ["falcon", { steps: [kinds(`[${P}$+<=>^~|\`]+`), GPT2, ASCII_DIGITS3] }],
  ["poro-chat bloom gpt3-finnish", bloom],
  ["viking", { steps: [NO_SENTENCE_SIGNS, DIGIT] }],
  ["kimi-k2", { steps: [KIMI_K2] }],
  ["superbpe", { steps: [DIGITS, { on: "kinds", cut: cutThousands }] }],
  [
    "chameleon",
    {
      steps: [
        kinds("<sentinel:[0-9]+>"),
        kinds("IMGIMG[A-I]{1,4}Z"),
        kinds("[\\t\\n]|    |  "),
        DIGIT,
        kinds("[!-/:-@\\[-`{-~\\xd3]"),
        GPT2,
      ],
      addBos: true,
    },
  ],
  ["gemma4 granite-embed-multi-311m", gemma4],
  ["sarvam-moe", { steps: [LINE], plain: true }],
];

function letterClass(): string {
  const escaped = (unit: number) => `\\u${unit.toString(16).padStart(4, "0")}`;
  return LETTER_RANGES.filter(([first]) => first <= 0xffff)
    .map(([first, last]) => `${escaped(first)}-${escaped(last)}`)
    .join("");
}

/** By name, in the order of this file. */
export const PRE_TOKENIZERS: ReadonlyMap<string, PreTokenizer> = new Map(
  GROUPS.flatMap(([names, meaning]) => names.split(" ").map((name) => [name, meaning] as const)),
);
