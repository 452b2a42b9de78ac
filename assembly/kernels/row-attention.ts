/**
 * One f32 query's attention to f32 keys in rows, as policies look at it. The steps of a scalar loop, four slots at once: bits
 * are those of the references.
 *
 *   scoreRows:  out_j = (q . k_j) * scale; of each product four lanes (dim i in lane i mod 4), then (l0 + l1) + (l2 + l3)
 *   softmaxRow: x_j = exp(x_j - max x) / sum, the sum slot after slot
 *
 * Shapes: keys [n][dim] f32, dim a multiple of 4, out and x [n].
 */
import { exp1, exp4 } from "./exp";

/** Sum of products of one row, by lanes. */
// @ts-ignore: decorator
@inline
function rowLanes(q: usize, k: usize, dim: u32): v128 {
  let sum = f32x4.splat(0);
  for (const end = q + (dim << 2); q < end; q += 16, k += 16) sum = f32x4.add(sum, f32x4.mul(v128.load(q), v128.load(k)));
  return sum;
}

/** (l0 + l1) + (l2 + l3) */
// @ts-ignore: decorator
@inline
function ofLanes(sum: v128): f32 {
  const low: f32 = f32x4.extract_lane(sum, 0) + f32x4.extract_lane(sum, 1);
  const high: f32 = f32x4.extract_lane(sum, 2) + f32x4.extract_lane(sum, 3);
  return low + high;
}

export function scoreRows(out: usize, q: usize, keys: usize, n: u32, dim: u32, scale: f32): void {
  const stride = <usize>dim << 2;
  const factor = f32x4.splat(scale);
  let j: u32 = 0;
  for (; j + 4 <= n; j += 4, keys += 4 * stride) {
    let s0 = f32x4.splat(0);
    let s1 = s0;
    let s2 = s0;
    let s3 = s0;
    let k = keys;
    for (let at = q, end = q + stride; at < end; at += 16, k += 16) {
      const x = v128.load(at);
      s0 = f32x4.add(s0, f32x4.mul(x, v128.load(k)));
      s1 = f32x4.add(s1, f32x4.mul(x, v128.load(k + stride)));
      s2 = f32x4.add(s2, f32x4.mul(x, v128.load(k + 2 * stride)));
      s3 = f32x4.add(s3, f32x4.mul(x, v128.load(k + 3 * stride)));
    }
    const a = v128.shuffle<i32>(s0, s1, 0, 4, 1, 5);
    const b = v128.shuffle<i32>(s2, s3, 0, 4, 1, 5);
    const c = v128.shuffle<i32>(s0, s1, 2, 6, 3, 7);
    const d = v128.shuffle<i32>(s2, s3, 2, 6, 3, 7);
    const low = f32x4.add(v128.shuffle<i64>(a, b, 0, 2), v128.shuffle<i64>(a, b, 1, 3));
    const high = f32x4.add(v128.shuffle<i64>(c, d, 0, 2), v128.shuffle<i64>(c, d, 1, 3));
    v128.store(out + (j << 2), f32x4.mul(f32x4.add(low, high), factor));
  }
  scoreRowsRef(out + (j << 2), q, keys, n - j, dim, scale);
}

export function scoreRowsRef(out: usize, q: usize, keys: usize, n: u32, dim: u32, scale: f32): void {
  for (let j: u32 = 0; j < n; ++j, keys += dim << 2) store<f32>(out + (j << 2), ofLanes(rowLanes(q, keys, dim)) * scale);
}

export function softmaxRow(x: usize, n: u32): void {
  const whole = x + ((n & ~3) << 2);
  const end = x + (n << 2);
  let top = f32x4.splat(-Infinity);
  for (let at = x; at < whole; at += 16) top = f32x4.max(top, v128.load(at));
  let highest = max<f32>(
    max<f32>(f32x4.extract_lane(top, 0), f32x4.extract_lane(top, 1)),
    max<f32>(f32x4.extract_lane(top, 2), f32x4.extract_lane(top, 3)),
  );
  for (let at = whole; at < end; at += 4) highest = max<f32>(highest, load<f32>(at));
  const most = f32x4.splat(highest);
  let sum: f32 = 0;
  for (let at = x; at < whole; at += 16) {
    const w = exp4(f32x4.sub(v128.load(at), most));
    v128.store(at, w);
    sum += f32x4.extract_lane(w, 0);
    sum += f32x4.extract_lane(w, 1);
    sum += f32x4.extract_lane(w, 2);
    sum += f32x4.extract_lane(w, 3);
  }
  for (let at = whole; at < end; at += 4) {
    const w = exp1(load<f32>(at) - highest);
    store<f32>(at, w);
    sum += w;
  }
  const inverse: f32 = <f32>1 / sum;
  const factor = f32x4.splat(inverse);
  for (let at = x; at < whole; at += 16) v128.store(at, f32x4.mul(v128.load(at), factor));
  for (let at = whole; at < end; at += 4) store<f32>(at, load<f32>(at) * inverse);
}

export function softmaxRowRef(x: usize, n: u32): void {
  let highest: f32 = -Infinity;
  for (let j: u32 = 0; j < n; ++j) highest = max<f32>(highest, load<f32>(x + (j << 2)));
  let sum: f32 = 0;
  for (let j: u32 = 0; j < n; ++j) {
    const w = exp1(load<f32>(x + (j << 2)) - highest);
    store<f32>(x + (j << 2), w);
    sum += w;
  }
  const inverse: f32 = <f32>1 / sum;
  for (let j: u32 = 0; j < n; ++j) store<f32>(x + (j << 2), load<f32>(x + (j << 2)) * inverse);
}
