/**
 * SentencePiece vocabularies of the unigram kind (`tokenizer.ggml.model` `t5`): of all ways to write the text with tokens
 * the one with the highest sum of scores (Viterbi), earlier found among equals. A character that no token begins and ends
 * with costs 10 more than the worst token and becomes the unknown token; several in a row become one.
 *
 * Before that the text is normalized: the file's character map (`charsmap.ts`), runs of spaces to one, a space in front,
 * spaces to U+2581, as llama.cpp does it, which with `remove_extra_whitespaces` puts a space in front even where
 * `add_space_prefix` is false. Known difference: where a text has the first characters of a user-defined token,
 * llama.cpp leaves them unmapped byte by byte, here it is by character.
 * @module
 */
import type { AppendIds } from "./bpe.ts";
import { type CharacterMap, createCharacterMap } from "./charsmap.ts";
import { TokenType } from "./token-types.ts";
import { ROOT, Trie } from "./trie.ts";
import type { Vocabulary } from "./vocabulary.ts";

const UNKNOWN_PENALTY = 10;

export function createUnigramEncoder(vocabulary: Vocabulary): AppendIds {
  const { tokens, scores, types, controls, userDefined, unknownId } = vocabulary;
  const trie = new Trie();
  const tokenScores = Float64Array.from(scores);
  let lowest = Infinity;
  for (const [id, token] of tokens.entries()) {
    const type = types[id];
    if (controls.get(token) === id) continue;
    if (type === TokenType.Normal) lowest = Math.min(lowest, scores[id]!);
    else if (type === TokenType.UserDefined) tokenScores[id] = 0;
    else if (type !== TokenType.Unused) continue;
    trie.insert(token, id);
  }
  const unknownScore = Math.fround(lowest - UNKNOWN_PENALTY);
  const normalize = createNormalizer(vocabulary, [...userDefined.keys()]);

  return (ids, text) => {
    const normal = normalize(text);
    const length = normal.length;
    if (length === 0) return;
    const best = new Float64Array(length + 1).fill(-Number.MAX_VALUE);
    const from = new Int32Array(length + 1);
    const token = new Int32Array(length + 1).fill(-1); // the unknown token
    best[0] = 0;
    const offer = (start: number, end: number, id: number, score: number) => {
      const sum = best[start]! + score;
      if (sum <= best[end]!) return;
      best[end] = sum;
      from[end] = start;
      token[end] = id;
    };
    for (let start = 0; start < length; ) {
      const width = normal.codePointAt(start)! > 0xffff ? 2 : 1;
      let single = false;
      let node = ROOT;
      for (let at = start; at < length; at++) {
        node = trie.child(node, normal.charCodeAt(at));
        if (node < 0) break;
        const id = trie.valueAt(node);
        if (id < 0) continue;
        single ||= at + 1 - start === width;
        offer(start, at + 1, id, tokenScores[id]!);
      }
      if (!single) offer(start, start + width, -1, unknownScore);
      start += width;
    }
    const backwards: number[] = [];
    let previous = 0;
    for (let end = length; end > 0; end = from[end]!) {
      const id = token[end]!;
      if (id >= 0) backwards.push(id);
      else if (previous >= 0 && unknownId !== undefined) backwards.push(unknownId);
      previous = id;
    }
    for (let at = backwards.length - 1; at >= 0; at--) ids.push(backwards[at]!);
  };
}

function createNormalizer(vocabulary: Vocabulary, userDefined: readonly string[]): (text: string) => string {
  const { charsmap, addSpacePrefix, mergeSpaces } = vocabulary;
  const map: CharacterMap | undefined = charsmap === undefined ? undefined : createCharacterMap(charsmap);
  const kept = new Trie();
  for (const text of userDefined) kept.insert(text, 0);
  const mapped = (text: string): string => {
    if (map === undefined) return text;
    let result = "";
    for (let at = 0; at < text.length; ) {
      const keep = prefixLength(kept, text, at);
      const found = keep > 0 ? undefined : map(text, at);
      const width = keep || found?.length || (text.codePointAt(at)! > 0xffff ? 2 : 1);
      result += found?.text ?? text.slice(at, at + width);
      at += width;
    }
    return result;
  };
  return (text) => {
    let result = mapped(text);
    if (mergeSpaces) result = result.replace(/ *([^ ]+) *| +/g, (_, word) => (word === undefined ? "" : ` ${word}`));
    else if (addSpacePrefix) result = result.replace(/[^ ]/, " $&");
    return result.replaceAll(" ", "\u2581");
  };
}

function prefixLength(trie: Trie, text: string, start: number): number {
  let at = start;
  for (let node = ROOT; at < text.length; at++) {
    node = trie.child(node, text.charCodeAt(at));
    if (node < 0) break;
  }
  return at - start;
}
