/**
 * SentencePiece vocabularies of the byte-pair kind (`tokenizer.ggml.model` `llama`): characters are joined to tokens,
 * the token of the highest score first, the leftmost among equals; a character without a token falls back to the tokens
 * of its UTF-8 bytes (`<0x0A>`), and where these are missing to the unknown token.
 *
 * The space is spelled U+2581. Where no token has it after another character (it is so in all known vocabularies but a
 * few), no merge crosses from a word into the next one, and words are encoded one by one and remembered; otherwise the
 * whole text is one word. Either way the cost is O(n log n).
 *
 * Unlike in llama.cpp, control tokens never come of plain text.
 * @module
 */
import type { AppendIds } from "./bpe.ts";
import { byteTokenName } from "./byte-alphabet.ts";
import { mergeSymbols, type PairRule } from "./merge-heap.ts";
import type { Vocabulary } from "./vocabulary.ts";

const encoder = new TextEncoder();

const CACHED_WORDS = 1 << 15;
const LONG_WORD = 256;

/** The text is without its prefix: the caller has put the space in front. */
export function createSpmEncoder({ tokens, scores, controls, unknownId }: Vocabulary): AppendIds {
  const ids = new Map<string, number>();
  let longest = 0;
  let crossing = false;
  for (const [id, token] of tokens.entries()) {
    if (controls.get(token) === id) continue;
    ids.set(token, id);
    longest = Math.max(longest, token.length);
    crossing ||= /[^\u2581]\u2581/.test(token);
  }
  const orders = ordersOf(scores);
  const fallbacks = new Map<string, readonly number[]>();
  const fallback = (character: string): readonly number[] => {
    let bytes = fallbacks.get(character);
    if (bytes === undefined) {
      bytes = Array.from(encoder.encode(character), (byte) => ids.get(byteTokenName(byte)) ?? unknownId ?? -1);
      bytes = bytes.filter((id) => id >= 0);
      fallbacks.set(character, bytes);
    }
    return bytes;
  };

  const encodeWord = (word: string): readonly number[] => {
    const characters = [...word];
    const symbols = Int32Array.from(characters, (character) => ids.get(character) ?? -1);
    const starts = new Int32Array(characters.length + 1);
    for (const [at, character] of characters.entries()) starts[at + 1] = starts[at]! + character.length;
    const rule: PairRule = {
      find: (at, _right, end) => {
        const [start, stop] = [starts[at]!, starts[end]!];
        return stop - start > longest ? -1 : (ids.get(word.slice(start, stop)) ?? -1);
      },
      orderOf: (id) => orders[id]!,
      productOf: (id) => id,
    };
    const wordIds: number[] = [];
    for (const at of mergeSymbols(symbols, rule)) {
      if (symbols[at]! >= 0) wordIds.push(symbols[at]!);
      else for (const id of fallback(characters[at]!)) wordIds.push(id);
    }
    return wordIds;
  };

  const cache = new Map<string, readonly number[]>();
  return (output, text) => {
    const escaped = text.replaceAll(" ", "\u2581");
    for (const word of crossing ? [escaped] : (escaped.match(/\u2581*[^\u2581]+|\u2581+/g) ?? [])) {
      let wordIds = cache.get(word);
      if (wordIds === undefined) {
        wordIds = encodeWord(word);
        if (cache.size >= CACHED_WORDS) cache.clear();
        if (word.length < LONG_WORD) cache.set(word, wordIds);
      }
      for (const id of wordIds) output.push(id);
    }
  };
}

/** Place of each token's score among the scores, the highest first; equal scores share it. */
export function ordersOf(scores: readonly number[]): Int32Array {
  const places = new Map<number, number>();
  for (const score of Float64Array.from(new Set(scores)).sort().reverse()) places.set(score, places.size);
  return Int32Array.from(scores, (score) => places.get(score)!);
}
