/**
 * Byte-pair vocabularies (`tokenizer.ggml.model` `gpt2` and `gemma4`): words by the pre-tokenizer, then merges.
 *
 * Words of ordinary length go through the `BPE` of `@huggingface/tokenizers`, which gives llama.cpp's tokens for them.
 * It does not get words of 256 bytes and more (16-24 s for a megabyte without spaces), nor vocabularies in plain
 * spelling, whose words are whole lines, nor those with more than 100,000 merges (seconds and hundreds of MB to build its
 * tables): they are merged by `merge-heap.ts`, in the same order.
 *
 * A byte without a token is left out, as llama.cpp does. Never a control token comes of plain text, not even where the
 * pre-tokenizer lets a word that is a token be that token (there llama.cpp differs).
 * @module
 */
import { BPE } from "@huggingface/tokenizers";
import { BYTE_CHARACTERS, byteTokenName } from "./byte-alphabet.ts";
import { ThimbleError } from "./errors.ts";
import { mergeSymbols, type PairRule } from "./merge-heap.ts";
import type { Vocabulary } from "./vocabulary.ts";
import { createSplitter } from "./word-split.ts";

/** In bytes; the library's words are shorter. */
const LONG_WORD = 256;
const MAX_LIBRARY_MERGES = 100_000;
/** Words that are kept with their ids. */
const CACHED_WORDS = 1 << 15;

/** Appends the ids of a text without literals. */
export type AppendIds = (ids: number[], text: string) => void;

/** @throws ThimbleError unsupported_tokenizer when the library refuses the vocabulary, on the first text */
export function createBpeEncoder(vocabulary: Vocabulary, file: string | undefined): AppendIds {
  const { controls, preTokenizer } = vocabulary;
  const { ignoreMerges = false, plain = false, wholeNewlines = false } = preTokenizer;
  const split = createSplitter(preTokenizer.steps);
  const tokenIds = new Map<string, number>();
  for (const [id, token] of vocabulary.tokens.entries()) if (controls.get(token) !== id) tokenIds.set(token, id);
  const mergeWord = (plain ? createPlainMerger : createByteMerger)(vocabulary, tokenIds, file);
  const cache = new Map<string, readonly number[]>();

  const encodeWord = (word: string): readonly number[] => {
    if (ignoreMerges || (wholeNewlines && /^\n+$/.test(word))) {
      const whole = tokenIds.get(plain ? word : spellBytes(word));
      if (whole !== undefined) return [whole];
    }
    return mergeWord(word);
  };
  return (ids, text) => {
    for (const word of split(plain ? text.replaceAll(" ", "\u2581") : text)) {
      let wordIds = cache.get(word);
      if (wordIds === undefined) {
        wordIds = encodeWord(word);
        if (cache.size >= CACHED_WORDS) cache.clear();
        if (word.length < LONG_WORD) cache.set(word, wordIds);
      }
      for (const id of wordIds) ids.push(id);
    }
  };
}

const encoder = new TextEncoder();

/** The byte-level spelling: one character per byte. */
function spellBytes(word: string): string {
  let spelled = "";
  for (const byte of encoder.encode(word)) spelled += BYTE_CHARACTERS[byte];
  return spelled;
}

type MergeWord = (word: string) => readonly number[];

function createByteMerger(vocabulary: Vocabulary, ids: ReadonlyMap<string, number>, file?: string): MergeWord {
  const symbols = Int32Array.from(BYTE_CHARACTERS, (character) => ids.get(character) ?? -1);
  const { tokens, merges } = vocabulary;
  let library: BPE | undefined;
  let merge: SymbolMerger | undefined;
  return (word) => {
    const bytes = encoder.encode(word);
    if (bytes.length < LONG_WORD && merges.length <= MAX_LIBRARY_MERGES) {
      library ??= createLibrary(vocabulary, file);
      return library.bpe(spellBytes(word)).flatMap((token) => ids.get(token) ?? []);
    }
    merge ??= createSymbolMerger(tokens, merges);
    return merge(Int32Array.from(bytes, (byte) => symbols[byte]!)).filter((id) => id >= 0);
  };
}

