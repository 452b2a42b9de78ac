/**
 * Scores q.k of the 32 slots of a packed page, in integers, one lane per slot:
 *
 *   score_j = factor * sum over groups ascending of ( f32(sum_d code_jd q_d) scale_jg + minimum_jg f32(sum_d q_d) )
 *
 * with q the int8 codes of quantize-query.ts, product and sum rounded apart, the minimum's term only where there is one.
 */
import { codeAt, codesBytes, groupsOf, hasMinima, KEY_ZERO, keyQuads, minimumOffset, scaleAt, SCALES_BYTES } from "../cache/packed-page";
import { KvForm, Part, Size } from "../memory/status";
import { halfToFloat } from "./f16";
import { expandPlanes, expandThirds } from "./packed-codes";
import { DOTS_BYTES, DOTS_STRIDE, packedDots } from "./packed-dots";
import { multipliersOf, QUAD_BYTES, QUERY_CODES, queryBytes } from "./quantize-query";
import { SCORES_BYTES } from "./scores-f32";
import { halfBias, halfMask, loadHalf4 } from "./simd";

/** Slots of an octet. */
const OCTETS: u32 = Size.PAGE_SLOTS >> 3;

/** A head's scores of 4 slots from the dots of a group: begun or gone on with, multiplied by the factor after the last one. */
// @ts-ignore: decorator
@inline
function addDots(
  scores: usize, dots: usize, query: usize, sum: usize, start: v128, scale: v128, minimum: v128, isBytes: bool, minima: bool,
  isFirst: bool, isLast: bool,
): void {
  const dot = isBytes ? i32x4.add(v128.load(dots), start) : v128.load(dots);
  let score = f32x4.mul(f32x4.convert_i32x4_s(dot), scale);
  if (!isFirst) score = f32x4.add(v128.load(scores), score);
  if (minima) score = f32x4.add(score, f32x4.mul(minimum, v128.load32_splat(sum)));
  if (isLast) score = f32x4.mul(score, v128.load32_splat(query));
  v128.store(scores, score);
}

/** Scores where scales and minima are 1, of one group: what is left of the formula. */
// @ts-ignore: decorator
@inline
function addUnits(scores: usize, dots: usize, query: usize): void {
  const sum = v128.load32_splat(query, 4);
  const factor = v128.load32_splat(query);
  for (let end = dots + 128; dots < end; dots += 16, scores += 16) {
    v128.store(scores, f32x4.mul(f32x4.add(f32x4.convert_i32x4_s(v128.load(dots)), sum), factor));
  }
}

/** What dots with codes that have KEY_ZERO added begin with. */
// @ts-ignore: decorator
@inline
function startOf(sum: usize): v128 {
  return i32x4.splat(-KEY_ZERO * <i32>load<f32>(sum));
}

/** All slots, one group of dims. */
// @ts-ignore: decorator
@inline
function addGroup(
  scores: usize, dots: usize, query: usize, stride: usize, sum: usize, scales: usize, minima: usize, isBytes: bool,
  hasMin: bool, isFirst: bool, isLast: bool, nHeads: u32,
): void {
  const mask = halfMask();
  const bias = halfBias();
  const a = startOf(sum);
  const b = nHeads == 3 ? startOf(sum + stride) : a;
  const c = nHeads == 3 ? startOf(sum + 2 * stride) : a;
  for (let end = dots + 128; dots < end; dots += 16, scores += 16, scales += 8, minima += 8) {
    const scale = loadHalf4(scales, 0, mask, bias);
    const minimum = hasMin ? loadHalf4(minima, 0, mask, bias) : scale;
    addDots(scores, dots, query, sum, a, scale, minimum, isBytes, hasMin, isFirst, isLast);
    if (nHeads == 3) {
      addDots(scores + SCORES_BYTES, dots + DOTS_STRIDE, query + stride, sum + stride, b, scale, minimum, isBytes, hasMin, isFirst, isLast);
      addDots(
        scores + 2 * SCORES_BYTES, dots + 2 * DOTS_STRIDE, query + 2 * stride, sum + 2 * stride, c, scale, minimum, isBytes,
        hasMin, isFirst, isLast,
      );
    }
  }
}

