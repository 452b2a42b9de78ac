/**
 * Reads the tokenizer keys of a GGUF file into a checked vocabulary: every array has the right element type, no token
 * is there twice, every merge joins two tokens into a third, every id lies inside the vocabulary. A file that fails is
 * refused here, so that encoding can trust what it gets.
 *
 * `tokenizer.ggml.model`: `gpt2` (byte-level merges), `gemma4` (merges over plain text), `llama` (SentencePiece by
 * scores), `t5` (SentencePiece unigram). Defaults of absent keys are llama.cpp's per model and pre-tokenizer.
 * `token-types.ts` says what counts as a control token; here it is taken back from named tokens that merges can spell
 * (a model whose end token is a newline).
 * @module
 */
import { BYTE_CHARACTERS, byteTokenName, hex, isByteCharacter } from "./byte-alphabet.ts";
import type { Literal } from "./literals.ts";
import { MAX_ORDER } from "./merge-heap.ts";
import {
  type Metadata,
  type MetadataHolder,
  metadataBoolean,
  metadataInteger,
  metadataNumbers,
  metadataString,
  metadataStrings,
} from "./metadata.ts";
import { PRE_TOKENIZERS, type PreTokenizer } from "./pre-tokenizer.ts";
import { classifyTokens, isMarker, literalsOf, TokenType } from "./token-types.ts";
import { isTurnEnd } from "./turn-ends.ts";
import { clip, quote, unsupported } from "./vocabulary-error.ts";

export { BYTE_CHARACTERS } from "./byte-alphabet.ts";

/** How words become tokens: merges by rank, joins by score, or the best sum of scores. */
export type TokenizerKind = "bpe" | "spm" | "unigram";

export interface Vocabulary {
  readonly kind: TokenizerKind;
  /** Token text by id; byte-level spelling for ordinary tokens of `bpe`, U+2581 for spaces in the others. */
  readonly tokens: readonly string[];
  /** Type by id, a `TokenType`. */
  readonly types: readonly number[];
  /** By id; empty for `bpe`. */
  readonly scores: readonly number[];
  /** Pairs in order of priority; empty but for `bpe`. */
  readonly merges: readonly (readonly [string, string])[];
  /** Text of each control token and its id. */
  readonly controls: ReadonlyMap<string, number>;
  /** Text of each user-defined token that is not a control token, and its id. */
  readonly userDefined: ReadonlyMap<string, number>;
  /** Both, with the white space that they swallow. */
  readonly literals: readonly Literal[];
  /** The name in force; "none" for `spm` and `unigram`. */
  readonly pre: string;
  readonly preTokenizer: PreTokenizer;
  /** A space is put in front of text at the start and after a literal token. */
  readonly addSpacePrefix: boolean;
  /** Runs of spaces count as one. */
  readonly mergeSpaces: boolean;
  /** SentencePiece's character map. */
  readonly charsmap: Uint8Array | undefined;
  readonly bosId: number | undefined;
  readonly eosId: number | undefined;
  readonly unknownId: number | undefined;
  /** Ids that end a turn, ascending. */
  readonly eosIds: readonly number[];
  readonly addBos: boolean;
  readonly addEos: boolean;
  /** Sentences about what is odd in the file but does not stop it from being used. */
  readonly warnings: readonly string[];
}

const MAX_TOKENS = 1 << 20;

interface Model {
  readonly kind: TokenizerKind;
  readonly pre?: string;
  readonly bos?: number;
  readonly eos?: number;
  readonly unknown?: number;
  readonly addBos?: boolean;
  readonly addEos?: boolean;
  readonly addSpacePrefix?: boolean;
}

/** Values of `tokenizer.ggml.model`, with the ids and flags that hold where the file is silent. */
const MODELS: ReadonlyMap<string, Model> = new Map<string, Model>([
  ["gpt2", { kind: "bpe" }],
  ["gemma4", { kind: "bpe", pre: "gemma4" }],
  ["llama", { kind: "spm", bos: 1, eos: 2, unknown: 0, addBos: true, addSpacePrefix: true }],
  ["t5", { kind: "unigram", eos: 1, unknown: 2, addEos: true }],
]);

