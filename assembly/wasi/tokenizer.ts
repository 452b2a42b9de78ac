/**
 * Text to token ids by the tables of a model file, the very ids of host/tokenizer.ts; and ids to bytes.
 *
 *   section:  | head: Vocab words | ends u32 [] | spelling u32 [tokens + 1] | control, a bit a token, u32 [] | bytes i32 [256] |
 *             | characters: u32 code point, u32 symbol [] | pair starts u32 [symbols + 1] | pairs of 3 words [] |
 *             | words u32 []: ids by their bytes | literals: id, LiteralFlag, start, end [] | steps | spellings | literal texts |
 *
 * `bytes` has the symbol of each byte, -1 for none; where symbols are characters, the token of a byte of a character that
 * is none. A symbol below the number of tokens is a token.
 */
import { Vocab, VocabFlag } from "./format";
import { need } from "./io";
import { findLiterals, Literal, openLiterals } from "./literals";
import { mergeSymbols, nextSymbol, PAIR_BYTES, setPairs, symbolsFor } from "./merge";
import { checkStep, cutWords } from "./split";
import { codePointAt, firstInvalid, lengthOf } from "./utf8";

const MOST_TOKENS: u32 = 1 << 21;
const MOST: u32 = 1 << 26;
const MOST_LITERALS: u32 = 1 << 16;
const MOST_STEPS: u32 = 16;

let head: usize = 0;
let ends: usize = 0;
let spellings: usize = 0;
let controls: usize = 0;
let byteSymbols: usize = 0;
let characters: usize = 0;
let words: usize = 0;
let steps: usize = 0;
let spelling: usize = 0;

/** Ids so far: encoding appends. */
let ids: usize = 0;
let nIds: u32 = 0;
let idCapacity: u32 = 0;

/** Room for a text in work: where symbols are characters the text with U+2581 in it, else its cuts. */
let room: usize = 0;
let roomBytes: u32 = 0;

// @ts-ignore: decorator
@inline
function word(index: u32): u32 {
  return load<u32>(head + (index << 2));
}

// @ts-ignore: decorator
@inline
export function nTokens(): u32 {
  return word(Vocab.N_TOKENS);
}

/** Takes over a section of whole words; returns what is wrong with it, "" when nothing is. */
export function openTokenizer(section: usize, bytes: u32): string {
  head = section;
  if (bytes < <u32>Vocab.HEAD * 4) return "its tokenizer is cut short";
  const tokens = word(Vocab.N_TOKENS);
  const symbols = word(Vocab.N_SYMBOLS);
  const nEnds = word(Vocab.N_ENDS);
  const nCharacters = word(Vocab.N_CHARACTERS);
  const nPairs = word(Vocab.N_PAIRS);
  const nWords = word(Vocab.N_WORDS);
  const nLiterals = word(Vocab.N_LITERALS);
  const stepWords = word(Vocab.STEP_WORDS);
  const spellingBytes = word(Vocab.SPELLING_BYTES);
  const literalBytes = word(Vocab.LITERAL_BYTES);
  if (tokens == 0 || tokens > MOST_TOKENS || symbols < tokens || symbols > 2 * MOST_TOKENS) return "its vocabulary has no sensible size";
  if (nEnds > tokens || nWords > tokens || nLiterals > MOST_LITERALS || nCharacters > symbols || word(Vocab.BOS) > tokens)
    return "its tokenizer's tables have no sensible size";
  if (nPairs > MOST || stepWords > MOST || spellingBytes > MOST || literalBytes > MOST || word(Vocab.N_STEPS) > MOST_STEPS)
    return "its tokenizer's tables have no sensible size";
  ends = head + Vocab.HEAD * 4;
  spellings = ends + (nEnds << 2);
  controls = spellings + ((tokens + 1) << 2);
  byteSymbols = controls + (((tokens + 31) >> 5) << 2);
  characters = byteSymbols + 1024;
  const starts = characters + (nCharacters << 3);
  const pairs = starts + ((symbols + 1) << 2);
  words = pairs + nPairs * PAIR_BYTES;
  const literals = words + (nWords << 2);
  steps = literals + (nLiterals << 4);
  spelling = steps + (stepWords << 2);
  const texts = spelling + spellingBytes;
  // Every term is below 2^30, so that none of these wraps in 64 bits; in 32 they may.
  const wanted =
    <u64>Vocab.HEAD * 4 + (<u64>nEnds << 2) + (<u64>(tokens + 1) << 2) + (<u64>((tokens + 31) >> 5) << 2) + 1024 +
    (<u64>nCharacters << 3) + (<u64>(symbols + 1) << 2) + <u64>nPairs * PAIR_BYTES + (<u64>nWords << 2) +
    (<u64>nLiterals << 4) + (<u64>stepWords << 2) + <u64>spellingBytes + <u64>literalBytes;
  if (((wanted + 3) & ~3) != <u64>bytes) return "its tokenizer's tables do not fill their section";
  if (!areStarts(spellings, tokens, spellingBytes) || !areStarts(starts, symbols, nPairs)) return "its tokenizer has offsets out of order";
  if (!areBelow(ends, nEnds, 4, tokens) || !areBelow(words, nWords, 4, tokens)) return "its tokenizer has an id outside the vocabulary";
  for (let at = byteSymbols; at < byteSymbols + 1024; at += 4) {
    if (load<i32>(at) < -1 || load<i32>(at) >= <i32>tokens) return "its tokenizer has an id outside the vocabulary";
  }
  if (
    !areBelow(characters + 4, nCharacters, 8, symbols) ||
    !areBelow(pairs, nPairs, PAIR_BYTES, symbols) ||
    !areBelow(pairs + 8, nPairs, PAIR_BYTES, tokens)
  )
    return "its tokenizer has a symbol outside the vocabulary";
  for (let i: u32 = 0; i < nLiterals; ++i) {
    const literal = changetype<Literal>(literals + (i << 4));
    if (literal.id >= tokens || literal.start >= literal.end || literal.end > literalBytes) return "its tokenizer has a literal that is none";
  }
  let done: u32 = 0;
  for (let i: u32 = 0; i < word(Vocab.N_STEPS); ++i) {
    const taken = checkStep(steps + (done << 2), stepWords - done);
    if (taken == 0) return "its tokenizer has an automaton that is none";
    done += taken;
  }
  if (done != stepWords) return "its tokenizer has an automaton that is none";
  setPairs(starts, pairs);
  openLiterals(literals, nLiterals, texts);
  return "";
}

