/** The generator of host/random.ts, word for word: splitmix64 spreads the seed, xoshiro128** draws. */

let s0: u32 = 0;
let s1: u32 = 0;
let s2: u32 = 0;
let s3: u32 = 0;

function mix(counter: u64): u64 {
  let z = (counter ^ (counter >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

/** Begins anew; seed below 2^53. */
export function seedRandom(seed: u64): void {
  const first = mix(seed + 0x9e3779b97f4a7c15);
  const second = mix(seed + 2 * 0x9e3779b97f4a7c15);
  s0 = <u32>first;
  s1 = <u32>(first >> 32);
  s2 = <u32>second;
  s3 = <u32>(second >> 32);
}

function step(): u32 {
  const out = rotl<u32>(s1 * 5, 7) * 9;
  const t = s1 << 9;
  s2 ^= s0;
  s3 ^= s1;
  s1 ^= s2;
  s0 ^= s3;
  s2 ^= t;
  s3 = rotl<u32>(s3, 11);
  return out;
}

/** A number in [0, 1) with 53 random bits. */
export function nextRandom(): f64 {
  const high = step() >> 5;
  const low = step() >> 6;
  return (<f64>high * 67108864 + <f64>low) / 9007199254740992;
}