function addBytes1(scores: usize, dots: usize, query: usize, stride: usize, sum: usize, scales: usize, isFirst: bool, isLast: bool): void {
  addGroup(scores, dots, query, stride, sum, scales, 0, true, false, isFirst, isLast, 1);
}
function addBytes3(scores: usize, dots: usize, query: usize, stride: usize, sum: usize, scales: usize, isFirst: bool, isLast: bool): void {
  addGroup(scores, dots, query, stride, sum, scales, 0, true, false, isFirst, isLast, 3);
}
function addNibbles1(
  scores: usize, dots: usize, query: usize, stride: usize, sum: usize, scales: usize, minima: usize, isFirst: bool, isLast: bool,
): void {
  addGroup(scores, dots, query, stride, sum, scales, minima, false, true, isFirst, isLast, 1);
}
function addNibbles3(
  scores: usize, dots: usize, query: usize, stride: usize, sum: usize, scales: usize, minima: usize, isFirst: bool, isLast: bool,
): void {
  addGroup(scores, dots, query, stride, sum, scales, minima, false, true, isFirst, isLast, 3);
}

/**
 * Scores of a page's packed keys for `nHeads` (1 or 3) queries (queryBytes apart), scores SCORES_BYTES apart; `work`:
 * workBytes.
 */
export function scoresPacked(scores: usize, query: usize, keys: usize, form: KvForm, dim: u32, group: u32, nHeads: u32, work: usize): void {
  const scales = keys + codesBytes(form, dim);
  const minima = hasMinima(form) ? scales + minimumOffset(dim, group) : 0;
  scoresScaled(scores, query, keys, form, scales, minima, dim, group, nHeads, work);
}

/** The same with scales and minima (of Q4 and Q3) that lie elsewhere, f16 [groups][32]; 0: all are 1, of one group. */
export function scoresScaled(
  scores: usize, query: usize, keys: usize, form: KvForm, scales: usize, minima: usize, dim: u32, group: u32, nHeads: u32, work: usize,
): void {
  if (form == KvForm.Q3) {
    expandThirds(work + DOTS_BYTES, keys, (dim + 15) & ~15);
    keys = work + DOTS_BYTES;
    form = KvForm.Q4;
  } else if (form == KvForm.Q8_PLANES) {
    expandPlanes(work + DOTS_BYTES, keys, (dim + 15) & ~15);
    keys = work + DOTS_BYTES;
    form = KvForm.Q8;
  }
  const blockShift: usize = form == KvForm.Q4 ? 4 : 5;
  const octet = <usize>keyQuads(dim) << blockShift;
  const stride = queryBytes(dim);
  const x = multipliersOf(query, form, dim);
  for (let d: u32 = 0, g: usize = 0; d < dim; d += group, ++g) {
    const nFours = <usize>((min<u32>(group, dim - d) + 3) >> 2);
    const first = <usize>(d >> 2);
    packedDots(work, keys + (first << blockShift), OCTETS, octet, nFours, x + first * QUAD_BYTES, stride, form, true, nHeads);
    const sum = query + 4 + (g << 2);
    const s = scales + g * SCALES_BYTES;
    const isLast = d + group >= dim;
    if (scales == 0) {
      for (let h: u32 = 0; h < nHeads; ++h) addUnits(scores + h * SCORES_BYTES, work + h * DOTS_STRIDE, query + h * stride);
    } else if (form == KvForm.Q4) {
      const m = minima + g * SCALES_BYTES;
      if (nHeads == 3) addNibbles3(scores, work, query, stride, sum, s, m, d == 0, isLast);
      else addNibbles1(scores, work, query, stride, sum, s, m, d == 0, isLast);
    } else if (nHeads == 3) addBytes3(scores, work, query, stride, sum, s, d == 0, isLast);
    else addBytes1(scores, work, query, stride, sum, s, d == 0, isLast);
  }
}

/** One head. */
export function scoresPackedRef(scores: usize, query: usize, keys: usize, form: KvForm, dim: u32, group: u32): void {
  for (let slot: u32 = 0; slot < <u32>Size.PAGE_SLOTS; ++slot) {
    let score: f32 = 0;
    for (let g: u32 = 0; g < groupsOf(dim, group); ++g) {
      let dot: i32 = 0;
      for (let d = g * group; d < min<u32>((g + 1) * group, dim); ++d) {
        dot += codeAt(keys, form, Part.KEYS, slot, d, dim) * <i32>load<i16>(query + QUERY_CODES + (d << 1));
      }
      const at = scaleAt(keys, form, slot, g, dim);
      const product: f32 = <f32>dot * halfToFloat(load<u16>(at));
      score = g == 0 ? product : score + product;
      if (hasMinima(form)) {
        const term: f32 = halfToFloat(load<u16>(at + minimumOffset(dim, group))) * load<f32>(query + 4 + (g << 2));
        score = score + term;
      }
    }
    store<f32>(scores + (slot << 2), score * load<f32>(query));
  }
}