/** Whether n + 1 offsets ascend from 0 to `end`. */
function areStarts(starts: usize, n: u32, end: u32): bool {
  if (load<u32>(starts) != 0 || load<u32>(starts + (<usize>n << 2)) != end) return false;
  for (let i: u32 = 0; i < n; ++i) if (load<u32>(starts + (<usize>i << 2)) > load<u32>(starts + (<usize>i << 2), 4)) return false;
  return true;
}

function areBelow(at: usize, n: u32, stride: u32, limit: u32): bool {
  for (let i: u32 = 0; i < n; ++i) if (load<u32>(at + <usize>i * stride) >= limit) return false;
  return true;
}

/** Ids that were encoded since `forgetIds`. */
export function idsAddress(): usize {
  return ids;
}

export function idCount(): u32 {
  return nIds;
}

export function forgetIds(): void {
  nIds = 0;
}

export function appendId(id: u32): void {
  if (nIds == idCapacity) {
    const larger = need(<u64>max<u32>(1024, 2 * idCapacity) << 2);
    memory.copy(larger, ids, nIds << 2);
    ids = larger;
    idCapacity = max<u32>(1024, 2 * idCapacity);
  }
  store<u32>(ids + (<usize>(nIds++) << 2), id);
}

/** Appends the BOS where texts begin with it. */
export function appendBos(): void {
  if (word(Vocab.FLAGS) & VocabFlag.ADD_BOS && word(Vocab.BOS) != 0) appendId(word(Vocab.BOS) - 1);
}

export function endsTurn(id: u32): bool {
  for (let i: u32 = 0; i < word(Vocab.N_ENDS); ++i) if (load<u32>(ends + (i << 2)) == id) return true;
  return false;
}

export function isControl(id: u32): bool {
  return ((load<u32>(controls + ((id >> 5) << 2)) >> (id & 31)) & 1) != 0;
}

/** The bytes that a token stands for. */
export function spellingOf(id: u32): usize {
  return spelling + load<u32>(spellings + (<usize>id << 2));
}

export function spellingLength(id: u32): u32 {
  return load<u32>(spellings + (<usize>id << 2), 4) - load<u32>(spellings + (<usize>id << 2));
}

/** Appends the ids of n bytes of UTF-8; control tokens are found in it where `special` says so. False: it is none. */
export function encodeText(text: usize, n: u32, special: bool): bool {
  if (firstInvalid(text, text + n) != text + n) return false;
  const runs = findLiterals(text, n, special);
  if (runs == 0) {
    encodeSegment(text, n);
    return true;
  }
  let start: u32 = 0;
  for (let at: u32 = 0; at < n; ) {
    const stop = load<u32>(runs + (at << 3));
    if (stop == 0) {
      ++at;
      continue;
    }
    encodeSegment(text + start, at - start);
    appendId(load<u32>(runs + (at << 3), 4));
    at = stop;
    start = stop;
  }
  encodeSegment(text + start, n - start);
  return true;
}

