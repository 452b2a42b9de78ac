/**
 * Integer dots of packed codes with multipliers of up to 8 bits, for scores and weighted values alike:
 *
 *   dots[h][8 o + i] = sum over fours k, members e of code(block k of octet o, i, e) * x[h][4 k + e]        i = 0..7
 *
 * Codes as they lie (cache/packed-page.ts): keys in bytes with 64 added. Exact, so that order and width are free: builds with
 * relaxed SIMD take 16 products at a time, the others 8 of i16 pairs. Three rows of multipliers share every load of a code.
 *
 * Nibbles: a sum of 8 fours is at most 8 * 2 * 15 * 127 < 2^15 in an i16 lane.
 *
 * Shapes: dots i32 [nRows][DOTS_STRIDE / 4]; blocks of an octet beside each other, octets `octetBytes` apart; x nFours times
 * QUAD_BYTES (quantize-query.ts), rows xStride apart.
 */
import { KvForm } from "../memory/status";
import { QUAD_BYTES } from "./quantize-query";
import { readOn } from "./read-ahead";
import { addBytes, addNibbles, addPairs, byteNibbleMask, nibbleMask, pairOnes } from "./simd";

/** Bytes between the rows of dots: those of 64 entries. */
export const DOTS_STRIDE: usize = 256;
/** Room for three rows. */
export const DOTS_BYTES: usize = 3 * DOTS_STRIDE;
/** Fours of members whose dots of nibbles fit 16 bits. */
const CHUNK: usize = 8;

/** The sums of neighbours in a and b: of lanes (0 + 1, 2 + 3) of each. */
// @ts-ignore: decorator
@inline
function addNeighbours(a: v128, b: v128): v128 {
  return i32x4.add(v128.shuffle<i32>(a, b, 0, 2, 4, 6), v128.shuffle<i32>(a, b, 1, 3, 5, 7));
}

/** Bytes times bytes; `isKeys`: the codes are the ones without a sign. */
// @ts-ignore: decorator
@inline
function addFour(acc: v128, codes: v128, x: v128, isKeys: bool, ones: v128): v128 {
  return isKeys ? addBytes(acc, x, codes, ones) : addBytes(acc, codes, x, ones);
}

/** Stores an octet's dots of one row (a) or three. */
// @ts-ignore: decorator
@inline
function putOctet(dots: usize, a0: v128, a1: v128, b0: v128, b1: v128, c0: v128, c1: v128, nRows: u32): void {
  v128.store(dots, a0);
  v128.store(dots, a1, 16);
  if (nRows == 3) {
    v128.store(dots, b0, DOTS_STRIDE);
    v128.store(dots, b1, DOTS_STRIDE + 16);
    v128.store(dots, c0, 2 * DOTS_STRIDE);
    v128.store(dots, c1, 2 * DOTS_STRIDE + 16);
  }
}

/** One octet of bytes, 16 products at a time. */
// @ts-ignore: decorator
@inline
function octetBytes16(dots: usize, blocks: usize, nFours: usize, x: usize, xStride: usize, isKeys: bool, nRows: u32): void {
  const ones = pairOnes();
  let a0 = i32x4.splat(0);
  let a1 = a0;
  let b0 = a0;
  let b1 = a0;
  let c0 = a0;
  let c1 = a0;
  for (let end = blocks + (nFours << 5); blocks < end; blocks += 32, x += 4) {
    const k0 = v128.load(blocks);
    const k1 = v128.load(blocks, 16);
    const xa = v128.load32_splat(x);
    a0 = addFour(a0, k0, xa, isKeys, ones);
    a1 = addFour(a1, k1, xa, isKeys, ones);
    if (nRows == 3) {
      const xb = v128.load32_splat(x + xStride);
      b0 = addFour(b0, k0, xb, isKeys, ones);
      b1 = addFour(b1, k1, xb, isKeys, ones);
      const xc = v128.load32_splat(x + 2 * xStride);
      c0 = addFour(c0, k0, xc, isKeys, ones);
      c1 = addFour(c1, k1, xc, isKeys, ones);
    }
  }
  putOctet(dots, a0, a1, b0, b1, c0, c1, nRows);
}

