/**
 * Keys with a scale for each channel of the page in place of one for each token: a key's large channels are the same ones
 * from token to token, so that they cost the others nothing. https://arxiv.org/abs/2402.02750 (KIVI)
 *
 *   x_jd = scale_d * (code_jd + zero_d)        scale = f8 up(max((max - min) / top, |min| / 127)), zero = round(min / scale)
 *   | codes as in Q4 or Q3 | u8 scale [dim] | i8 zero [dim] | .. 16 |
 *
 * Scale and zero take a byte each, so that the page is as large as one with scales for each token and 64 dims.
 * Reading: q.k = sum_d (q_d scale_d) code_jd + sum_d (q_d scale_d) zero_d: the query takes the scales and is quantized to i16
 * for each page, dim operations beside the 32 * dim of the scores; the second sum is one integer a page.
 *
 * Not as in the paper: keys lie here after RoPE, which turns channels against each other (the paper's are before it); the
 * group is the page of 32 tokens; scale and zero are 8 bits, not 16.
 */
import { codeAt, codesBytes, codesForm, putCode } from "../cache/packed-page";
import { roundUpToByte, unsignedBytes4, unsignedByteToFloat } from "../kernels/f8";
import { QUERY_CODES, queryBytes } from "../kernels/quantize-query";
import { scoresScaled } from "../kernels/scores-packed";
import { KvForm, Part, Size } from "../memory/status";

const TINY: f32 = 7.888609052210118e-31; // 2^-100
const TOP: f32 = 32767;

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

/**
 * The query of one page, as scores-packed.ts takes it with scales and minima of 1 and one group: codes of q_d scale_d, and in
 * place of their sum that of codes times zeros.
 */
function channelQuery(out: usize, q: usize, scales: usize, dim: u32, factor: f32): void {
  let tops = f32x4.splat(0);
  for (let d: u32 = 0; d < dim; d += 4) {
    tops = f32x4.max(tops, f32x4.abs(f32x4.mul(v128.load(q + (d << 2)), unsignedBytes4(scales + d))));
  }
  const absmax = max<f32>(
    max<f32>(f32x4.extract_lane(tops, 0), f32x4.extract_lane(tops, 1)),
    max<f32>(f32x4.extract_lane(tops, 2), f32x4.extract_lane(tops, 3)),
  );
  const inverse = f32x4.splat(absmax < TINY ? 0 : TOP / absmax);
  let sums = i32x4.splat(0);
  for (let d: u32 = 0; d < dim; d += 4) {
    const scaled = f32x4.mul(v128.load(q + (d << 2)), unsignedBytes4(scales + d));
    const codes = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(scaled, inverse)));
    v128.store64_lane(out + (d << 1), i16x8.narrow_i32x4_s(codes, codes), 0, QUERY_CODES);
    const zeros = i32x4.extend_low_i16x8_s(i16x8.extend_low_i8x16_s(v128.load32_zero(scales + dim + d)));
    sums = i32x4.add(sums, i32x4.mul(codes, zeros));
  }
  const sum = i32x4.extract_lane(sums, 0) + i32x4.extract_lane(sums, 1) + i32x4.extract_lane(sums, 2) + i32x4.extract_lane(sums, 3);
  store<f32>(out, absmax < TINY ? 0 : (absmax / TOP) * factor);
  store<f32>(out, <f32>sum, 4);
}

/** Scales of 1 for every slot. */
const ONES: usize = memory.data<u32>(
  [
    0x3c003c00, 0x3c003c00, 0x3c003c00, 0x3c003c00, 0x3c003c00, 0x3c003c00, 0x3c003c00, 0x3c003c00,
    0x3c003c00, 0x3c003c00, 0x3c003c00, 0x3c003c00, 0x3c003c00, 0x3c003c00, 0x3c003c00, 0x3c003c00,
  ],
  16,
);

/** Scores of a page for `nHeads` (1 or 3) queries q f32 [nHeads][dim]; `queries` has room for as many queryBytes. */
export function scoresChannels(
  scores: usize, q: usize, keys: usize, form: KvForm, dim: u32, factor: f32, nHeads: u32, queries: usize, expanded: usize,
): void {
  const scales = keys + codesBytes(form, dim);
  for (let h: u32 = 0; h < nHeads; ++h) channelQuery(queries + h * queryBytes(dim), q + ((h * dim) << 2), scales, dim, factor);
  scoresScaled(scores, queries, keys, codesForm(form), ONES, ONES, dim, dim, nHeads, expanded);
}

/** One head's scores, all of them. */
export function scoresChannelsRef(scores: usize, q: usize, keys: usize, form: KvForm, dim: u32, factor: f32): void {
  const scales = keys + codesBytes(form, dim);
  let absmax: f32 = 0;
  for (let d: u32 = 0; d < dim; ++d) absmax = max<f32>(absmax, abs<f32>(load<f32>(q + (d << 2)) * unsignedByteToFloat(load<u8>(scales + d))));
  const inverse: f32 = absmax < TINY ? 0 : TOP / absmax;
  const unit: f32 = absmax < TINY ? 0 : (absmax / TOP) * factor;
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