function reserve(bytes: u32): void {
  if (bytes <= roomBytes) return;
  roomBytes = max<u32>(bytes, min<u32>(2 * roomBytes, 1 << 22));
  room = need(roomBytes);
}

/** A stretch without literals. */
function encodeSegment(text: usize, n: u32): void {
  if (n == 0) return;
  if (word(Vocab.FLAGS) & VocabFlag.CHARACTERS) encodeCharacters(text, n);
  else encodeBytes(text, n);
}

function encodeBytes(text: usize, n: u32): void {
  reserve(n);
  memory.fill(room, 0, n);
  for (let i: u32 = 0, step = steps; i < word(Vocab.N_STEPS); ++i) {
    cutWords(step, text, n, room);
    const entries = load<u32>(step) * (load<u32>(step, 4) + 1);
    step += (3 + load<u32>(step, 8) + ((entries + 1) >> 1)) << 2;
  }
  for (let start: u32 = 0; start < n; ) {
    let end = start + 1;
    while (end < n && load<u8>(room + end) == 0) ++end;
    encodeWord(text + start, end - start);
    start = end;
  }
}

function encodeWord(text: usize, n: u32): void {
  const whole = wordToken(text, n);
  if (whole >= 0) {
    appendId(whole);
    return;
  }
  const symbols = symbolsFor(n);
  for (let i: u32 = 0; i < n; ++i) store<i32>(symbols + (<usize>i << 2), load<i32>(byteSymbols + (<usize>load<u8>(text + i) << 2)));
  mergeSymbols(n);
  for (let at: i32 = 0; at < <i32>n; at = nextSymbol(at)) {
    const id = load<i32>(symbols + (<usize>at << 2));
    if (id >= 0) appendId(id);
  }
}

/** The token that a word is as a whole, whatever the merges say; -1 for none, or where the merges decide. */
function wordToken(text: usize, n: u32): i32 {
  let low: u32 = 0;
  let high = word(Vocab.N_WORDS);
  while (low < high) {
    const middle = (low + high) >> 1;
    const id = load<u32>(words + (<usize>middle << 2));
    const length = spellingLength(id);
    let order = memory.compare(spellingOf(id), text, min<u32>(length, n));
    if (order == 0) order = <i32>length - <i32>n;
    if (order == 0) return id;
    if (order < 0) low = middle + 1;
    else high = middle;
  }
  return -1;
}

/** SentencePiece: one word, spaces spelled U+2581; a character without a token falls back to those of its bytes. */
function encodeCharacters(text: usize, n: u32): void {
  reserve(3 * n + 3);
  let end = room;
  if (word(Vocab.FLAGS) & VocabFlag.SPACE_PREFIX) end = putSpace(end);
  for (let i: u32 = 0; i < n; ++i) {
    const byte = load<u8>(text + i);
    if (byte == 32) end = putSpace(end);
    else store<u8>(end++, byte);
  }
  const symbols = symbolsFor(<u32>(end - room));
  let count: i32 = 0;
  for (let at = room; at < end; at += lengthOf(load<u8>(at))) {
    store<i32>(symbols + (<usize>(count++) << 2), symbolOf(codePointAt(at)));
  }
  mergeSymbols(count);
  const tokens = <i32>nTokens();
  let at = room;
  for (let i: i32 = 0; i < count; ) {
    const symbol = load<i32>(symbols + (<usize>i << 2));
    if (symbol >= 0 && symbol < tokens) appendId(symbol);
    else {
      for (let b: u32 = 0; b < lengthOf(load<u8>(at)); ++b) {
        const id = load<i32>(byteSymbols + (<usize>load<u8>(at + b) << 2));
        if (id >= 0) appendId(id);
      }
    }
    for (let following = nextSymbol(i); i < following; ++i) at += lengthOf(load<u8>(at));
  }
}

function putSpace(at: usize): usize {
  store<u16>(at, 0x96e2);
  store<u8>(at, 0x81, 2);
  return at + 3;
}

/** The symbol of a character, -1 for none. */
function symbolOf(codePoint: u32): i32 {
  let low: u32 = 0;
  let high = word(Vocab.N_CHARACTERS);
  while (low < high) {
    const middle = (low + high) >> 1;
    const found = load<u32>(characters + (<usize>middle << 3));
    if (found == codePoint) return load<i32>(characters + (<usize>middle << 3), 4);
    if (found < codePoint) low = middle + 1;
    else high = middle;
  }
  return -1;
}
