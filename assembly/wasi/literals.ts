/**
 * Tokens that are found in text as a whole, as host/literals.ts finds them: the longest one takes all its places first, from
 * the left, then the next one what is left; it may take white space beside it along. They come in that order from the file.
 */
import { LiteralFlag } from "./format";
import { need } from "./io";

@unmanaged
export class Literal {
  id: u32;
  /** LiteralFlag bits. */
  flags: u32;
  /** Of its text. */
  start: u32;
  end: u32;
}

let literals: usize = 0;
let count: u32 = 0;
let texts: usize = 0;
/** First literal with each first byte, plus 1, u32 [256]; and for each literal the next such one, u32 []. */
let chains: usize = 0;
/** Whether each occurs, u8 []. */
let occurs: usize = 0;

/** For each byte of a text: u32 end of the run it is taken by, 0: none; u32 id, where a run begins. */
let runs: usize = 0;
let runBytes: u32 = 0;

export function openLiterals(table: usize, n: u32, text: usize): void {
  literals = table;
  count = n;
  texts = text;
  if (n == 0) return;
  chains = need(1024 + (<u64>n << 2));
  occurs = need(n);
  memory.fill(chains, 0, 1024);
  for (let i = n; i > 0; --i) {
    const first = chains + (<usize>load<u8>(texts + at(i - 1).start) << 2);
    store<u32>(chains + 1024 + ((i - 1) << 2), load<u32>(first));
    store<u32>(first, i);
  }
}

// @ts-ignore: decorator
@inline
function at(index: u32): Literal {
  return changetype<Literal>(literals + (<usize>index << 4));
}

/** Whether a literal's text stands at a place. */
// @ts-ignore: decorator
@inline
function standsAt(literal: Literal, place: usize, end: usize): bool {
  const length = literal.end - literal.start;
  return place + length <= end && memory.compare(place, texts + literal.start, length) == 0;
}

function mark(text: usize, n: u32, special: bool): bool {
  const end = text + n;
  let any = false;
  memory.fill(occurs, 0, count);
  for (let place = text; place < end; ++place) {
    for (let i = load<u32>(chains + (<usize>load<u8>(place) << 2)); i != 0; i = load<u32>(chains + 1020 + (<usize>i << 2))) {
      const literal = at(i - 1);
      if ((!special && literal.flags & LiteralFlag.CONTROL) || !standsAt(literal, place, end)) continue;
      store<u8>(occurs + i - 1, 1);
      any = true;
    }
  }
  return any;
}

// @ts-ignore: decorator
@inline
function isSpace(byte: u32): bool {
  return byte == 32 || (byte >= 9 && byte <= 13);
}

// @ts-ignore: decorator
@inline
function takenTo(index: u32): u32 {
  return load<u32>(runs + (<usize>index << 3));
}

/** The runs of a text of n bytes, 0 where there are none; without `special` control tokens are text. */
export function findLiterals(text: usize, n: u32, special: bool): usize {
  if (count == 0 || n == 0 || !mark(text, n, special)) return 0;
  if (n > runBytes) {
    runBytes = n;
    runs = need(<u64>n << 3);
  }
  memory.fill(runs, 0, <usize>n << 3);
  for (let i: u32 = 0; i < count; ++i) if (load<u8>(occurs + i) != 0) take(at(i), text, n);
  return runs;
}

/** What is taken is never shorter than what is looked for, so that two ends decide an overlap. */
function take(literal: Literal, text: usize, n: u32): void {
  const length = literal.end - literal.start;
  for (let place: u32 = 0; place + length <= n; ) {
    if (!standsAt(literal, text + place, text + n)) {
      ++place;
      continue;
    }
    const blocked = takenTo(place + length - 1) != 0 ? takenTo(place + length - 1) : takenTo(place);
    if (blocked != 0) {
      place = blocked;
      continue;
    }
    let start = place;
    let end = place + length;
    if (literal.flags & LiteralFlag.STRIP_BEFORE) {
      while (start > 0 && isSpace(load<u8>(text + start - 1)) && takenTo(start - 1) == 0) --start;
    }
    if (literal.flags & LiteralFlag.STRIP_AFTER) {
      while (end < n && isSpace(load<u8>(text + end)) && takenTo(end) == 0) ++end;
    }
    for (let byte = start; byte < end; ++byte) store<u32>(runs + (<usize>byte << 3), end);
    store<u32>(runs + (<usize>start << 3), literal.id, 4);
    place = end;
  }
}
