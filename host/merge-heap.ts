/**
 * The merge loop of byte-pair vocabularies in O(n log n): the pair of lowest order is joined first, the leftmost among
 * equals, until no pair can be joined. Typed arrays and one heap; what a pair is and gives is the caller's.
 * @module
 */

/** Positions fit in 30 bits and orders in 23, so that both make one exactly represented number. */
const POSITIONS = 2 ** 30;
export const MAX_ORDER = 2 ** 23;

export interface PairRule {
  /**
   * The join of the symbol at `at` with the one at `right`, which ends before symbol `end`; -1 for none. The number is
   * the caller's; two joins of one place with one order are the same join.
   */
  find(at: number, right: number, end: number): number;
  /** Order of a join, below `MAX_ORDER`; the lowest is done first. */
  orderOf(join: number): number;
  /** Id of the joined symbol. */
  productOf(join: number): number;
}

/**
 * @param id - ids of the symbols; joined ones are written over the left one
 * @returns positions of the symbols that are left, ascending
 */
export function mergeSymbols(id: Int32Array, rule: PairRule): number[] {
  const length = id.length;
  const next = new Int32Array(length);
  const previous = new Int32Array(length);
  const swallowed = new Uint8Array(length);
  for (let at = 0; at < length; at++) {
    next[at] = at + 1;
    previous[at] = at - 1;
  }
  const queue = new MinHeap(3 * length);
  const offer = (at: number) => {
    const right = next[at]!;
    if (right >= length) return;
    const join = rule.find(at, right, next[right]!);
    if (join >= 0) queue.push(rule.orderOf(join) * POSITIONS + at);
  };
  for (let at = 0; at < length; at++) offer(at);
  for (let key = queue.pop(); key !== undefined; key = queue.pop()) {
    const order = Math.floor(key / POSITIONS);
    const at = key - order * POSITIONS;
    const right = next[at]!;
    if (swallowed[at] === 1 || right >= length) continue;
    const join = rule.find(at, right, next[right]!);
    if (join < 0 || rule.orderOf(join) !== order) continue; // either side has been joined since
    id[at] = rule.productOf(join);
    swallowed[right] = 1;
    next[at] = next[right]!;
    if (next[at]! < length) previous[next[at]!] = at;
    if (previous[at]! >= 0) offer(previous[at]!);
    offer(at);
  }
  const left: number[] = [];
  for (let at = 0; at < length; at = next[at]!) left.push(at);
  return left;
}

/** Smallest number first; the capacity is fixed, so pushing never allocates. */
class MinHeap {
  private readonly keys: Float64Array;
  private size = 0;

  constructor(capacity: number) {
    this.keys = new Float64Array(capacity);
  }

  push(key: number): void {
    let at = this.size++;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (this.keys[parent]! <= key) break;
      this.keys[at] = this.keys[parent]!;
      at = parent;
    }
    this.keys[at] = key;
  }

  pop(): number | undefined {
    if (this.size === 0) return undefined;
    const top = this.keys[0]!;
    const key = this.keys[--this.size]!;
    let at = 0;
    for (let child = 1; child < this.size; child = 2 * at + 1) {
      if (child + 1 < this.size && this.keys[child + 1]! < this.keys[child]!) child++;
      if (this.keys[child]! >= key) break;
      this.keys[at] = this.keys[child]!;
      at = child;
    }
    this.keys[at] = key;
    return top;
  }
}