/**
 * @param file - shown in errors
 * @throws ThimbleError missing_metadata when a key is absent or of the wrong type
 * @throws ThimbleError malformed_file when a token id lies outside the vocabulary
 * @throws ThimbleError unsupported_tokenizer when the tokenizer is of an unknown kind or contradicts itself
 */
export function readVocabulary(metadata: Metadata, file?: string): Vocabulary {
  const holder: MetadataHolder = file === undefined ? { metadata } : { metadata, file };
  const warnings: string[] = [];
  const name = metadataString(holder, "tokenizer.ggml.model");
  const model = MODELS.get(name);
  if (model === undefined) {
    const known = [...MODELS.keys()].join(", ");
    throw unsupported(holder, "tokenizer.ggml.model", `the tokenizer is "${clip(name)}"; this build knows ${known}`);
  }
  const { kind } = model;
  const pre = kind === "bpe" ? (model.pre ?? readPre(holder, warnings)) : "none";
  const preTokenizer = PRE_TOKENIZERS.get(pre) ?? { steps: [] };
  const tokens = readTokens(holder, warnings);
  const ids = new Map<string, number>();
  for (const [id, token] of tokens.entries()) ids.set(token, id);
  if (ids.size !== tokens.length) {
    const twice = tokens.find((token, id) => ids.get(token) !== id) ?? "";
    throw unsupported(holder, "tokenizer.ggml.tokens", `token ${quote(twice)} is in the vocabulary twice`);
  }
  const byteName = kind === "bpe" && !preTokenizer.plain ? (byte: number) => BYTE_CHARACTERS[byte]! : byteTokenName;
  const absent = Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => !ids.has(byteName(byte)));
  if (absent.length > 0 && kind !== "unigram") {
    warnings.push(`no token stands for the bytes ${absent.map(hex).join(" ")}; text with them loses them`);
  }
  const within = (id: number | undefined) => (id !== undefined && id < tokens.length ? id : undefined);
  const id = (key: string, otherwise?: number) =>
    metadataInteger(holder, `tokenizer.ggml.${key}_token_id`, {
      default: within(otherwise),
      min: 0,
      max: tokens.length - 1,
    });
  const flag = (key: string, otherwise = false) =>
    metadataBoolean(holder, `tokenizer.ggml.${key}`, { default: otherwise });
  const bosId = id("bos", model.bos);
  const eosId = id("eos", model.eos);
  const ends = [eosId, id("eot"), id("eom")].filter((end) => end !== undefined);
  const classes = classifyTokens(holder, tokens, [bosId, ...ends], warnings);
  const merges = kind === "bpe" ? readMerges(holder, ids, classes.controls, classes.types) : [];
  const { types, controls, userDefined } = classes;
  if (kind === "bpe") refuseByteControls(holder, controls);
  for (const [text, control] of controls) if (isTurnEnd(text, controls)) ends.push(control);
  const addBos = flag("add_bos_token", bosId !== undefined && (preTokenizer.addBos ?? model.addBos));
  if (addBos && bosId === undefined) metadataInteger(holder, "tokenizer.ggml.bos_token_id"); // says that it is absent
  return {
    kind,
    tokens,
    types,
    scores: kind === "bpe" ? [] : readScores(holder, tokens.length),
    merges,
    controls,
    userDefined,
    literals: literalsOf(holder, classes),
    pre,
    preTokenizer,
    addSpacePrefix: kind !== "bpe" && flag("add_space_prefix", model.addSpacePrefix),
    mergeSpaces: kind === "unigram" && flag("remove_extra_whitespaces"),
    charsmap: kind === "unigram" ? readCharsmap(holder) : undefined,
    bosId,
    eosId,
    unknownId: id("unknown", model.unknown),
    eosIds: [...new Set(ends)].sort((a, b) => a - b),
    addBos,
    addEos: flag("add_eos_token", eosId !== undefined && model.addEos),
    warnings,
  };
}

