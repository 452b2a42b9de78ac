/**
 * Codes of a page in forms that no dot takes as they lie, expanded to those of nibbles or bytes (cache/packed-page.ts).
 */
import { blockBytes } from "../cache/packed-page";
import { KvForm } from "../memory/status";
import { byteNibbleMask } from "./simd";

/** One bit in each byte, for the third bits of Q3; then 3 and 4 in every byte. */
const BITS: usize = memory.data<u8>(
  [
    1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128,
    3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3,
    4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4,
  ],
  16,
);

/** Q3 blocks as Q4 blocks with codes 0..7: from 12 to 16 bytes each. */
export function expandThirds(out: usize, codes: usize, nBlocks: u32): void {
  const bits = v128.load(BITS);
  const three = v128.load(BITS, 16);
  const four = v128.load(BITS, 32);
  for (let end = codes + <usize>nBlocks * blockBytes(KvForm.Q3); codes < end; codes += 12, out += 16) {
    const low = v128.load64_splat(codes);
    const high = v128.load32_splat(codes + 8);
    const first = v128.shuffle<i64>(v128.and(low, three), v128.and(i16x8.shr_u(low, 2), three), 0, 2);
    const second = v128.shuffle<i64>(v128.and(i16x8.shr_u(low, 4), three), v128.and(i16x8.shr_u(low, 6), three), 0, 2);
    const h0 = v128.shuffle<i8>(high, high, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    const h1 = v128.shuffle<i8>(high, high, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const c0 = v128.or(first, v128.and(i8x16.eq(v128.and(h0, bits), bits), four));
    const c1 = v128.or(second, v128.and(i8x16.eq(v128.and(h1, bits), bits), four));
    v128.store(out, v128.or(c0, i16x8.shl(c1, 4)));
  }
}

/** Blocks in two planes as Q8 blocks of keys: all high nibbles, then all low ones. */
export function expandPlanes(out: usize, codes: usize, nBlocks: u32): void {
  const low = byteNibbleMask();
  const planes = <usize>nBlocks << 4;
  for (let end = codes + planes; codes < end; codes += 16, out += 32) {
    const h = v128.load(codes);
    const l = v128.load(codes + planes);
    v128.store(out, v128.or(i16x8.shl(v128.and(h, low), 4), v128.and(l, low)));
    v128.store(out, v128.or(v128.andnot(h, low), v128.and(i16x8.shr_u(l, 4), low)), 16);
  }
}
