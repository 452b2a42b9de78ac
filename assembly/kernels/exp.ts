/**
 * exp in f32, the same operations on every host and build.
 *
 *   n = round(x / ln 2), r = x - n ln2_hi - n ln2_lo (|r| <= 0.3466), exp(x) = 2^n (1 + r + r^2 P(r)), P of degree 4.
 *
 * Range: x < -87 gives 0; x > 88 is taken as 88. P is a least-squares fit of (e^r - 1 - r) / r^2 weighted by r^2 / e^r
 * (relative error of the formula 3.7e-9); with f32 rounding the result is within 1 ulp (test/kernel/exp.test.ts).
 */

const LOG2E: f32 = 1.44269504;
const LN2_HI: f32 = 0.693359375; // 10 significant bits: n * LN2_HI is exact
const LN2_LO: f32 = -2.1219444e-4;
const ROUND: f32 = 12582912.0; // 1.5 * 2^23: adding and subtracting rounds to the nearest even integer
const LOWEST: f32 = -87.0;
const HIGHEST: f32 = 88.0;
const P0: f32 = 0.4999998807907104;
const P1: f32 = 0.166665181517601;
const P2: f32 = 0.04166953265666962;
const P3: f32 = 0.00836892332881689;
const P4: f32 = 0.001375138177536428;

/**
 * The constants in memory, four lanes each, in the order of use: one load each, where a v128.const is built anew in every
 * turn of a loop. The last one is 127 - bits(ROUND), so that adding the bits of n + ROUND gives n + 127.
 */
const LANES: usize = memory.data<f32>(
  [
    LOWEST, LOWEST, LOWEST, LOWEST,
    HIGHEST, HIGHEST, HIGHEST, HIGHEST,
    LOG2E, LOG2E, LOG2E, LOG2E,
    ROUND, ROUND, ROUND, ROUND,
    LN2_HI, LN2_HI, LN2_HI, LN2_HI,
    LN2_LO, LN2_LO, LN2_LO, LN2_LO,
    P4, P4, P4, P4,
    P3, P3, P3, P3,
    P2, P2, P2, P2,
    P1, P1, P1, P1,
    P0, P0, P0, P0,
    1, 1, 1, 1,
  ],
  16,
);
const EXPONENT: usize = memory.data<i32>([-1262485377, -1262485377, -1262485377, -1262485377], 16);

/** exp of four lanes. */
export function exp4(x: v128): v128 {
  const lowest = v128.load(LANES);
  const clamped = f32x4.pmin(f32x4.pmax(x, lowest), v128.load(LANES, 16));
  const round = v128.load(LANES, 48);
  const biased = f32x4.add(f32x4.mul(clamped, v128.load(LANES, 32)), round);
  const n = f32x4.sub(biased, round);
  let r = f32x4.sub(clamped, f32x4.mul(n, v128.load(LANES, 64)));
  r = f32x4.sub(r, f32x4.mul(n, v128.load(LANES, 80)));
  let p = f32x4.add(f32x4.mul(v128.load(LANES, 96), r), v128.load(LANES, 112));
  p = f32x4.add(f32x4.mul(p, r), v128.load(LANES, 128));
  p = f32x4.add(f32x4.mul(p, r), v128.load(LANES, 144));
  p = f32x4.add(f32x4.mul(p, r), v128.load(LANES, 160));
  p = f32x4.add(f32x4.mul(f32x4.mul(p, r), r), r);
  p = f32x4.add(p, v128.load(LANES, 176));
  const power = i32x4.shl(i32x4.add(biased, v128.load(EXPONENT)), 23);
  return v128.and(f32x4.mul(p, power), f32x4.ge(x, lowest));
}

/** exp of one value: the scalar twin of `exp4`, the same bits. */
export function exp1(x: f32): f32 {
  if (!(x >= LOWEST)) return 0;
  const clamped: f32 = x < HIGHEST ? x : HIGHEST;
  const n: f32 = clamped * LOG2E + ROUND - ROUND;
  let r: f32 = clamped - n * LN2_HI;
  r = r - n * LN2_LO;
  let p: f32 = P4 * r + P3;
  p = p * r + P2;
  p = p * r + P1;
  p = p * r + P0;
  p = p * r * r + r;
  p = p + 1;
  return p * reinterpret<f32>((<i32>n + 127) << 23);
}

/** out[i] = exp(x[i]), n a multiple of 4. */
export function expRow(out: usize, x: usize, n: u32): void {
  for (let end = out + (n << 2); out < end; out += 16, x += 16) v128.store(out, exp4(v128.load(x)));
}

export function expRowRef(out: usize, x: usize, n: u32): void {
  for (let i: u32 = 0; i < n; ++i) store<f32>(out + (i << 2), exp1(load<f32>(x + (i << 2))));
}
