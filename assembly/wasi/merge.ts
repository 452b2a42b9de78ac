/**
 * The merge loop of byte-pair vocabularies, as host/merge-heap.ts has it: the pair of lowest order is joined first, the leftmost
 * among equals, until none can be joined. O(n log n).
 *
 *   pairs:  start [symbols + 1] u32: a left symbol's first pair;  pair: u32 right symbol, u32 order, u32 product, by right symbol
 *
 * SentencePiece's joins are such pairs as well: a text that is a token comes of every pair of texts that make it up, with
 * the place of its score as the order.
 */
import { need } from "./io";

export const PAIR_BYTES: u32 = 12;
/** Mark of a symbol that was joined to the one before it, in `previous`. */
const SWALLOWED: i32 = -2;

let work: usize = 0;
let capacity: u32 = 0;
let ids: usize = 0;
let next: usize = 0;
let previous: usize = 0;
/** u64: order, then position. */
let heap: usize = 0;
let heapSize: u32 = 0;

let starts: usize = 0;
let pairs: usize = 0;

/** The pairs of the vocabulary. */
export function setPairs(start: usize, pair: usize): void {
  starts = start;
  pairs = pair;
}

/** i32 [n]: where the symbols of a word are written; a negative one takes no part. */
export function symbolsFor(n: u32): usize {
  if (n > capacity) {
    capacity = max<u32>(n, min<u32>(2 * capacity, 1 << 20));
    work = need(<u64>capacity * 36);
    heap = work;
    ids = heap + <usize>capacity * 24;
    next = ids + <usize>capacity * 4;
    previous = next + <usize>capacity * 4;
  }
  return ids;
}

/** The pair of two symbols, 0 for none. */
function find(left: i32, right: i32): usize {
  if (left < 0 || right < 0) return 0;
  let low = load<u32>(starts + (<usize>left << 2));
  let high = load<u32>(starts + (<usize>left << 2), 4);
  while (low < high) {
    const middle = (low + high) >> 1;
    const pair = pairs + <usize>middle * PAIR_BYTES;
    const found = load<u32>(pair);
    if (found == <u32>right) return pair;
    if (found < <u32>right) low = middle + 1;
    else high = middle;
  }
  return 0;
}

// @ts-ignore: decorator
@inline
function at32(array: usize, index: i32): i32 {
  return load<i32>(array + (<usize>index << 2));
}

// @ts-ignore: decorator
@inline
function set32(array: usize, index: i32, value: i32): void {
  store<i32>(array + (<usize>index << 2), value);
}

function push(key: u64): void {
  let at = heapSize++;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    const other = load<u64>(heap + (<usize>parent << 3));
    if (other <= key) break;
    store<u64>(heap + (<usize>at << 3), other);
    at = parent;
  }
  store<u64>(heap + (<usize>at << 3), key);
}

function pop(): u64 {
  const top = load<u64>(heap);
  const key = load<u64>(heap + (<usize>(--heapSize) << 3));
  let at: u32 = 0;
  for (let child: u32 = 1; child < heapSize; child = at * 2 + 1) {
    if (child + 1 < heapSize && load<u64>(heap + (<usize>child << 3), 8) < load<u64>(heap + (<usize>child << 3))) ++child;
    const other = load<u64>(heap + (<usize>child << 3));
    if (other >= key) break;
    store<u64>(heap + (<usize>at << 3), other);
    at = child;
  }
  store<u64>(heap + (<usize>at << 3), key);
  return top;
}

function offer(at: i32, n: i32): void {
  const right = at32(next, at);
  if (right >= n) return;
  const pair = find(at32(ids, at), at32(ids, right));
  if (pair != 0) push((<u64>load<u32>(pair, 4) << 32) | <u64>at);
}

/** Merges the n symbols that lie at `symbolsFor(n)`; `nextSymbol` then walks over those that are left. */
export function mergeSymbols(n: i32): void {
  heapSize = 0;
  for (let at: i32 = 0; at < n; ++at) {
    set32(next, at, at + 1);
    set32(previous, at, at - 1);
  }
  for (let at: i32 = 0; at < n; ++at) offer(at, n);
  while (heapSize > 0) {
    const key = pop();
    const at = <i32>key;
    const right = at32(next, at);
    if (at32(previous, at) == SWALLOWED || right >= n) continue;
    const pair = find(at32(ids, at), at32(ids, right));
    if (pair == 0 || load<u32>(pair, 4) != <u32>(key >> 32)) continue; // either side has been joined since
    set32(ids, at, load<i32>(pair, 8));
    set32(previous, right, SWALLOWED);
    const after = at32(next, right);
    set32(next, at, after);
    if (after < n) set32(previous, after, at);
    if (at32(previous, at) >= 0) offer(at32(previous, at), n);
    offer(at, n);
  }
}

/** Position of the symbol behind one that is left. */
export function nextSymbol(at: i32): i32 {
  return at32(next, at);
}
