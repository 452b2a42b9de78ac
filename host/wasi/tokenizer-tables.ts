/**
 * A vocabulary as the tables of assembly/wasi/tokenizer.ts, with which the command encodes to the same ids.
 *
 * Merges become pairs of symbols with their rank. SentencePiece's joins become such pairs as well: for every token, every two
 * texts that make it up, with the place of its score; a character that is a part of tokens without being one is a symbol of its
 * own. So both kinds have one merge loop there.
 * @module
 */
import { LiteralFlag, Vocab, VocabFlag } from "../../assembly/wasi/format.ts";
import { BYTE_CHARACTERS, byteTokenName } from "../byte-alphabet.ts";
import { ThimbleError } from "../errors.ts";
import type { Metadata } from "../metadata.ts";
import { ordersOf } from "../sentencepiece.ts";
import { createTokenizer, type Tokenizer } from "../tokenizer.ts";
import { readVocabulary, type Vocabulary } from "../vocabulary.ts";
import { ByteWriter } from "./byte-writer.ts";
import { stepTable } from "./pattern-table.ts";

interface Pair {
  readonly left: number;
  readonly right: number;
  readonly order: number;
  readonly product: number;
}

/** What a kind of vocabulary is made of. */
interface Symbols {
  readonly nSymbols: number;
  /** By byte; -1: none. */
  readonly bytes: readonly number[];
  /** Code point and symbol, ascending. */
  readonly characters: readonly (readonly [codePoint: number, symbol: number])[];
  readonly pairs: readonly Pair[];
  /** Tokens that a word is as a whole. */
  readonly words: readonly number[];
  readonly steps: readonly Uint32Array[];
}

/**
 * The tokenizer section.
 * @throws ThimbleError as `createTokenizer`; unsupported_tokenizer where it is no table
 */
export function tokenizerTables(metadata: Metadata, file?: string): Uint8Array {
  const vocabulary = readVocabulary(metadata, file);
  const tokenizer = createTokenizer(metadata, file);
  try {
    return write(vocabulary, tokenizer, symbolsOf(vocabulary, tokenizer));
  } catch (error) {
    if (!(error instanceof ThimbleError) || file === undefined) throw error;
    throw new ThimbleError(error.code, error.message, { file, cause: error });
  }
}

function refuse(why: string): never {
  throw new ThimbleError("unsupported_tokenizer", `this tokenizer cannot be made a table: ${why}`);
}

function symbolsOf(vocabulary: Vocabulary, tokenizer: Tokenizer): Symbols {
  if (vocabulary.kind === "unigram") refuse("it looks for the best sum of scores (unigram), not for pairs to join");
  if (vocabulary.kind === "spm") return characterSymbols(vocabulary);
  if (vocabulary.preTokenizer.plain) refuse(`its merges are over plain text ("${vocabulary.pre}")`);
  return byteSymbols(vocabulary, tokenizer);
}

/** Ids of what plain text may become. */
function plainIds({ tokens, controls }: Vocabulary): Map<string, number> {
  const ids = new Map<string, number>();
  for (const [id, token] of tokens.entries()) if (controls.get(token) !== id) ids.set(token, id);
  return ids;
}

function byteSymbols(vocabulary: Vocabulary, tokenizer: Tokenizer): Symbols {
  const { tokens, merges, preTokenizer } = vocabulary;
  const ids = plainIds(vocabulary);
  const all = new Map(tokens.map((token, id) => [token, id]));
  const pairs = merges.map(([left, right], order) => ({
    left: all.get(left)!,
    right: all.get(right)!,
    order,
    product: all.get(left + right)!,
  }));
  return {
    nSymbols: tokens.length,
    bytes: BYTE_CHARACTERS.map((character) => ids.get(character) ?? -1),
    characters: [],
    pairs,
    words: preTokenizer.ignoreMerges ? wholeWords(ids, tokenizer) : [],
    steps: preTokenizer.steps.map(stepTable),
  };
}

/** Tokens in byte-level spelling, by the bytes that they stand for. */
function wholeWords(ids: ReadonlyMap<string, number>, tokenizer: Tokenizer): number[] {
  const byteOf = new Map(BYTE_CHARACTERS.map((character, byte) => [character, byte]));
  const words: number[] = [];
  for (const [token, id] of ids) {
    const bytes = [...token].map((character) => byteOf.get(character));
    if (bytes.includes(undefined)) continue;
    const spelled = tokenizer.bytes(id);
    if (spelled.length !== bytes.length || spelled.some((byte, i) => byte !== bytes[i])) {
      refuse(`token ${id} is spelled in bytes and matched as a text`);
    }
    words.push(id);
  }
  return words.sort((a, b) => compareBytes(tokenizer.bytes(a), tokenizer.bytes(b)));
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const n = Math.min(a.length, b.length);
  for (let i = 0; i < n; ++i) if (a[i] !== b[i]) return a[i]! - b[i]!;
  return a.length - b.length;
}

