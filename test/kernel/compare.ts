/**
 * What "equal" means in the tests of kernels: the same bits, or an error within a bound that the test states.
 * @module
 */
import * as assert from "uvu/assert";

/** Unit roundoff of f32: half the distance of 1 and the next number. */
export const UNIT = 2 ** -24;

/** The same bits, zeros' signs and NaN included. */
export function sameBits(actual: Float32Array, expected: Float32Array, what: string): void {
  assert.is(actual.length, expected.length, `${what}: length`);
  const a = new Uint32Array(actual.buffer, actual.byteOffset, actual.length);
  const b = new Uint32Array(expected.buffer, expected.byteOffset, expected.length);
  const wrong = a.findIndex((bits, i) => bits !== b[i]);
  if (wrong < 0) return;
  const values = `${actual[wrong]} (${a[wrong]!.toString(16)}), expected ${expected[wrong]} (${b[wrong]!.toString(16)})`;
  assert.unreachable(`${what}: element ${wrong} is ${values}`);
}

/** The same bits, but any NaN equals any other: arithmetic leaves a NaN's bits to the host. */
export function sameValues(actual: Float32Array, expected: Float32Array, what: string): void {
  const canonical = (x: Float32Array) => x.map((value) => (Number.isNaN(value) ? Number.NaN : value));
  sameBits(canonical(actual), canonical(expected), what);
}

/** The same bytes. */
export function sameBytes(actual: Uint8Array, expected: Uint8Array, what: string): void {
  assert.is(actual.length, expected.length, `${what}: length`);
  const wrong = actual.findIndex((byte, i) => byte !== expected[i]);
  if (wrong >= 0) assert.unreachable(`${what}: byte ${wrong} is ${actual[wrong]}, expected ${expected[wrong]}`);
}

/**
 * |actual[i] - expected[i]| <= bound(i). Returns the largest error as a share of its bound, so that a test can say how
 * much of it was used.
 */
export function within(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  bound: (i: number) => number,
  what: string,
): number {
  assert.is(actual.length, expected.length, `${what}: length`);
  let worst = 0;
  for (let i = 0; i < actual.length; ++i) {
    const error = Math.abs(actual[i]! - expected[i]!);
    const allowed = bound(i);
    if (!(error <= allowed)) {
      assert.unreachable(`${what}: element ${i} is ${actual[i]}, expected ${expected[i]} within ${allowed}`);
    }
    if (error > 0) worst = Math.max(worst, error / allowed);
  }
  return worst;
}

/** Distance of an f32 from the true value, in units in the last place of the f32 nearest to the truth. */
export function ulps(actual: number, truth: number): number {
  return Math.abs(actual - truth) / ulpOf(truth);
}

/** One unit in the last place of an f32 of this size. */
export function ulpOf(x: number): number {
  return 2 ** (Math.max(Math.floor(Math.log2(Math.abs(x))), -126) - 23);
}

/** A measured error for the log, in place of a number in a comment that nobody checks. */
export function report(what: string, value: number, unit: string): void {
  if (process.env.THIMBLE_REPORT !== undefined) console.log(`  ${what}: ${value.toPrecision(3)} ${unit}`);
}
