/**
 * Elementary functions in f64, the same operations everywhere: they make RoPE's angles and log-probabilities, and are not
 * meant to be fast. Each is accurate to a few units of 1e-16 in the range named (test/kernel/double.test.ts).
 */

const ROUND: f64 = 6755399441055744.0; // 1.5 * 2^52: adding and subtracting rounds to the nearest even integer
const LN2_HI: f64 = 6.9314718036912381649e-1; // 32 bits of ln 2, and the rest
const LN2_LO: f64 = 1.90821492927058770002e-10;
const PI2_1: f64 = 1.57079632673412561417; // pi/2 in three parts: 33 bits, 33 bits, the rest
const PI2_2: f64 = 6.0771005063039659766e-11;
const PI2_3: f64 = 2.02226624879595063154e-21;

/** exp(x), |x| <= 700: x = n ln 2 + r, Taylor to r^14 (|r| <= 0.35: remainder under 1e-18). */
export function exp64(x: f64): f64 {
  const n = x * 1.44269504088896340736 + ROUND - ROUND;
  const r = x - n * LN2_HI - n * LN2_LO;
  let sum: f64 = 1;
  for (let k: f64 = 14; k > 0; k -= 1) sum = 1 + (sum * r) / k;
  return sum * reinterpret<f64>((<i64>n + 1023) << 52);
}

/** ln(x), x > 0 and normal: x = m 2^e with m in [0.7, 1.42), ln m = 2 atanh((m - 1) / (m + 1)). */
export function log64(x: f64): f64 {
  const bits = reinterpret<u64>(x);
  let e = <i32>((bits >> 52) & 0x7ff) - 1023;
  let m = reinterpret<f64>((bits & 0x000fffffffffffff) | 0x3ff0000000000000);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    e += 1;
  }
  const s = (m - 1) / (m + 1);
  const s2 = s * s;
  let sum: f64 = 0;
  for (let k: f64 = 23; k > 0; k -= 2) sum = sum * s2 + 1 / k;
  return <f64>e * LN2_HI + (2 * s * sum + <f64>e * LN2_LO);
}

/** cos(x) at out, sin(x) at out + 8; |x| <= 2^20: Cody-Waite by pi/2, then Taylor on [-pi/4, pi/4]. */
export function cosSin64(out: usize, x: f64): void {
  const n = x * 0.63661977236758134308 + ROUND - ROUND;
  const r = x - n * PI2_1 - n * PI2_2 - n * PI2_3;
  const r2 = r * r;
  let c: f64 = 1;
  for (let k: f64 = 18; k > 0; k -= 2) c = 1 - (c * r2) / (k * (k - 1));
  let s: f64 = 1;
  for (let k: f64 = 19; k > 1; k -= 2) s = 1 - (s * r2) / (k * (k - 1));
  s *= r;
  const quadrant = <i64>n & 3;
  const swap = (quadrant & 1) != 0;
  const cosine = swap ? s : c;
  const sine = swap ? c : s;
  store<f64>(out, quadrant == 1 || quadrant == 2 ? -cosine : cosine);
  store<f64>(out, quadrant >= 2 ? -sine : sine, 8);
}