function characterSymbols(vocabulary: Vocabulary): Symbols {
  const { tokens, scores, unknownId } = vocabulary;
  const ids = plainIds(vocabulary);
  const orders = ordersOf(scores);
  const symbols = new Map(ids);
  let nSymbols = tokens.length;
  for (const token of ids.keys()) {
    for (const character of token) if (!symbols.has(character)) symbols.set(character, nSymbols++);
  }
  const pairs: Pair[] = [];
  for (const [token, product] of ids) {
    for (let at = 1; at < token.length; ++at) {
      const [left, right] = [symbols.get(token.slice(0, at)), symbols.get(token.slice(at))];
      if (left !== undefined && right !== undefined) pairs.push({ left, right, order: orders[product]!, product });
    }
  }
  const characters = [...symbols].filter(([text]) => [...text].length === 1);
  return {
    nSymbols,
    bytes: Array.from({ length: 256 }, (_, byte) => ids.get(byteTokenName(byte)) ?? unknownId ?? -1),
    characters: characters.map(([text, symbol]) => [text.codePointAt(0)!, symbol] as const).sort(([a], [b]) => a - b),
    pairs,
    words: [],
    steps: [],
  };
}

function write(vocabulary: Vocabulary, tokenizer: Tokenizer, symbols: Symbols): Uint8Array {
  const { tokens, controls, bosId, eosIds, literals, kind, addBos, addSpacePrefix } = vocabulary;
  const { nSymbols, bytes, characters, pairs, words, steps } = symbols;
  const encoder = new TextEncoder();
  const spellings = tokens.map((_, id) => tokenizer.bytes(id));
  const texts = literals
    .map(({ text, id, strip }) => ({ id, bytes: encoder.encode(text), flags: literalFlags(controls.has(text), strip) }))
    .sort((a, b) => b.bytes.length - a.bytes.length || a.id - b.id);
  const flags =
    (kind === "spm" ? VocabFlag.CHARACTERS : 0) |
    (addBos ? VocabFlag.ADD_BOS : 0) |
    (kind === "spm" && addSpacePrefix ? VocabFlag.SPACE_PREFIX : 0);
  const head = new Uint32Array(Vocab.HEAD);
  head[Vocab.N_TOKENS] = tokens.length;
  head[Vocab.N_SYMBOLS] = nSymbols;
  head[Vocab.FLAGS] = flags;
  head[Vocab.BOS] = bosId === undefined ? 0 : bosId + 1;
  head[Vocab.N_ENDS] = eosIds.length;
  head[Vocab.N_CHARACTERS] = characters.length;
  head[Vocab.N_PAIRS] = pairs.length;
  head[Vocab.N_WORDS] = words.length;
  head[Vocab.N_LITERALS] = texts.length;
  head[Vocab.N_STEPS] = steps.length;
  head[Vocab.STEP_WORDS] = steps.reduce((sum, step) => sum + step.length, 0);
  head[Vocab.SPELLING_BYTES] = spellings.reduce((sum, spelling) => sum + spelling.length, 0);
  head[Vocab.LITERAL_BYTES] = texts.reduce((sum, { bytes }) => sum + bytes.length, 0);
  const writer = new ByteWriter()
    .words(head)
    .words(eosIds)
    .words(starts(spellings.map(({ length }) => length)));
  writer.words(controlBits(tokens.length, controls.values())).words(bytes);
  for (const [codePoint, symbol] of characters) writer.u32(codePoint, symbol);
  const sorted = [...pairs].sort((a, b) => a.left - b.left || a.right - b.right);
  const counts = new Uint32Array(nSymbols);
  for (const { left } of sorted) counts[left]! += 1;
  writer.words(starts(counts));
  for (const { right, order, product } of sorted) writer.u32(right, order, product);
  writer.words(words);
  let end = 0;
  for (const { id, flags, bytes } of texts) {
    const start = end;
    end += bytes.length;
    writer.u32(id, flags, start, end);
  }
  for (const step of steps) writer.words(step);
  for (const spelling of spellings) writer.bytes(spelling);
  for (const { bytes } of texts) writer.bytes(bytes);
  return writer.align().finish();
}

function literalFlags(isControl: boolean, strip: "before" | "after" | undefined): number {
  const stripping = strip === "before" ? LiteralFlag.STRIP_BEFORE : strip === "after" ? LiteralFlag.STRIP_AFTER : 0;
  return (isControl ? LiteralFlag.CONTROL : 0) | stripping;
}

/** Where each of so many pieces begins, and the end. */
function starts(lengths: ArrayLike<number>): Uint32Array {
  const result = new Uint32Array(lengths.length + 1);
  for (let i = 0; i < lengths.length; ++i) result[i + 1] = result[i]! + lengths[i]!;
  return result;
}

function controlBits(nTokens: number, ids: Iterable<number>): Uint32Array {
  const bits = new Uint32Array((nTokens + 31) >>> 5);
  for (const id of ids) bits[id >>> 5]! |= 1 << (id & 31);
  return bits;
}