/** Half an octet of bytes, pairs of i16: entries 4 half .. 4 half + 3. */
// @ts-ignore: decorator
@inline
function halfBytes8(dots: usize, blocks: usize, nFours: usize, x: usize, xStride: usize, nRows: u32): void {
  let a0 = i32x4.splat(0);
  let a1 = a0;
  let b0 = a0;
  let b1 = a0;
  let c0 = a0;
  let c1 = a0;
  for (let end = blocks + (nFours << 5); blocks < end; blocks += 32, x += 8) {
    const k0 = v128.load8x8_s(blocks);
    const k1 = v128.load8x8_s(blocks, 8);
    const xa = v128.load64_splat(x);
    a0 = addPairs(a0, k0, xa);
    a1 = addPairs(a1, k1, xa);
    if (nRows == 3) {
      const xb = v128.load64_splat(x + xStride);
      b0 = addPairs(b0, k0, xb);
      b1 = addPairs(b1, k1, xb);
      const xc = v128.load64_splat(x + 2 * xStride);
      c0 = addPairs(c0, k0, xc);
      c1 = addPairs(c1, k1, xc);
    }
  }
  v128.store(dots, addNeighbours(a0, a1));
  if (nRows == 3) {
    v128.store(dots, addNeighbours(b0, b1), DOTS_STRIDE);
    v128.store(dots, addNeighbours(c0, c1), 2 * DOTS_STRIDE);
  }
}

/** Stores the dots of a chunk, or adds them to those of the chunks before. */
// @ts-ignore: decorator
@inline
function putChunk(dots: usize, a0: v128, a1: v128, isFirst: bool): void {
  if (!isFirst) {
    a0 = i32x4.add(a0, v128.load(dots));
    a1 = i32x4.add(a1, v128.load(dots, 16));
  }
  v128.store(dots, a0);
  v128.store(dots, a1, 16);
}

/** A chunk of an octet of nibbles, 16 products at a time. */
// @ts-ignore: decorator
@inline
function chunkNibbles16(dots: usize, blocks: usize, nFours: usize, x: usize, xStride: usize, isFirst: bool, nRows: u32): void {
  const low = byteNibbleMask();
  let a0 = i16x8.splat(0);
  let a1 = a0;
  let b0 = a0;
  let b1 = a0;
  let c0 = a0;
  let c1 = a0;
  for (let end = blocks + (nFours << 4); blocks < end; blocks += 16, x += 4) {
    const codes = v128.load(blocks);
    const k0 = v128.and(codes, low);
    const k1 = v128.and(i16x8.shr_u(codes, 4), low);
    const xa = v128.load32_splat(x);
    a0 = addNibbles(a0, xa, k0);
    a1 = addNibbles(a1, xa, k1);
    if (nRows == 3) {
      const xb = v128.load32_splat(x + xStride);
      b0 = addNibbles(b0, xb, k0);
      b1 = addNibbles(b1, xb, k1);
      const xc = v128.load32_splat(x + 2 * xStride);
      c0 = addNibbles(c0, xc, k0);
      c1 = addNibbles(c1, xc, k1);
    }
  }
  const ones = pairOnes();
  putChunk(dots, i32x4.dot_i16x8_s(a0, ones), i32x4.dot_i16x8_s(a1, ones), isFirst);
  if (nRows == 3) {
    putChunk(dots + DOTS_STRIDE, i32x4.dot_i16x8_s(b0, ones), i32x4.dot_i16x8_s(b1, ones), isFirst);
    putChunk(dots + 2 * DOTS_STRIDE, i32x4.dot_i16x8_s(c0, ones), i32x4.dot_i16x8_s(c1, ones), isFirst);
  }
}

/** An octet of nibbles, pairs of i16: nibble n of an i16 lane is of entry 4 (n mod 2) + lane / 2, member 2 (lane mod 2) + n / 2. */
// @ts-ignore: decorator
@inline
function octetNibbles8(dots: usize, blocks: usize, nFours: usize, x: usize, xStride: usize, nRows: u32): void {
  const mask = nibbleMask();
  let a0 = i32x4.splat(0);
  let a1 = a0;
  let b0 = a0;
  let b1 = a0;
  let c0 = a0;
  let c1 = a0;
  for (let end = blocks + (nFours << 4); blocks < end; blocks += 16, x += 8) {
    const codes = v128.load(blocks);
    const k0 = v128.and(codes, mask);
    const k1 = v128.and(i16x8.shr_u(codes, 4), mask);
    const k2 = v128.and(i16x8.shr_u(codes, 8), mask);
    const k3 = i16x8.shr_u(codes, 12);
    const xa = v128.load32_splat(x);
    const ya = v128.load32_splat(x, 4);
    a0 = addPairs(addPairs(a0, k0, xa), k2, ya);
    a1 = addPairs(addPairs(a1, k1, xa), k3, ya);
    if (nRows == 3) {
      const xb = v128.load32_splat(x + xStride);
      const yb = v128.load32_splat(x + xStride, 4);
      b0 = addPairs(addPairs(b0, k0, xb), k2, yb);
      b1 = addPairs(addPairs(b1, k1, xb), k3, yb);
      const xc = v128.load32_splat(x + 2 * xStride);
      const yc = v128.load32_splat(x + 2 * xStride, 4);
      c0 = addPairs(addPairs(c0, k0, xc), k2, yc);
      c1 = addPairs(addPairs(c1, k1, xc), k3, yc);
    }
  }
  putOctet(dots, a0, a1, b0, b1, c0, c1, nRows);
}

