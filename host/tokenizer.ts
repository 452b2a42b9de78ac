/**
 * Text to token ids and back, from the vocabulary inside a GGUF file. The ids are llama.cpp's.
 *
 * Control and user-defined tokens are found first (`literals.ts`), so that one vocabulary serves both ways of encoding:
 * with control tokens parsed (templates, prompts of the application) and with all text literal (`special: false`, for
 * text of users). What lies between goes to the encoder of the vocabulary's kind: `bpe.ts` (words of
 * `pre-tokenizer.ts`, merges), `sentencepiece.ts` (joins by score) or `unigram.ts` (best sum of scores).
 *
 * Deviations from llama.cpp, for the sake of users' text: a control token never comes of literal text, neither by
 * joins nor as a whole word, and user-defined tokens that look like chat markers count as control tokens
 * (`token-types.ts`). An unknown `tokenizer.ggml.pre` is a warning here and an error there.
 * Cost, 2 shared cores, Node 20: construction 10-40 ms for 32,000 tokens, 0.4 s for 131,072; the first text builds the
 * merge tables, 0.05-0.5 s. English 0.2-0.6 s/MB, a million equal characters 0.1-1.6 s; all of it grows linearly, but for
 * the heap of one long word (n log n).
 * @module
 */
import { type AppendIds, createBpeEncoder } from "./bpe.ts";
import { BYTE_CHARACTERS } from "./byte-alphabet.ts";
import { ThimbleError } from "./errors.ts";
import { createLiteralFinder, literalPattern } from "./literals.ts";
import type { Metadata } from "./metadata.ts";
import { createSpmEncoder } from "./sentencepiece.ts";
import { TokenType } from "./token-types.ts";
import { createUnigramEncoder } from "./unigram.ts";
import { readVocabulary, type TokenizerKind, type Vocabulary } from "./vocabulary.ts";

export { literalPattern };

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
  readonly kind: TokenizerKind;
  /** The value of `tokenizer.ggml.pre` that is in force; "none" for SentencePiece. */
  readonly pre: string;
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
  /** The model expects its EOS last (T5's inputs). `encode` does not add it. */
  readonly addEos: boolean;
  /** Text of each control token and its id. */
  readonly controls: ReadonlyMap<string, number>;
  /** Sentences about oddities of the file, for a log. */
  readonly warnings: readonly string[];
  /** @throws ThimbleError invalid_text for lone surrogates */
  encode(text: string, options?: EncodeOptions): number[];
  /**
   * The text of all tokens, control tokens included; bytes that are not UTF-8 become U+FFFD. It is the text that
   * `encode` got: a space that `encode` put in front of it, or behind a control or user-defined token, is taken away.
   * A text that goes on after other tokens keeps its first space in `bytes` and in a `Detokenizer`.
   * @throws ThimbleError invalid_option for an id outside the vocabulary
   */
  decode(ids: Iterable<number>): string;
  /**
   * The bytes that a token stands for, spaces in front included; a control token stands for the UTF-8 of its name.
   * @throws ThimbleError invalid_option for an id outside the vocabulary
   */
  bytes(id: number): Uint8Array;
  isControl(id: number): boolean;
}

/**
 * @param metadata - the GGUF metadata object: `tokenizer.ggml.model`, `.tokens`, `.merges` and so on
 * @param file - shown in errors
 * @throws ThimbleError missing_metadata, malformed_file, unsupported_tokenizer
 */
export function createTokenizer(metadata: Metadata, file?: string): Tokenizer {
  const vocabulary = readVocabulary(metadata, file);
  const { kind, tokens, controls, userDefined, literals, bosId, eosId } = vocabulary;
  const findAll = createLiteralFinder(literals);
  const findUserDefined = createLiteralFinder(literals.filter(({ text }) => userDefined.has(text)));
  const literalIds = new Set(literals.map(({ id }) => id));
  const controlIds = new Set(controls.values());
  const bytes = createSpelling(vocabulary, literalIds);
  const prefix = kind === "spm" && vocabulary.addSpacePrefix ? " " : "";
  const prefixed = vocabulary.addSpacePrefix || vocabulary.mergeSpaces;
  let append: AppendIds | undefined;

  return {
    vocabSize: tokens.length,
    kind,
    pre: vocabulary.pre,
    ...(bosId === undefined ? {} : { bosId }),
    ...(eosId === undefined ? {} : { eosId }),
    eosIds: vocabulary.eosIds,
    addBos: vocabulary.addBos,
    addEos: vocabulary.addEos,
    controls,
    warnings: vocabulary.warnings,
    encode(text, { special = true } = {}) {
      if (/\p{Surrogate}/u.test(text)) {
        throw new ThimbleError("invalid_text", "the text has a lone surrogate: half of a UTF-16 pair");
      }
      append ??= createEncoder(vocabulary, file);
      const ids: number[] = [];
      let start = 0;
      for (const found of special ? findAll(text) : findUserDefined(text)) {
        if (found.start > start) append(ids, prefix + text.slice(start, found.start));
        ids.push(found.id);
        start = found.end;
      }
      if (start < text.length) append(ids, prefix + text.slice(start));
      return ids;
    },
    decode(ids) {
      const parts: Uint8Array[] = [];
      let length = 0;
      let afterLiteral = true;
      for (const id of ids) {
        let part = bytes(id);
        const literal = literalIds.has(id);
        if (prefixed && afterLiteral && !literal && part[0] === 0x20) part = part.subarray(1);
        afterLiteral = literal;
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

function createEncoder(vocabulary: Vocabulary, file: string | undefined): AppendIds {
  if (vocabulary.kind === "spm") return createSpmEncoder(vocabulary);
  return vocabulary.kind === "unigram" ? createUnigramEncoder(vocabulary) : createBpeEncoder(vocabulary, file);
}

/** What a token stands for in bytes. */
function createSpelling(vocabulary: Vocabulary, literalIds: ReadonlySet<number>): (id: number) => Uint8Array {
  const { kind, tokens, types, preTokenizer } = vocabulary;
  const encoder = new TextEncoder();
  const byteOf = new Map(BYTE_CHARACTERS.map((character, byte) => [character, byte]));
  const byteLevel = kind === "bpe" && !preTokenizer.plain;
  return (id) => {
    const token = tokens[id];
    if (token === undefined) {
      throw new ThimbleError("invalid_option", `token id ${id} is outside the vocabulary of ${tokens.length} tokens`);
    }
    if (literalIds.has(id)) return encoder.encode(token);
    if (!byteLevel) {
      const byte = types[id] === TokenType.Byte ? /^<0x([0-9A-Fa-f]{2})>$/.exec(token)?.[1] : undefined;
      if (byte !== undefined) return Uint8Array.of(Number.parseInt(byte, 16));
      return encoder.encode(token.replaceAll("\u2581", " "));
    }
    const values: number[] = [];
    for (const character of token) {
      const byte = byteOf.get(character);
      if (byte === undefined) return encoder.encode(token); // not in byte-level spelling: an unused filler
      values.push(byte);
    }
    return Uint8Array.from(values);
  };
}
