/**
 * A model's chat template as a table: pieces of text, control tokens, and places of messages (host/wasi/template-table.ts). Text
 * between two control tokens is encoded as one, messages and all, since words may merge across their edges; no control token
 * comes of it, whatever a message says.
 *
 *   section:  | head: Chat words | pieces of 3 words: Piece, then offset and bytes or the id | texts |
 */
import { Chat, ChatKind, Piece } from "./format";
import { need } from "./io";
import { appendId, encodeText, nTokens } from "./tokenizer";
import { codePointAt } from "./utf8";

const MOST_PIECES: u32 = 1 << 12;

let section: usize = 0;
let texts: usize = 0;

// @ts-ignore: decorator
@inline
function word(index: u32): u32 {
  return load<u32>(section + (index << 2));
}

/** Takes over a section of whole words, after the tokenizer; returns what is wrong with it, "" when nothing is. */
export function openChat(at: usize, bytes: u32): string {
  section = at;
  if (bytes < <u32>Chat.HEAD * 4 || word(Chat.KIND) > <u32>ChatKind.REFUSED) return "its chat template is none";
  const nUser = word(Chat.N_USER);
  const nSystem = word(Chat.N_SYSTEM);
  const textBytes = word(Chat.TEXT_BYTES);
  if (nUser > MOST_PIECES || nSystem > MOST_PIECES || word(Chat.TRIM) > 1) return "its chat template is none";
  if (textBytes > bytes || (((Chat.HEAD * 4 + (nUser + nSystem) * 12 + textBytes + 3) & ~3) != bytes)) return "its chat template does not fill its section";
  if (word(Chat.KIND) == ChatKind.TABLE && nUser == 0) return "its chat template is none";
  texts = section + Chat.HEAD * 4 + (nUser + nSystem) * 12;
  for (let i: u32 = 0; i < nUser + nSystem; ++i) {
    const piece = section + Chat.HEAD * 4 + i * 12;
    const kind = load<u32>(piece);
    const first = load<u32>(piece, 4);
    if (kind > <u32>Piece.SYSTEM || (kind == Piece.SYSTEM && i < nUser)) return "its chat template has a piece that is none";
    if (kind == Piece.CONTROL && first >= nTokens()) return "its chat template has a token outside the vocabulary";
    if (kind == Piece.TEXT && (first > textBytes || load<u32>(piece, 8) > textBytes - first)) return "its chat template has a piece outside its texts";
  }
  return "";
}

export function chatKind(): u32 {
  return word(Chat.KIND);
}

/** Whether the template takes a system prompt. */
export function takesSystem(): bool {
  return word(Chat.N_SYSTEM) != 0;
}

let buffer: usize = 0;
let filled: usize = 0;

/** Appends a conversation's ids, up to where the assistant begins; false where a text is no UTF-8. `system` may be 0. */
export function encodeChat(user: usize, nUser: u32, system: usize, nSystem: u32): bool {
  const first = system == 0 ? 0 : word(Chat.N_USER);
  const pieces = section + Chat.HEAD * 4 + first * 12;
  const count = system == 0 ? word(Chat.N_USER) : word(Chat.N_SYSTEM);
  let bytes: u64 = 0;
  for (let i: u32 = 0; i < count; ++i) {
    const kind = load<u32>(pieces + i * 12);
    bytes += kind == Piece.USER ? nUser : kind == Piece.SYSTEM ? nSystem : kind == Piece.TEXT ? load<u32>(pieces + i * 12, 8) : 0;
  }
  buffer = need(bytes);
  filled = 0;
  for (let i: u32 = 0; i < count; ++i) {
    const piece = pieces + i * 12;
    const kind = load<u32>(piece);
    if (kind == Piece.CONTROL) {
      if (!flush()) return false;
      appendId(load<u32>(piece, 4));
    } else if (kind == Piece.TEXT) add(texts + load<u32>(piece, 4), load<u32>(piece, 8));
    else if (kind == Piece.USER) addMessage(user, nUser);
    else addMessage(system, nSystem);
  }
  return flush();
}

function add(from: usize, n: usize): void {
  memory.copy(buffer + filled, from, n);
  filled += n;
}

function addMessage(from: usize, n: usize): void {
  let end = from + n;
  if (word(Chat.TRIM) != 0) {
    while (from < end && blankAt(from, end) != 0) from += blankAt(from, end);
    for (let before = lastCharacter(from, end); from < end && blankAt(before, end) != 0; before = lastCharacter(from, end)) end = before;
  }
  add(from, end - from);
}

function lastCharacter(from: usize, end: usize): usize {
  let at = end - 1;
  while (at > from && (load<u8>(at) & 0xc0) == 0x80) --at;
  return at;
}

/** Bytes of the white space at a place, as JavaScript's `trim` counts it; 0: there is none. */
function blankAt(at: usize, end: usize): u32 {
  if (at >= end) return 0;
  const first = load<u8>(at);
  if (first == 32 || (first >= 9 && first <= 13)) return 1;
  if (first == 0xc2) return at + 1 < end && load<u8>(at, 1) == 0xa0 ? 2 : 0;
  if (first < 0xe1 || first > 0xef || at + 2 >= end) return 0;
  const c = codePointAt(at);
  const isBlank =
    c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000 || c == 0xfeff;
  return isBlank ? 3 : 0;
}

function flush(): bool {
  const n = <u32>filled;
  filled = 0;
  return encodeText(buffer, n, false);
}
