/**
 * exp, ln, cos and sin to some 90 digits: series in fixed-point BigInt, shared with nothing. Slow, for the tests of
 * assembly/kernels/double.ts, whose errors are below what `Math` can show.
 * @module
 */

const BITS = 300n;
const ONE = 1n << BITS;

/** A finite f64 as a multiple of 2^-300, exact above 2^-248. */
export function toFixed(x: number): bigint {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, x);
  const bits = view.getBigUint64(0);
  const exponent = Number((bits >> 52n) & 0x7ffn);
  const fraction = (bits & 0xfffffffffffffn) | (exponent === 0 ? 0n : 1n << 52n);
  const shift = BigInt(Math.max(exponent, 1) - 1075) + BITS;
  const magnitude = shift >= 0n ? fraction << shift : fraction >> -shift;
  return bits >> 63n === 1n ? -magnitude : magnitude;
}

/** The nearest number JavaScript has, for a difference or a quotient already made. */
export function toNumber(x: bigint): number {
  const magnitude = x < 0n ? -x : x;
  const excess = BigInt(Math.max(magnitude.toString(2).length - 64, 0));
  return (x < 0n ? -1 : 1) * Number(magnitude >> excess) * 2 ** (Number(excess) - Number(BITS));
}

function multiply(a: bigint, b: bigint): bigint {
  return (a * b) >> BITS;
}

/** atanh(1 / k), or atan(1 / k) with alternating signs. */
function inverseSeries(k: bigint, alternate: boolean): bigint {
  let power = ONE / k;
  let sum = power;
  for (let n = 3n, sign = -1n; power !== 0n; n += 2n, sign = -sign) {
    power /= k * k;
    sum += (alternate ? sign : 1n) * (power / n);
  }
  return sum;
}

const LN2 = 2n * inverseSeries(3n, false);
const PI = 4n * (4n * inverseSeries(5n, true) - inverseSeries(239n, true));

function nearestQuotient(x: bigint, unit: bigint): bigint {
  const doubled = 2n * x + unit;
  const quotient = doubled / (2n * unit);
  return doubled < 0n && quotient * 2n * unit !== doubled ? quotient - 1n : quotient;
}

function expSeries(r: bigint): bigint {
  let term = ONE;
  let sum = ONE;
  for (let n = 1n; term !== 0n && n < 200n; ++n) {
    term = multiply(term, r) / n;
    sum += term;
  }
  return sum;
}

/** exp(x) = mantissa 2^exponent, mantissa (fixed) in [0.7, 1.42]. */
export function expFixed(x: bigint): { mantissa: bigint; exponent: number } {
  const n = nearestQuotient(x, LN2);
  return { mantissa: expSeries(x - n * LN2), exponent: Number(n) };
}

/** ln(x) by Newton's steps on exp, from a start that `Math.log` gives. */
export function lnFixed(x: number): bigint {
  const exponent = Math.floor(Math.log2(x));
  const mantissa = toFixed(x / 2 ** exponent);
  let y = toFixed(Math.log(x / 2 ** exponent));
  for (let i = 0; i < 4; ++i) y += 2n * (((mantissa - expSeries(y)) << BITS) / (mantissa + expSeries(y)));
  return y + BigInt(exponent) * LN2;
}

/** cos(x), sin(x). */
export function cosSinFixed(x: bigint): { cos: bigint; sin: bigint } {
  const quadrant = nearestQuotient(x, PI / 2n);
  const r = x - (quadrant * PI) / 2n;
  const terms = { cos: 0n, sin: 0n };
  let term = ONE;
  for (let n = 0n; term !== 0n && n < 200n; ++n) {
    const sign = (n >> 1n) % 2n === 0n ? 1n : -1n;
    terms[n % 2n === 0n ? "cos" : "sin"] += sign * term;
    term = multiply(term, r) / (n + 1n);
  }
  const { cos, sin } = terms;
  const turns = [
    { cos, sin },
    { cos: -sin, sin: cos },
    { cos: -cos, sin: -sin },
    { cos: sin, sin: -cos },
  ];
  return turns[Number(((quadrant % 4n) + 4n) % 4n)]!;
}
