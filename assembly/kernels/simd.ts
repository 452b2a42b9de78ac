/**
 * Small vector idioms shared by the kernels; the one file that names a relaxed intrinsic.
 *
 * Constants of hot loops live in memory: a `const` v128 is propagated into every use and rebuilt inside the loop, while
 * a value loaded once stays in a register (1.45 times the rate in the probe that the design rests on; not measured here).
 */

/** Vector constants, 16 bytes each. */
export const CONSTANTS: usize = memory.data<u32>(
  [
    0x000f000f, 0x000f000f, 0x000f000f, 0x000f000f, // nibble mask of an i16 lane
    0x8fffe000, 0x8fffe000, 0x8fffe000, 0x8fffe000, // sign, exponent and mantissa of a widened f16
    0x77800000, 0x77800000, 0x77800000, 0x77800000, // 2^112 as f32
    0x0f0f0f0f, 0x0f0f0f0f, 0x0f0f0f0f, 0x0f0f0f0f, // nibble mask of a byte
    0x00010001, 0x00010001, 0x00010001, 0x00010001, // 1 in every i16
    0x4b400000, 0x4b400000, 0x4b400000, 0x4b400000, // 1.5 * 2^23 as f32
  ],
  16,
);

// @ts-ignore: decorator
@inline
export function nibbleMask(): v128 {
  return v128.load(CONSTANTS);
}

// @ts-ignore: decorator
@inline
export function byteNibbleMask(): v128 {
  return v128.load(CONSTANTS, 48);
}

/** What `loadHalf4` takes: sign, exponent and mantissa of a widened f16, and 2^112. */
// @ts-ignore: decorator
@inline
export function halfMask(): v128 {
  return v128.load(CONSTANTS, 16);
}

// @ts-ignore: decorator
@inline
export function halfBias(): v128 {
  return v128.load(CONSTANTS, 32);
}

/** 1.5 * 2^23: adding it to |x| < 2^22 rounds to the nearest even integer, which is then in the low bits. */
// @ts-ignore: decorator
@inline
export function roundMagic(): v128 {
  return v128.load(CONSTANTS, 80);
}

/** Ones in i16 lanes: a dot with them adds neighbours. */
// @ts-ignore: decorator
@inline
export function pairOnes(): v128 {
  return v128.load(CONSTANTS, 64);
}

/**
 * acc (8 x i16) + sums of two products each: activations in int8 times nibbles. The relaxed dot is exact here on every
 * engine, since its second operand holds 4-bit values; at most 3,810 a sum, so that 8 of them fit an i16.
 */
// @ts-ignore: decorator
@inline
export function addNibbles(acc: v128, activations: v128, nibbles: v128): v128 {
  return i16x8.add(acc, v128.relaxed_dot<i16>(activations, nibbles));
}

/**
 * acc (4 x i32) + sums of four products each: int8 times 0..127. A sum of two products is at most 2 * 127 * 127 < 2^15 and
 * the second operand has 7 bits, so that the relaxed dot is exact on every engine.
 */
// @ts-ignore: decorator
@inline
export function addBytes(acc: v128, signed: v128, unsigned7: v128, ones: v128): v128 {
  return i32x4.add(acc, i32x4.dot_i16x8_s(v128.relaxed_dot<i16>(signed, unsigned7), ones));
}

/**
 * Four f16 at `ptr + offset` as f32, exact for zeros, normals and subnormals (not for infinities and NaN, which the
 * loader refuses in scales): the 15 bits move to the f32 position, and 2^112 mends the exponent bias (127 - 15).
 */
// @ts-ignore: decorator
@inline
export function loadHalf4(ptr: usize, offset: usize, mask: v128, bias: v128): v128 {
  return f32x4.mul(v128.and(i32x4.shl(v128.load16x4_s(ptr + offset), 13), mask), bias);
}

/** acc + the dot products of i16 pairs: weights (4 rows x 2 columns) times one pair of activations in every lane. */
// @ts-ignore: decorator
@inline
export function addPairs(acc: v128, weights: v128, pair: v128): v128 {
  return i32x4.add(acc, i32x4.dot_i16x8_s(weights, pair));
}

/**
 * Pair k of a vector of four, in every lane. A shuffle, not a splat load: V8 moves all loads of a basic block to its front,
 * where sixteen splats spill; one vector load and shuffles next to their use do not.
 */
// @ts-ignore: decorator
@inline
export function pair0(x: v128): v128 {
  return v128.shuffle<i32>(x, x, 0, 0, 0, 0);
}

// @ts-ignore: decorator
@inline
export function pair1(x: v128): v128 {
  return v128.shuffle<i32>(x, x, 1, 1, 1, 1);
}

// @ts-ignore: decorator
@inline
export function pair2(x: v128): v128 {
  return v128.shuffle<i32>(x, x, 2, 2, 2, 2);
}

// @ts-ignore: decorator
@inline
export function pair3(x: v128): v128 {
  return v128.shuffle<i32>(x, x, 3, 3, 3, 3);
}

/** (l0 + l1) + (l2 + l3): the contract's order of summing four lanes. */
// @ts-ignore: decorator
@inline
export function sumLanes(v: v128): f32 {
  return (
    f32x4.extract_lane(v, 0) + f32x4.extract_lane(v, 1) + (f32x4.extract_lane(v, 2) + f32x4.extract_lane(v, 3))
  );
}