function readPre(holder: MetadataHolder, warnings: string[]): string {
  const pre = metadataString(holder, "tokenizer.ggml.pre", { default: undefined });
  if (pre !== undefined && pre !== "default" && PRE_TOKENIZERS.has(pre)) return pre;
  const found = pre === undefined ? "absent" : `"${clip(pre)}"${pre === "default" ? "" : ", which is unknown"}`;
  warnings.push(
    `tokenizer.ggml.pre is ${found}; text is split by llama.cpp's default, probably not as the model was trained: ` +
      "expect more tokens and worse answers",
  );
  return "default";
}

function readTokens(holder: MetadataHolder, warnings: string[]): readonly string[] {
  const key = "tokenizer.ggml.tokens";
  const tokens = metadataStrings(holder, key);
  if (tokens.length === 0) throw unsupported(holder, key, "the vocabulary is empty");
  if (tokens.length > MAX_TOKENS) {
    throw unsupported(holder, key, `the vocabulary has ${tokens.length} tokens; at most ${MAX_TOKENS} are supported`);
  }
  if (!tokens.includes("")) return tokens;
  warnings.push(`token ${tokens.indexOf("")} has no text; such tokens are called [EMPTY_<id>]`);
  return tokens.map((token, id) => (token === "" ? `[EMPTY_${id}]` : token));
}

function readScores(holder: MetadataHolder, nTokens: number): readonly number[] {
  const key = "tokenizer.ggml.scores";
  const scores = metadataNumbers(holder, key);
  if (scores.length === nTokens) return scores;
  throw unsupported(holder, key, `there are ${scores.length} scores for ${nTokens} tokens`);
}

function readCharsmap(holder: MetadataHolder): Uint8Array | undefined {
  const key = "tokenizer.ggml.precompiled_charsmap";
  const bytes = metadataNumbers(holder, key, { default: undefined, min: -128, max: 255 });
  return bytes === undefined || bytes.length === 0 ? undefined : Uint8Array.from(bytes, (byte) => byte & 0xff);
}

/** Checks the merges and takes back from `controls` the named tokens that merges can spell. */
function readMerges(
  holder: MetadataHolder,
  ids: ReadonlyMap<string, number>,
  controls: Map<string, number>,
  types: readonly number[],
) {
  const key = "tokenizer.ggml.merges";
  const lines = metadataStrings(holder, key);
  if (lines.length >= MAX_ORDER) throw unsupported(holder, key, `there are ${lines.length} merges`);
  if (new Set(lines).size !== lines.length) throw unsupported(holder, key, "a merge is listed twice");
  return lines.map((line, rank): readonly [string, string] => {
    const space = line.indexOf(" ");
    const left = line.slice(0, space);
    const right = line.slice(space + 1);
    if (space < 1 || right === "" || right.includes(" ")) {
      throw unsupported(holder, key, `merge ${rank} is ${quote(line)}; expected two tokens with one space between`);
    }
    const merged = left + right;
    const id = ids.get(merged);
    if (id === undefined || !ids.has(left) || !ids.has(right)) {
      throw unsupported(holder, key, `merge ${rank}, ${quote(line)}, uses a token that is not in the vocabulary`);
    }
    if (controls.has(merged)) {
      if (isMarker(merged) || types[id] !== TokenType.Normal) {
        const what = `merge ${rank} spells the control token ${quote(merged)}: plain text could write it`;
        throw unsupported(holder, key, what);
      }
      controls.delete(merged);
    }
    return [left, right];
  });
}

function refuseByteControls(holder: MetadataHolder, controls: ReadonlyMap<string, number>): void {
  const spelling = [...controls.keys()].find(isByteCharacter);
  if (spelling === undefined) return;
  const what = `control token ${quote(spelling)} is the spelling of a byte: plain text could write it`;
  throw unsupported(holder, "tokenizer.ggml.token_type", what);
}