function createLibrary({ tokens, merges }: Vocabulary, file: string | undefined): BPE {
  const vocab: Record<string, number> = Object.create(null); // a token may be called __proto__
  for (const [id, token] of tokens.entries()) vocab[token] = id;
  try {
    return new BPE({ type: "BPE", vocab, merges: [...merges] as [string, string][], unk_token: null } as never);
  } catch (cause) {
    const details = file === undefined ? { cause } : { cause, file };
    throw new ThimbleError("unsupported_tokenizer", "the vocabulary was refused by the tokenizer library", details);
  }
}

/** Symbols are characters; one without a token falls back to the tokens of its bytes. */
function createPlainMerger(vocabulary: Vocabulary, ids: ReadonlyMap<string, number>): MergeWord {
  const merge = createSymbolMerger(vocabulary.tokens, vocabulary.merges);
  const bytes = Array.from({ length: 256 }, (_, byte) => ids.get(byteTokenName(byte)) ?? -1);
  return (word) => {
    const absent: string[] = [];
    const symbols = Int32Array.from([...word], (character) => ids.get(character) ?? -absent.push(character));
    const result: number[] = [];
    for (const id of merge(symbols)) {
      if (id >= 0) result.push(id);
      else for (const byte of encoder.encode(absent[-id - 1]!)) if (bytes[byte]! >= 0) result.push(bytes[byte]!);
    }
    return result;
  };
}

/** Merges ids in place and gives those that are left; a negative id takes no part in a merge. */
type SymbolMerger = (symbols: Int32Array) => number[];

/**
 * @param tokens - text of each token by id
 * @param merges - pairs of token texts, best first; each pair and its concatenation are tokens
 */
export function createSymbolMerger(
  tokens: readonly string[],
  merges: readonly (readonly [string, string])[],
): SymbolMerger {
  const ids = new Map<string, number>();
  for (const [id, token] of tokens.entries()) ids.set(token, id);
  const ranks = new PairTable(merges.length, tokens.length);
  const products = new Int32Array(merges.length);
  for (const [rank, [left, right]] of merges.entries()) {
    ranks.set(ids.get(left)!, ids.get(right)!, rank);
    products[rank] = ids.get(left + right)!;
  }
  return (symbols) => {
    const rule: PairRule = {
      find: (at, right) => (symbols[at]! < 0 || symbols[right]! < 0 ? -1 : ranks.get(symbols[at]!, symbols[right]!)),
      orderOf: (rank) => rank,
      productOf: (rank) => products[rank]!,
    };
    return mergeSymbols(symbols, rule).map((at) => symbols[at]!);
  };
}

/** Ranks of pairs of ids: open addressing in typed arrays, 20 times faster to fill than a Map. */
class PairTable {
  private readonly keys: Float64Array;
  private readonly ranks: Int32Array;

  constructor(
    count: number,
    private readonly nTokens: number,
  ) {
    const size = 2 ** Math.ceil(Math.log2(2 * count + 2));
    this.keys = new Float64Array(size).fill(-1);
    this.ranks = new Int32Array(size);
  }

  set(left: number, right: number, rank: number): void {
    const slot = this.slotOf(left, right);
    this.keys[slot] = left * this.nTokens + right;
    this.ranks[slot] = rank;
  }

  /** -1 for a pair without a rank. */
  get(left: number, right: number): number {
    const slot = this.slotOf(left, right);
    return this.keys[slot] === -1 ? -1 : this.ranks[slot]!;
  }

  private slotOf(left: number, right: number): number {
    const key = left * this.nTokens + right;
    const mask = this.keys.length - 1;
    let slot = ((Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b)) >>> 5) & mask;
    while (this.keys[slot] !== -1 && this.keys[slot] !== key) slot = (slot + 1) & mask;
    return slot;
  }
}
