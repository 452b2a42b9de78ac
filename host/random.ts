/**
 * A small seeded generator whose numbers are the same on every host: integer operations only (`Math.imul`, shifts, xor; 64
 * bits for the seed), and one exact conversion to f64.
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

import { wrongOption } from "./options.ts";

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
    throw wrongOption("seed", `seed must be an integer in 0..2^53-1, got ${String(seed)}`);
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

/** Two numbers of splitmix64, as four words. */
function seedState(seed: number): Uint32Array {
  const u64 = (x: bigint): bigint => BigInt.asUintN(64, x);
  const s = new Uint32Array(4);
  let counter = BigInt(seed);
  for (let i = 0; i < 4; i += 2) {
    counter = u64(counter + 0x9e3779b97f4a7c15n);
    let z = u64((counter ^ (counter >> 30n)) * 0xbf58476d1ce4e5b9n);
    z = u64((z ^ (z >> 27n)) * 0x94d049bb133111ebn);
    z ^= z >> 31n;
    s[i] = Number(z & 0xffff_ffffn);
    s[i + 1] = Number(z >> 32n);
  }
  return s;
}

function checkState(state: readonly number[]): void {
  const isWord = (word: number) => Number.isInteger(word) && word >= 0 && word <= 0xffffffff;
  if (!Array.isArray(state) || state.length !== 4 || !state.every(isWord) || state.every((word) => word === 0)) {
    throw wrongOption("state", "a generator state is four integers in 0..2^32-1, not all zero");
  }
}
