/**
 * What GEMV and GEMM share of a group block (4 rows x 32 columns): its weights as pairs of i16, and how its integer sums
 * enter the f32 accumulators. `form` is a constant at every call, so that each kernel is compiled for its form.
 */
import { Form, FormFlag } from "../memory/status";
import { bodyBytes, minimaOffset, quadBytes } from "./pack";
import { loadHalf4 } from "./simd";

/** Byte offset of the second vector of bytes, whose first is at `w`; nibbles have one vector only. */
// @ts-ignore: decorator
@inline
export function secondVector(w: usize, first: v128, form: Form): v128 {
  return form & FormFlag.BYTES ? v128.load(w, 16) : first;
}

/** Bytes of one vector step of a group's body. */
// @ts-ignore: decorator
@inline
export function vectorBytes(form: Form): usize {
  return form & FormFlag.BYTES ? 32 : 16;
}

/** Pair k (constant) of a vector step: two columns of 4 rows as i16. Pairs 0 and 2 are columns 0..15, 1 and 3 the others. */
// @ts-ignore: decorator
@inline
export function weightPair(first: v128, second: v128, low: v128, k: i32, form: Form): v128 {
  if (form & FormFlag.BYTES) {
    const half = k < 2 ? first : second;
    return k & 1 ? i16x8.extend_high_i8x16_s(half) : i16x8.extend_low_i8x16_s(half);
  }
  if (k == 0) return v128.and(first, low);
  if (k == 1) return v128.and(i16x8.shr_u(first, 4), low);
  if (k == 2) return v128.and(i16x8.shr_u(first, 8), low);
  return i16x8.shr_u(first, 12);
}

/** Where the integer sums begin: the zero point of nibbles without a minimum (minus 8 times the sum of q). */
// @ts-ignore: decorator
@inline
export function startLow(x: usize, form: Form): v128 {
  if (form & (FormFlag.BYTES | FormFlag.MIN)) return i32x4.splat(0);
  return form & FormFlag.GROUP_16 ? v128.load32_splat(x, 76) : v128.load32_splat(x, 68);
}

/** The same for the second sum, used by groups of 16 only. */
// @ts-ignore: decorator
@inline
export function startHigh(x: usize, form: Form): v128 {
  if (form & (FormFlag.BYTES | FormFlag.MIN)) return i32x4.splat(0);
  return form & FormFlag.GROUP_16 ? v128.load32_splat(x, 80) : i32x4.splat(0);
}

/** Four scales or minima as f32. */
// @ts-ignore: decorator
@inline
export function loadQuad(at: usize, mask: v128, bias: v128, form: Form): v128 {
  return form & FormFlag.WIDE ? v128.load(at) : loadHalf4(at, 0, mask, bias);
}

/** acc + f32(dot) * (dw * dx) [+ mw * sx], for each group of columns in ascending order. */
// @ts-ignore: decorator
@inline
export function finishBlock(acc: v128, low: v128, high: v128, w: usize, x: usize, constants: usize, form: Form): v128 {
  const mask = v128.load(constants, 16);
  const bias = v128.load(constants, 32);
  const dx = v128.load32_splat(x, 64);
  const scales = w + bodyBytes(form);
  const minima = w + minimaOffset(form);
  const quad: usize = quadBytes(form);
  const dw = loadQuad(scales, mask, bias, form);
  acc = f32x4.add(acc, f32x4.mul(f32x4.convert_i32x4_s(low), f32x4.mul(dw, dx)));
  if (form & FormFlag.MIN) {
    const sx = form & FormFlag.GROUP_16 ? v128.load32_splat(x, 84) : v128.load32_splat(x, 72);
    acc = f32x4.add(acc, f32x4.mul(loadQuad(minima, mask, bias, form), sx));
  }
  if (form & FormFlag.GROUP_16) {
    const dwHigh = loadQuad(scales + quad, mask, bias, form);
    acc = f32x4.add(acc, f32x4.mul(f32x4.convert_i32x4_s(high), f32x4.mul(dwHigh, dx)));
    if (form & FormFlag.MIN) {
      const sx = v128.load32_splat(x, 88);
      acc = f32x4.add(acc, f32x4.mul(loadQuad(minima + quad, mask, bias, form), sx));
    }
  }
  return acc;
}