// @ts-ignore: decorator
@inline
function dotsBytes(
  dots: usize, codes: usize, nOctets: u32, stride: usize, nFours: usize, x: usize, xStride: usize, isKeys: bool, nRows: u32,
): void {
  for (let o: u32 = 0; o < nOctets; ++o, codes += stride, dots += 32) {
    readOn(dots);
    if (ASC_FEATURE_RELAXED_SIMD) octetBytes16(dots, codes, nFours, x, xStride, isKeys, nRows);
    else {
      halfBytes8(dots, codes, nFours, x, xStride, nRows);
      halfBytes8(dots + 16, codes + 16, nFours, x, xStride, nRows);
    }
  }
}

// @ts-ignore: decorator
@inline
function dotsNibbles(dots: usize, codes: usize, nOctets: u32, stride: usize, nFours: usize, x: usize, xStride: usize, nRows: u32): void {
  for (let o: u32 = 0; o < nOctets; ++o, codes += stride, dots += 32) {
    readOn(dots);
    if (ASC_FEATURE_RELAXED_SIMD) {
      for (let k: usize = 0; k < nFours; k += CHUNK) {
        chunkNibbles16(dots, codes + (k << 4), min<usize>(CHUNK, nFours - k), x + k * QUAD_BYTES, xStride, k == 0, nRows);
      }
    } else octetNibbles8(dots, codes, nFours, x, xStride, nRows);
  }
}

function keyBytes1(dots: usize, codes: usize, nOctets: u32, stride: usize, nFours: usize, x: usize, xStride: usize): void {
  dotsBytes(dots, codes, nOctets, stride, nFours, x, xStride, true, 1);
}
function keyBytes3(dots: usize, codes: usize, nOctets: u32, stride: usize, nFours: usize, x: usize, xStride: usize): void {
  dotsBytes(dots, codes, nOctets, stride, nFours, x, xStride, true, 3);
}
function valueBytes1(dots: usize, codes: usize, nOctets: u32, stride: usize, nFours: usize, x: usize, xStride: usize): void {
  dotsBytes(dots, codes, nOctets, stride, nFours, x, xStride, false, 1);
}
function valueBytes3(dots: usize, codes: usize, nOctets: u32, stride: usize, nFours: usize, x: usize, xStride: usize): void {
  dotsBytes(dots, codes, nOctets, stride, nFours, x, xStride, false, 3);
}
function nibbles1(dots: usize, codes: usize, nOctets: u32, stride: usize, nFours: usize, x: usize, xStride: usize): void {
  dotsNibbles(dots, codes, nOctets, stride, nFours, x, xStride, 1);
}
function nibbles3(dots: usize, codes: usize, nOctets: u32, stride: usize, nFours: usize, x: usize, xStride: usize): void {
  dotsNibbles(dots, codes, nOctets, stride, nFours, x, xStride, 3);
}

/** `form`: Q8 or Q4, as the codes lie; `nRows`: 1 or 3. */
// @ts-ignore: decorator
@inline
export function packedDots(
  dots: usize, codes: usize, nOctets: u32, stride: usize, nFours: usize, x: usize, xStride: usize, form: KvForm, isKeys: bool, nRows: u32,
): void {
  if (form == KvForm.Q4) {
    if (nRows == 3) nibbles3(dots, codes, nOctets, stride, nFours, x, xStride);
    else nibbles1(dots, codes, nOctets, stride, nFours, x, xStride);
  } else if (isKeys) {
    if (nRows == 3) keyBytes3(dots, codes, nOctets, stride, nFours, x, xStride);
    else keyBytes1(dots, codes, nOctets, stride, nFours, x, xStride);
  } else if (nRows == 3) valueBytes3(dots, codes, nOctets, stride, nFours, x, xStride);
  else valueBytes1(dots, codes, nOctets, stride, nFours, x, xStride);
}
