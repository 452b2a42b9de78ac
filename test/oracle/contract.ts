/**
 * Attention as the numeric contract (design.md, section 4) fixes it to the bit: every operation rounded to f32, in this
 * order, exp given. Not fast and not near the truth by itself (that is attention.ts): it pins what may not change unnoticed.
 * @module
 */

const f = Math.fround;
const SPAN = 1024;

/** (l0 + l1) + (l2 + l3), element i in lane i mod 4. */
function sumInLanes(values: readonly number[]): number {
  const lanes = [0, 0, 0, 0];
  for (const [i, value] of values.entries()) lanes[i % 4] = f(lanes[i % 4]! + value);
  return f(f(lanes[0]! + lanes[1]!) + f(lanes[2]! + lanes[3]!));
}

/** sum a_i b_i, ascending, product and sum rounded apart. */
function dot(n: number, a: (i: number) => number, b: (i: number) => number): number {
  let sum = 0;
  for (let i = 0; i < n; ++i) sum = f(sum + f(a(i) * b(i)));
  return sum;
}

/** One query head over n slots: keys [n][keyDim], values [n][valueDim]; `exp` takes and gives f32. */
export function attendContract(
  q: Float32Array,
  keys: Float32Array,
  values: Float32Array,
  n: number,
  exp: (x: number) => number,
): Float32Array {
  const keyDim = q.length;
  const valueDim = values.length / (keys.length / keyDim);
  const scale = f(1 / f(Math.sqrt(keyDim)));
  let running: { max: number; sum: number; out: number[] } | undefined;
  for (let first = 0; first < n; first += SPAN) {
    const slots = Array.from({ length: Math.min(SPAN, n - first) }, (_, i) => first + i);
    const key = (slot: number) => (d: number) => keys[slot * keyDim + d]!;
    const scores = slots.map((slot) => f(dot(keyDim, key(slot), (d) => q[d]!) * scale));
    const max = Math.max(...scores);
    const weights = scores.map((score) => exp(f(score - max)));
    const out = Array.from({ length: valueDim }, (_, d) =>
      dot(
        slots.length,
        (i) => values[slots[i]! * valueDim + d]!,
        (i) => weights[i]!,
      ),
    );
    const span = { max, sum: sumInLanes(weights), out };
    if (running === undefined) {
      running = span;
      continue;
    }
    const top = Math.max(running.max, span.max);
    const [a, b] = [exp(f(running.max - top)), exp(f(span.max - top))];
    const before = running;
    const merge = (x: number, y: number) => f(f(x * a) + f(y * b));
    running = { max: top, sum: merge(before.sum, span.sum), out: before.out.map((x, d) => merge(x, span.out[d]!)) };
  }
  const inverse = f(1 / running!.sum);
  return Float32Array.from(running!.out, (x) => x * inverse);
}
