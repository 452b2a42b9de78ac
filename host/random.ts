/**
 * A small seeded generator whose numbers are the same on every host: 32-bit integer operations only (`Math.imul`,
 * shifts, xor), and one exact conversion to f64.
 *
 * Seed (0..2^53-1), splitmix64, all modulo 2^64, twice:
 *   z = seed += 0x9e3779b97f4a7c15
 *   z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;  out = z ^ (z >> 31)
 *   (s0, s1) = (low, high) half of the first out, (s2, s3) of the second. Outputs of different counters differ, so the
 *   forbidden state of four zeros cannot come out.
 *
 * Step, xoshiro128** (https://prng.di.unimi.it/xoshiro128starstar.c), all modulo 2^32, period 2^128 - 1:
 *   out = rotl(s1 * 5, 7) * 9
 *   t = s1 << 9;  s2 ^= s0;  s3 ^= s1;  s1 ^= s2;  s0 ^= s3;  s2 ^= t;  s3 = rotl(s3, 11)
 *
 * Number: next() = (floor(a / 2^5) * 2^26 + floor(b / 2^6)) / 2^53 of two successive outputs a, b: exact in f64.
 *
 * Not for secrets: the state follows from a few outputs.
 * @module
 */

import { ThimbleError } from "./errors.ts";

/** The largest seed, 2^53 - 1. */
export const MAX_SEED = Number.MAX_SAFE_INTEGER;

export interface Random {
  /** A number in [0, 1) with 53 random bits; takes two steps of the generator. */
  next(): number;
  /** The four words of the state (u32), as plain data that JSON keeps exactly. */
  state(): number[];
  /**
   * Continues from a state that `state` gave; the numbers that follow are the ones that followed then.
   * @throws ThimbleError invalid_option when it is not four u32, or all four are zero
   */
  restore(state: readonly number[]): void;
}

/**
 * A generator for `seed`, an integer in 0..2^53-1. Every bit of the seed reaches every number.
 * @throws ThimbleError invalid_option
 */
export function createRandom(seed: number): Random {
  if (!Number.isSafeInteger(seed) || seed < 0) {
    throw new ThimbleError("invalid_option", `seed must be an integer in 0..2^53-1, got ${String(seed)}`, {
      name: "seed",
    });
  }
  const s = seedState(seed);
  return {
    next() {
      const high = step(s) >>> 5;
      const low = step(s) >>> 6;
      return (high * 0x4000000 + low) / 0x20000000000000;
    },
    state: () => Array.from(s),
    restore(state) {
      checkState(state);
      s.set(state);
    },
  };
}

/** One step of xoshiro128**; the result is an i32 whose bits are the output. */
function step(s: Uint32Array): number {
  const s1 = s[1]!;
  const x = Math.imul(s1, 5);
  s[2]! ^= s[0]!;
  s[3]! ^= s1;
  s[1] = s1 ^ s[2]!;
  s[0]! ^= s[3]!;
  s[2]! ^= s1 << 9;
  s[3] = (s[3]! << 11) | (s[3]! >>> 21);
  return Math.imul((x << 7) | (x >>> 25), 9);
}

/** A 64-bit word as two u32 halves. */
interface Word {
  readonly low: number;
  readonly high: number;
}

function seedState(seed: number): Uint32Array {
  let counter: Word = { low: seed >>> 0, high: Math.floor(seed / 0x100000000) };
  const s = new Uint32Array(4);
  for (let i = 0; i < 4; i += 2) {
    const low = counter.low + 0x7f4a7c15;
    counter = { low: low >>> 0, high: (counter.high + 0x9e3779b9 + (low > 0xffffffff ? 1 : 0)) >>> 0 };
    let z = multiply(xorShift(counter, 30), 0x1ce4e5b9, 0xbf58476d);
    z = xorShift(multiply(xorShift(z, 27), 0x133111eb, 0x94d049bb), 31);
    s[i] = z.low;
    s[i + 1] = z.high;
  }
  return s;
}

/** x ^ (x >> shift), 0 < shift < 32. */
function xorShift({ low, high }: Word, shift: number): Word {
  return { low: (low ^ ((low >>> shift) | (high << (32 - shift)))) >>> 0, high: (high ^ (high >>> shift)) >>> 0 };
}

/** a * (high * 2^32 + low) modulo 2^64; `upper` is the high half of low * low, from 16-bit limbs. */
function multiply(a: Word, low: number, high: number): Word {
  const a0 = a.low & 0xffff;
  const a1 = a.low >>> 16;
  const b0 = low & 0xffff;
  const b1 = low >>> 16;
  const middle = a1 * b0 + ((a0 * b0) >>> 16);
  const upper = a1 * b1 + (middle >>> 16) + ((a0 * b1 + (middle & 0xffff)) >>> 16);
  return { low: Math.imul(a.low, low) >>> 0, high: (upper + Math.imul(a.low, high) + Math.imul(a.high, low)) >>> 0 };
}

function checkState(state: readonly number[]): void {
  const isWord = (word: number) => Number.isInteger(word) && word >= 0 && word <= 0xffffffff;
  if (!Array.isArray(state) || state.length !== 4 || !state.every(isWord) || state.every((word) => word === 0)) {
    throw new ThimbleError("invalid_option", "a generator state is four integers in 0..2^32-1, not all zero", {
      name: "state",
    });
  }
}
