/**
 * Text to token ids and back, from the vocabulary inside a GGUF file.
 *
 * The merges are run by `@huggingface/tokenizers`, which gets a tokenizer.json made from the GGUF keys. Control tokens
 * are found here, not by the library, so that one vocabulary serves both ways of encoding: with control tokens parsed
 * (templates, prompts of the application) and with all text literal (`special: false`, for text of users).
 *
 * Pre-tokenization is stated as regular expressions instead of the library's `Digits` and `ByteLevel` patterns: those
 * use JavaScript's `\d` (ASCII only) and `\s` (with U+FEFF, without U+0085), the reference uses Unicode's N and
 * White_Space.
 *
 * Cost, 2 shared cores, Node 20, 49,152 tokens: construction 0.2-0.3 s; English 1.5-2 s/MB; one word of a
 * megabyte 1-2 s; digits, each a word of its own, 5-7 s/MB. All of it grows
 * linearly, but for the heap of one long word (n log n).
 * @module
 */
import { BPE, Tokenizer as LibraryTokenizer } from "@huggingface/tokenizers";
import { createWordMerger } from "./bpe.ts";
import { ThimbleError } from "./errors.ts";
import type { Metadata } from "./metadata.ts";
import { BYTE_CHARACTERS, type PreTokenizer, readVocabulary, type Vocabulary } from "./vocabulary.ts";

export interface EncodeOptions {
  /**
   * Turn the text of control tokens, such as `<|im_start|>`, into those tokens. With false they are spelled out as
   * ordinary text, so text of users cannot forge them. Default true.
   */
  readonly special?: boolean;
}

export interface Tokenizer {
  /** Number of tokens; ids are below it. */
  readonly vocabSize: number;
  /** The value of `tokenizer.ggml.pre` that is in force. */
  readonly pre: PreTokenizer;
  readonly bosId?: number;
  /** The file's EOS, if it names one; what a chat template calls `eos_token`. */
  readonly eosId?: number;
  /**
   * Ids that end a turn, ascending: the file's EOS, EOT and EOM, and control tokens with a name known for it
   * (`<|im_end|>`, `<|endoftext|>`, `<|eot_id|>`, `<|end|>` and the like).
   */
  readonly eosIds: readonly number[];
  /** The model expects its BOS first. `encode` does not add it; chat templates write it themselves. */
  readonly addBos: boolean;
  /** Text of each control token and its id. */
  readonly controls: ReadonlyMap<string, number>;
  /** Sentences about oddities of the file, for a log. */
  readonly warnings: readonly string[];
  /** @throws ThimbleError invalid_text for lone surrogates */
  encode(text: string, options?: EncodeOptions): number[];
  /**
   * The text of all tokens, control tokens included; bytes that are not UTF-8 become U+FFFD.
   * @throws ThimbleError invalid_option for an id outside the vocabulary
   */
  decode(ids: Iterable<number>): string;
  /**
   * The bytes that a token stands for; a control token stands for the UTF-8 of its name.
   * @throws ThimbleError invalid_option for an id outside the vocabulary
   */
  bytes(id: number): Uint8Array;
  isControl(id: number): boolean;
}

/** GPT-2's split: contractions, runs of letters, digits, other signs (each with one space before), white space. */
const WORDS = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

const SPLITS: Readonly<Record<PreTokenizer, readonly string[]>> = {
  "gpt-2": [WORDS],
  // Every digit on its own first; what lies between is split as GPT-2 does.
  smollm: ["\\p{N}", WORDS],
};

/** The library caches shorter words. */
const LONG_WORD = 256;

/**
 * @param metadata - the GGUF metadata object: `tokenizer.ggml.model`, `.tokens`, `.merges` and so on
 * @param file - shown in errors
 * @throws ThimbleError missing_metadata, malformed_file, unsupported_tokenizer
 */
