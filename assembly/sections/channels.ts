/**
 * Keys with a scale for each channel of the page in place of one for each token: a key's large channels are the same ones
 * from token to token, so that they cost the others nothing. https://arxiv.org/abs/2402.02750 (KIVI)
 *
 *   x_jd = scale_d * (code_jd + zero_d)        scale = f8 up(max((max - min) / top, |min| / 127)), zero = round(min / scale)
 *   | codes as in Q4 or Q3 | u8 scale [dim] | i8 zero [dim] | .. 16 |
 *
 * Scale and zero take a byte each, so that the page is as large as one with scales for each token and 64 dims.
 * Reading: q.k = sum_d (q_d scale_d) code_jd + sum_d (q_d scale_d) zero_d: the query takes the scales and is quantized to int8
 * for each page, dim operations beside the 32 * dim of the scores; the second sum is one integer a page.
 *
 * Not as in the paper: keys lie here after RoPE, which turns channels against each other (the paper's are before it); the
 * group is the page of 32 tokens; scale and zero are 8 bits, not 16.
 */
import { codeAt, codesBytes, codesForm, putCode } from "../cache/packed-page";
import { roundUpToByte, unsignedBytes4, unsignedByteToFloat } from "../kernels/f8";
import { queryBytes, queryFactor, queryInverse, storeMultipliers, storeMultipliers8 } from "../kernels/quantize-query";
import { scoresScaled } from "../kernels/scores-packed";
import { roundMagic } from "../kernels/simd";
import { KvForm, Part, Size } from "../memory/status";

/** Bytes of scales and zeros. */
// @ts-ignore: decorator
@inline
export function channelBytes(dim: u32): u32 {
  return (2 * dim + 15) & ~15;
}

/** Codes and scales of keys x, f32 [32][dim]. */
export function putChannels(to: usize, form: KvForm, x: usize, dim: u32): void {
  const top: f32 = form == KvForm.Q4_CHANNELS ? 15 : 7;
  const scales = to + codesBytes(form, dim);
  for (let d: u32 = 0; d < dim; ++d, x += 4) {
    let low = load<f32>(x);
    let high = low;
    for (let slot: u32 = 1; slot < <u32>Size.PAGE_SLOTS; ++slot) {
      const value = load<f32>(x + ((slot * dim) << 2));
      low = min<f32>(low, value);
      high = max<f32>(high, value);
    }
    const bits = roundUpToByte(max<f32>((high - low) / top, abs<f32>(low) / 127));
    const scale = unsignedByteToFloat(bits);
    const inverse: f32 = scale > 0 ? <f32>1 / scale : 0;
    const zero = min<f32>(max<f32>(nearest<f32>(low * inverse), -127), 127);
    store<u8>(scales + d, <u8>bits);
    store<i8>(scales + dim + d, <i8>zero);
    for (let slot: u32 = 0; slot < <u32>Size.PAGE_SLOTS; ++slot) {
      const code = nearest<f32>(load<f32>(x + ((slot * dim) << 2)) * inverse) - zero;
      putCode(to, form, Part.KEYS, slot, d, dim, <i32>min<f32>(max<f32>(code, 0), top));
    }
  }
}

/** What a slot's codes stand for, f32 [dim]. */
export function readChannels(out: usize, from: usize, form: KvForm, slot: u32, dim: u32): void {
  const scales = from + codesBytes(form, dim);
  for (let d: u32 = 0; d < dim; ++d) {
    const code = codeAt(from, form, Part.KEYS, slot, d, dim) + <i32>load<i8>(scales + dim + d);
    store<f32>(out + (d << 2), unsignedByteToFloat(load<u8>(scales + d)) * <f32>code);
  }
}

// Scratch of a page's queries, before any dots: | f32 scales [dim] | i16 zeros [dim] | f32 q_d scale_d [dim] |, dims in eights.

// @ts-ignore: decorator
@inline
function eights(dim: u32): u32 {
  return (dim + 7) & ~7;
}

/** The page's scales and zeros, as all its queries take them. */
function decodeChannels(scratch: usize, scales: usize, dim: u32): void {
  const zeros = scratch + (eights(dim) << 2);
  for (let d: u32 = 0; d < dim; d += 4) {
    v128.store(scratch + (d << 2), unsignedBytes4(scales + d));
    v128.store64_lane(zeros + (d << 1), i16x8.extend_low_i8x16_s(v128.load32_zero(scales + dim + d)), 0);
  }
}

/**
 * The query of one page, as scores-packed.ts takes it with scales and minima of 1 and one group: codes of q_d scale_d, and in
 * place of their sum that of codes times zeros; the i16 codes are left out.
 */
