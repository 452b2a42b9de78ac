/**
 * A checksum of 64 bits over words, for pages in capsules and for weights: it tells changed bytes and different contents
 * apart, fast; against someone who means harm stand the hashes of host/capsule/seal.ts. Built from the steps of xxHash32
 * (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md), on 16 lanes:
 *
 *   lane i = 0..15:  seed + (i + 1) P1;  for its words w = i, i + 16, ..:  lane = rotl(lane + x[w] P2, 13) P1
 *   low = seed ^ n, high = n P3;  for every lane:  low = rotl(low + lane P2, 17) P1;  high = rotl(high ^ lane P3, 11) P2
 *   both:  h ^= h >> 15, h *= P2, h ^= h >> 13, h *= P3, h ^= h >> 16
 *
 * Every step is one-to-one in the word it takes: one changed word always shows. Shapes: x [n] u32, out [2] u32 (low, high).
 */

const P1: u32 = 0x9e3779b1;
const P2: u32 = 0x85ebca77;
const P3: u32 = 0xc2b2ae3d;

const LANES: usize = memory.data(16 * 4, 16);
/** Loaded once a call: as constants they would be rebuilt in the loop. */
const FACTORS: usize = memory.data<u32>([P1, P2], 16);

/** The lanes, the words behind the last 16 taken in, as one sum. */
function finish(out: usize, x: usize, n: u32, seed: u32): void {
  for (let i = n & ~15; i < n; ++i) {
    const at = LANES + ((i & 15) << 2);
    store<u32>(at, rotl<u32>(load<u32>(at) + load<u32>(x + (<usize>i << 2)) * P2, 13) * P1);
  }
  let low = seed ^ n;
  let high = n * P3;
  for (let at = LANES; at < LANES + 64; at += 4) {
    const lane = load<u32>(at);
    low = rotl<u32>(low + lane * P2, 17) * P1;
    high = rotl<u32>(high ^ (lane * P3), 11) * P2;
  }
  store<u32>(out, avalanche(low));
  store<u32>(out, avalanche(high), 4);
}

function avalanche(h: u32): u32 {
  h = (h ^ (h >> 15)) * P2;
  h = (h ^ (h >> 13)) * P3;
  return h ^ (h >> 16);
}

function start(seed: u32): void {
  for (let i: u32 = 0; i < 16; ++i) store<u32>(LANES + (i << 2), seed + (i + 1) * P1);
}

// @ts-ignore: decorator
@inline
function step(lane: v128, x: v128, p1: v128, p2: v128): v128 {
  const sum = i32x4.add(lane, i32x4.mul(x, p2));
  return i32x4.mul(v128.or(i32x4.shl(sum, 13), i32x4.shr_u(sum, 19)), p1);
}

export function checksum(out: usize, x: usize, n: u32, seed: u32): void {
  start(seed);
  const p1 = v128.load32_splat(FACTORS);
  const p2 = v128.load32_splat(FACTORS, 4);
  let a = v128.load(LANES);
  let b = v128.load(LANES, 16);
  let c = v128.load(LANES, 32);
  let d = v128.load(LANES, 48);
  for (let at = x, end = x + (<usize>(n & ~15) << 2); at < end; at += 64) {
    a = step(a, v128.load(at), p1, p2);
    b = step(b, v128.load(at, 16), p1, p2);
    c = step(c, v128.load(at, 32), p1, p2);
    d = step(d, v128.load(at, 48), p1, p2);
  }
  v128.store(LANES, a);
  v128.store(LANES, b, 16);
  v128.store(LANES, c, 32);
  v128.store(LANES, d, 48);
  finish(out, x, n, seed);
}

export function checksumRef(out: usize, x: usize, n: u32, seed: u32): void {
  start(seed);
  for (let i: u32 = 0; i < (n & ~15); ++i) {
    const at = LANES + ((i & 15) << 2);
    store<u32>(at, rotl<u32>(load<u32>(at) + load<u32>(x + (<usize>i << 2)) * P2, 13) * P1);
  }
  finish(out, x, n, seed);
}
