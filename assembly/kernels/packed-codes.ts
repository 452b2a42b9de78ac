/**
 * The codes of a block of 16 x 2 (cache/packed-page.ts) as four vectors of i16, entries 4 k .. 4 k + 3 as pairs: what an
 * integer dot with a splat pair takes, a lane for each entry.
 */
import { blockBytes } from "../cache/packed-page";
import { KvForm } from "../memory/status";
import { loadHalf4, nibbleMask } from "./simd";

// What loadHalf4 takes: sign, exponent and mantissa of a widened f16, and 2^112.
const HALF_MASK: u32 = 0x8fffe000;
const HALF_BIAS: f32 = 5.192296858534828e33;

/** Vector k = 0..3 of a Q8 block. */
// @ts-ignore: decorator
@inline
function bytes4(block: usize, k: usize): v128 {
  return v128.load8x8_s(block + (k << 3));
}

/** Vector k of a Q4 block that is loaded as `v`. */
// @ts-ignore: decorator
@inline
function nibbles4(v: v128, k: i32, mask: v128): v128 {
  if (k == 0) return v128.and(v, mask);
  if (k == 3) return i16x8.shr_u(v, 12);
  return v128.and(i16x8.shr_u(v, k << 2), mask);
}

/** One bit in each byte, for the third bits of Q3. */
const BITS: usize = memory.data<u8>([1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128], 16);

/** Q3 blocks as Q8 blocks with codes 0..7: from 12 to 32 bytes each. */
export function expandThirds(out: usize, codes: usize, nBlocks: u32): void {
  const bits = v128.load(BITS);
  const three = i8x16.splat(3);
  const four = i8x16.splat(4);
  for (let end = codes + <usize>nBlocks * blockBytes(KvForm.Q3); codes < end; codes += 12, out += 32) {
    const low = v128.load64_splat(codes);
    const high = v128.load32_splat(codes + 8);
    const first = v128.shuffle<i64>(v128.and(low, three), v128.and(i8x16.shr_u(low, 2), three), 0, 2);
    const second = v128.shuffle<i64>(v128.and(i8x16.shr_u(low, 4), three), v128.and(i8x16.shr_u(low, 6), three), 0, 2);
    const h0 = v128.shuffle<i8>(high, high, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    const h1 = v128.shuffle<i8>(high, high, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    v128.store(out, v128.or(first, v128.and(i8x16.eq(v128.and(h0, bits), bits), four)));
    v128.store(out, v128.or(second, v128.and(i8x16.eq(v128.and(h1, bits), bits), four)), 16);
  }
}

/** Blocks in two planes as Q8 blocks: all high nibbles, then all low ones, of code + 128. */
export function expandPlanes(out: usize, codes: usize, nBlocks: u32): void {
  const mask = nibbleMask();
  const middle = i16x8.splat(128);
  const planes = <usize>nBlocks << 4;
  for (let end = codes + planes; codes < end; codes += 16, out += 32) {
    const high = v128.load(codes);
    const low = v128.load(codes + planes);
    const c0 = v128.or(i16x8.shl(v128.and(high, mask), 4), v128.and(low, mask));
    const c1 = v128.or(v128.and(high, i16x8.shl(mask, 4)), v128.and(i16x8.shr_u(low, 4), mask));
    const c2 = v128.or(i16x8.shl(v128.and(i16x8.shr_u(high, 8), mask), 4), v128.and(i16x8.shr_u(low, 8), mask));
    const c3 = v128.or(i16x8.shl(i16x8.shr_u(high, 12), 4), i16x8.shr_u(low, 12));
    v128.store(out, i8x16.narrow_i16x8_s(i16x8.sub(c0, middle), i16x8.sub(c1, middle)));
    v128.store(out, i8x16.narrow_i16x8_s(i16x8.sub(c2, middle), i16x8.sub(c3, middle)), 16);
  }
}

// @ts-ignore: decorator
@inline
export function maskOf(form: KvForm): v128 {
  return form == KvForm.Q4 ? nibbleMask() : i32x4.splat(0);
}

/** Vector k of a block: of nibbles where `form` is Q4, else of bytes. */
// @ts-ignore: decorator
@inline
export function codes4(block: usize, form: KvForm, k: i32, mask: v128): v128 {
  return form == KvForm.Q4 ? nibbles4(v128.load(block), k, mask) : bytes4(block, k);
}

/** Four f16 scales or minima as f32. */
// @ts-ignore: decorator
@inline
export function scales4(halves: usize): v128 {
  return loadHalf4(halves, 0, i32x4.splat(HALF_MASK), f32x4.splat(HALF_BIAS));
}
