/**
 * Attention as the numeric contract (design.md, section 4) fixes it to the bit: every operation rounded to f32, in this
 * order, exp given. Not fast and not near the truth by itself (that is attention.ts): it pins what may not change unnoticed.
 * @module
 */
import type { AttendOptions } from "./attention.ts";

const f = Math.fround;
const SPAN = 1024;
const PAGE = 32;

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

/** cap (1 - e) / (1 + e) with the sign of s, e = exp(|s| (-2 / cap)). */
function softcapped(s: number, cap: number, exp: (x: number) => number): number {
  const e = exp(f(Math.abs(s) * f(-2 / cap)));
  const size = f(cap * f(f(1 - e) / f(1 + e)));
  return s < 0 || Object.is(s, -0) ? -size : size;
}

/**
 * One query head over the slots [first, n): keys [n][keyDim], values [n][valueDim]; `exp` takes and gives f32. The first span
 * starts with the page of slot `first`; a hidden slot in it has weight 0, and counts where lanes are counted.
 */
export function attendContract(
  q: Float32Array,
  keys: Float32Array,
  values: Float32Array,
  n: number,
  exp: (x: number) => number,
  options: AttendOptions = {},
): Float32Array {
  const keyDim = q.length;
  const valueDim = values.length / (keys.length / keyDim);
  const { first = 0, scale = 1 / f(Math.sqrt(keyDim)), softcap = 0 } = options;
  const [factor, cap] = [f(scale), f(softcap)];
  let running: { max: number; sum: number; out: number[] } | undefined;
  for (let span = first - (first % PAGE); span < n; span += SPAN) {
    const slots = Array.from({ length: Math.min(SPAN, n - span) }, (_, i) => span + i);
    const key = (slot: number) => (d: number) => keys[slot * keyDim + d]!;
    const scores = slots.map((slot) => {
      if (slot < first) return -Infinity;
      const score = f(dot(keyDim, key(slot), (d) => q[d]!) * factor);
      return cap === 0 ? score : softcapped(score, cap, exp);
    });
    const max = Math.max(...scores);
    const weights = scores.map((score) => (score === -Infinity ? 0 : exp(f(score - max))));
    const out = Array.from({ length: valueDim }, (_, d) =>
      dot(
        slots.length,
        (i) => values[slots[i]! * valueDim + d]!,
        (i) => weights[i]!,
      ),
    );
    const added = { max, sum: sumInLanes(weights), out };
    if (running === undefined) {
      running = added;
      continue;
    }
    const top = Math.max(running.max, added.max);
    const [a, b] = [exp(f(running.max - top)), exp(f(added.max - top))];
    const before = running;
    const merge = (x: number, y: number) => f(f(x * a) + f(y * b));
    running = { max: top, sum: merge(before.sum, added.sum), out: before.out.map((x, d) => merge(x, added.out[d]!)) };
  }
  const inverse = f(1 / running!.sum);
  return Float32Array.from(running!.out, (x) => x * inverse);
}