function channelQuery(out: usize, q: usize, scratch: usize, dim: u32, factor: f32): void {
  const zeros = scratch + (eights(dim) << 2);
  const scaled = zeros + (eights(dim) << 1);
  const size = i32x4.splat(0x7fffffff);
  let tops = i32x4.splat(0);
  for (let d: u32 = 0; d < dim; d += 4) {
    const x = f32x4.mul(v128.load(q + (d << 2)), v128.load(scratch + (d << 2)));
    tops = i32x4.max_s(tops, v128.and(x, size)); // of sizes, as of their bits: a NaN is the largest
    v128.store(scaled + (d << 2), x);
  }
  tops = i32x4.max_s(tops, v128.shuffle<i32>(tops, tops, 2, 3, 0, 1));
  const absmax = reinterpret<f32>(max<i32>(i32x4.extract_lane(tops, 0), i32x4.extract_lane(tops, 1)));
  const inverse = f32x4.splat(queryInverse(absmax));
  const magic = roundMagic();
  let sums = i32x4.splat(0);
  let d: u32 = 0;
  for (; d + 8 <= dim; d += 8) {
    const c0 = i32x4.sub(f32x4.add(f32x4.mul(v128.load(scaled + (d << 2)), inverse), magic), magic);
    const c1 = i32x4.sub(f32x4.add(f32x4.mul(v128.load(scaled + (d << 2), 16), inverse), magic), magic);
    const codes = i16x8.narrow_i32x4_s(c0, c1);
    storeMultipliers8(out, codes, d, dim);
    sums = i32x4.add(sums, i32x4.dot_i16x8_s(codes, v128.load(zeros + (d << 1))));
  }
  if (d < dim) {
    const codes = i32x4.sub(f32x4.add(f32x4.mul(v128.load(scaled + (d << 2)), inverse), magic), magic);
    storeMultipliers(out, codes, d, dim);
    const halves = i16x8.narrow_i32x4_s(codes, i32x4.splat(0));
    sums = i32x4.add(sums, i32x4.dot_i16x8_s(halves, v128.load64_zero(zeros + (d << 1))));
  }
  // A NaN or an infinity makes the codes nonsense, and all scores NaN.
  store<f32>(out, absmax < Infinity ? queryFactor(absmax, factor) : NaN);
  const half = i32x4.add(sums, v128.shuffle<i32>(sums, sums, 2, 3, 0, 1));
  store<f32>(out, <f32>(i32x4.extract_lane(half, 0) + i32x4.extract_lane(half, 1)), 4);
}

/** Scores of a page for `nHeads` (1 or 3) queries q f32 [nHeads][dim]; `queries` has room for as many queryBytes. */
export function scoresChannels(
  scores: usize, q: usize, keys: usize, form: KvForm, dim: u32, factor: f32, nHeads: u32, queries: usize, work: usize,
): void {
  const scales = keys + codesBytes(form, dim);
  decodeChannels(work, scales, dim);
  for (let h: u32 = 0; h < nHeads; ++h) channelQuery(queries + h * queryBytes(dim), q + ((h * dim) << 2), work, dim, factor);
  scoresScaled(scores, queries, keys, codesForm(form), 0, 0, dim, dim, nHeads, work);
}

/** One head's scores, all of them. */
export function scoresChannelsRef(scores: usize, q: usize, keys: usize, form: KvForm, dim: u32, factor: f32): void {
  const scales = keys + codesBytes(form, dim);
  let absmax: f32 = 0;
  for (let d: u32 = 0; d < dim; ++d) absmax = max<f32>(absmax, abs<f32>(load<f32>(q + (d << 2)) * unsignedByteToFloat(load<u8>(scales + d))));
  const inverse = queryInverse(absmax);
  const unit = queryFactor(absmax, factor);
  for (let slot: u32 = 0; slot < <u32>Size.PAGE_SLOTS; ++slot) {
    let dot: i32 = 0;
    let zeros: i32 = 0;
    for (let d: u32 = 0; d < dim; ++d) {
      const scaled: f32 = load<f32>(q + (d << 2)) * unsignedByteToFloat(load<u8>(scales + d));
      const code = <i32>nearest<f32>(scaled * inverse);
      dot += code * codeAt(keys, form, Part.KEYS, slot, d, dim);
      zeros += code * <i32>load<i8>(scales + dim + d);
    }
    const sum: f32 = <f32>dot + <f32>zeros;
    store<f32>(scores + (slot << 2), sum * unit);
  }
}