export function createTokenizer(metadata: Metadata, file?: string): Tokenizer {
  const vocabulary = readVocabulary(metadata, file);
  const { tokens, controls, userDefined, bosId, eosId } = vocabulary;
  const library = bridge(vocabulary, file);
  const literals = new Map([...controls, ...userDefined]);
  const everyLiteral = literalPattern(literals.keys());
  const userLiteral = literalPattern(userDefined.keys());
  const controlIds = new Set(controls.values());
  const literalIds = new Set(literals.values());
  const byteOf = new Map(BYTE_CHARACTERS.map((character, byte) => [character, byte]));
  const encoder = new TextEncoder();

  const append = (ids: number[], text: string) => {
    if (text === "") return;
    for (const id of library.encode(text, { add_special_tokens: false }).ids) ids.push(id);
  };

  const bytes = (id: number): Uint8Array => {
    const token = tokens[id];
    if (token === undefined) {
      throw new ThimbleError("invalid_option", `token id ${id} is outside the vocabulary of ${tokens.length} tokens`);
    }
    if (literalIds.has(id)) return encoder.encode(token);
    const values: number[] = [];
    for (const character of token) {
      const byte = byteOf.get(character);
      if (byte === undefined) return encoder.encode(token); // not in byte-level spelling: an unused filler
      values.push(byte);
    }
    return Uint8Array.from(values);
  };

  return {
    vocabSize: tokens.length,
    pre: vocabulary.pre,
    ...(bosId === undefined ? {} : { bosId }),
    ...(eosId === undefined ? {} : { eosId }),
    eosIds: vocabulary.eosIds,
    addBos: vocabulary.addBos,
    controls,
    warnings: vocabulary.warnings,
    encode(text, { special = true } = {}) {
      if (/\p{Surrogate}/u.test(text)) {
        throw new ThimbleError("invalid_text", "the text has a lone surrogate: half of a UTF-16 pair");
      }
      const pattern = special ? everyLiteral : userLiteral;
      const ids: number[] = [];
      let start = 0;
      for (const match of pattern === undefined ? [] : text.matchAll(pattern)) {
        append(ids, text.slice(start, match.index));
        ids.push(literals.get(match[0])!);
        start = match.index + match[0].length;
      }
      append(ids, text.slice(start));
      return ids;
    },
    decode(ids) {
      const parts: Uint8Array[] = [];
      let length = 0;
      for (const id of ids) {
        const part = bytes(id);
        parts.push(part);
        length += part.length;
      }
      const all = new Uint8Array(length);
      let at = 0;
      for (const part of parts) {
        all.set(part, at);
        at += part.length;
      }
      return new TextDecoder("utf-8", { ignoreBOM: true }).decode(all);
    },
    bytes,
    isControl: (id) => controlIds.has(id),
  };
}

/** A pattern that finds any of the texts, the longest where several begin at one place; undefined for none. */
export function literalPattern(texts: Iterable<string>): RegExp | undefined {
  const longestFirst = [...texts].sort((a, b) => b.length - a.length);
  if (longestFirst.length === 0) return undefined;
  return new RegExp(longestFirst.map((text) => text.replace(/[.*+?^${}()|[\]\\/-]/g, "\\$&")).join("|"), "g");
}

/** The library's tokenizer for plain text: no control tokens. */
function bridge({ tokens, merges, pre }: Vocabulary, file: string | undefined): LibraryTokenizer {
  const vocab: Record<string, number> = Object.create(null); // a token may be called __proto__
  for (const [id, token] of tokens.entries()) vocab[token] = id;
  const split = (Regex: string) => ({ type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false });
  const bytes = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false };
  try {
    const library = new LibraryTokenizer(
      {
        version: "1.0",
        added_tokens: [],
        normalizer: null,
        pre_tokenizer: { type: "Sequence", pretokenizers: [...SPLITS[pre].map(split), bytes] },
        post_processor: null,
        decoder: null,
        model: { type: "BPE", vocab, merges, unk_token: null, byte_fallback: false, ignore_merges: false },
      },
      {},
    );
    if (library.model instanceof BPE) mergeLongWords(library.model, tokens, merges);
    return library;
  } catch (cause) {
    const details = file === undefined ? { cause } : { cause, file };
    throw new ThimbleError("unsupported_tokenizer", "the vocabulary was refused by the tokenizer library", details);
  }
}

/** Takes long words from the library's merge loop; the tables for it are built when the first one comes. */
function mergeLongWords(model: BPE, tokens: readonly string[], merges: Vocabulary["merges"]): void {
  const mergeShort = model.bpe.bind(model);
  let mergeLong: ((word: string) => string[]) | undefined;
  model.bpe = (word) => {
    if (word.length < LONG_WORD) return mergeShort(word);
    mergeLong ??= createWordMerger(tokens, merges);
    return mergeLong(word);
  };
}
