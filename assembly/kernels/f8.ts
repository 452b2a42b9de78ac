/**
 * Floats of 8 bits, the top of a binary16, for numbers that need not be exact since codes are made with the rounded ones:
 *
 *   without sign, 5 + 3 bits: bits 14..7 of a binary16, rounded up      scales and factors; at most 61,440
 *   with sign,    5 + 2 bits: bits 15..8, to the nearest, ties to even  means; at most 57,344
 */
import { halfToFloat, roundToHalf } from "./f16";
import { halfBias } from "./simd";

/** The scale's bits, not below x (but for a half's rounding). */
export function roundUpToByte(x: f32): u32 {
  return min<u32>((roundToHalf(x) + 127) >> 7, 0xf7);
}

export function unsignedByteToFloat(bits: u32): f32 {
  return halfToFloat(bits << 7);
}

export function roundToByte(x: f32): u32 {
  const half = roundToHalf(x);
  const magnitude = half & 0x7fff;
  return min<u32>((magnitude + 0x7f + ((magnitude >> 8) & 1)) >> 8, 0x7b) | ((half >> 8) & 0x80);
}

export function byteToFloat(bits: u32): f32 {
  return halfToFloat(bits << 8);
}

/** Four without a sign as f32; 2^112 mends the exponent bias, as in loadHalf4 (simd.ts). */
// @ts-ignore: decorator
@inline
export function unsignedBytes4(bytes: usize): v128 {
  const wide = i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(v128.load32_zero(bytes)));
  return f32x4.mul(i32x4.shl(wide, 20), halfBias());
}

/** Four with a sign as f32. */
// @ts-ignore: decorator
@inline
export function bytes4ToFloat(bytes: usize): v128 {
  const wide = i32x4.extend_low_i16x8_s(i16x8.extend_low_i8x16_s(v128.load32_zero(bytes)));
  return f32x4.mul(v128.and(i32x4.shl(wide, 21), i32x4.splat(0x8fe00000)), halfBias());
}
