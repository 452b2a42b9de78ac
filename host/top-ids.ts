/**
 * The ids of the highest values, in order, without sorting all of them. Best means the higher value, of equals the
 * lower id; values are not NaN.
 *
 * A heap with the worst at its root, place 0, and the children of place i at 2i + 1 and 2i + 2:
 *   !isWorse(child, parent)
 * The k best are found by replacing the root whenever a better value comes by. Popping the root to the end of the
 * shrinking heap then leaves a list, best first.
 * @module
 */

/**
 * Fills `ids` with those of the highest values above -Infinity, best first, and returns how many there are:
 * `ids.length`, or fewer when there are not so many. Time n + k log k for values in random order, n log k at worst.
 */
export function selectTop(values: Float32Array, ids: Int32Array): number {
  const k = ids.length;
  let n = 0;
  let id = 0;
  for (; id < values.length && n < k; ++id) if (values[id]! > -Infinity) ids[n++] = id;
  if (n === 0) return 0;
  heapify(values, ids, n);
  // A later id replaces the worst only when strictly better: that is how the lower id wins a tie.
  let worst = values[ids[0]!]!;
  for (; id < values.length; ++id) {
    if (values[id]! <= worst) continue;
    ids[0] = id;
    siftDown(values, ids, n, 0);
    worst = values[ids[0]!]!;
  }
  popToEnd(values, ids, n);
  return n;
}

/** Sorts ids[0..n) by their values, best first, in place; n log n. */
export function sortBestFirst(values: Float32Array, ids: Int32Array, n: number): void {
  heapify(values, ids, n);
  popToEnd(values, ids, n);
}

/** Orders ids[0..n) as a heap whose root is the worst: the lowest value, of equals the highest id. */
function heapify(values: Float32Array, ids: Int32Array, n: number): void {
  for (let at = (n >>> 1) - 1; at >= 0; --at) siftDown(values, ids, n, at);
}

/** Turns a heap into a list, best first. */
function popToEnd(values: Float32Array, ids: Int32Array, n: number): void {
  for (let end = n - 1; end > 0; --end) {
    const worst = ids[0]!;
    ids[0] = ids[end]!;
    ids[end] = worst;
    siftDown(values, ids, end, 0);
  }
}

function siftDown(values: Float32Array, ids: Int32Array, n: number, from: number): void {
  const id = ids[from]!;
  const value = values[id]!;
  let at = from;
  for (let child = 2 * at + 1; child < n; child = 2 * at + 1) {
    const right = child + 1;
    if (right < n && isWorse(values[ids[right]!]!, ids[right]!, values[ids[child]!]!, ids[child]!)) child = right;
    const childId = ids[child]!;
    if (!isWorse(values[childId]!, childId, value, id)) break;
    ids[at] = childId;
    at = child;
  }
  ids[at] = id;
}

function isWorse(value: number, id: number, otherValue: number, otherId: number): boolean {
  return value < otherValue || (value === otherValue && id > otherId);
}
