/**
 * Scores q.k of the 32 slots of a packed page, in integers, one lane per slot:
 *
 *   score_j = factor * sum over groups ascending of ( f32(sum_d code_jd q_d) scale_jg + minimum_jg f32(sum_d q_d) )
 *
 * with q the i16 codes of quantize-query.ts, product and sum rounded apart, the minimum's term only where there is one.
 * Three query heads share every load of a key: 8 slots at a time, 6 accumulators.
 */
import { codeAt, codesBytes, groupsOf, hasMinima, minimumOffset, scaleAt, SCALES_BYTES } from "../cache/packed-page";
import { KvForm, Part, Size } from "../memory/status";
import { halfToFloat } from "./f16";
import { codes4, expandPlanes, expandThirds, maskOf, scales4 } from "./packed-codes";
import { QUERY_CODES, queryBytes } from "./quantize-query";
import { scaleRow } from "./scale";
import { SCORES_BYTES } from "./scores-f32";
import { addPairs } from "./simd";

/** scores += or =: the dots of one head's 4 slots, scaled, and the minimum's term. */
// @ts-ignore: decorator
@inline
function addGroup(scores: usize, dots: v128, scale: v128, minimum: v128, sum: usize, first: bool, minima: bool): void {
  let score = f32x4.mul(f32x4.convert_i32x4_s(dots), scale);
  if (!first) score = f32x4.add(v128.load(scores), score);
  if (minima) score = f32x4.add(score, f32x4.mul(minimum, v128.load32_splat(sum)));
  v128.store(scores, score);
}

/**
 * One group of dims, slots 4 k .. 4 k + 7 of a half: `q` the group's codes and `sum` their sum, of heads `stride` apart;
 * `minima` 0 where the form has none; `nHeads` = 1 or 3.
 */
// @ts-ignore: decorator
@inline
function group8(
  scores: usize, q: usize, sum: usize, stride: usize, blocks: usize, pairs: usize, form: KvForm, k: i32,
  scales: usize, minima: usize, first: bool, nHeads: u32,
): void {
  const mask = maskOf(form);
  const step: usize = form == KvForm.Q4 ? 16 : 32;
  let a0 = i32x4.splat(0);
  let a1 = a0;
  let b0 = a0;
  let b1 = a0;
  let c0 = a0;
  let c1 = a0;
  for (let end = blocks + pairs * step; blocks < end; blocks += step, q += 4) {
    const k0 = codes4(blocks, form, k, mask);
    const k1 = codes4(blocks, form, k + 1, mask);
    const qa = v128.load32_splat(q);
    a0 = addPairs(a0, k0, qa);
    a1 = addPairs(a1, k1, qa);
    if (nHeads == 3) {
      const qb = v128.load32_splat(q + stride);
      b0 = addPairs(b0, k0, qb);
      b1 = addPairs(b1, k1, qb);
      const qc = v128.load32_splat(q + 2 * stride);
      c0 = addPairs(c0, k0, qc);
      c1 = addPairs(c1, k1, qc);
    }
  }
  const hasMin = minima != 0;
  scales += k << 3;
  const s0 = scales4(scales);
  const s1 = scales4(scales + 8);
  minima += k << 3;
  const m0 = hasMin ? scales4(minima) : s0;
  const m1 = hasMin ? scales4(minima + 8) : s1;
  scores += k << 4;
  addGroup(scores, a0, s0, m0, sum, first, hasMin);
  addGroup(scores + 16, a1, s1, m1, sum, first, hasMin);
  if (nHeads == 3) {
    addGroup(scores + SCORES_BYTES, b0, s0, m0, sum + stride, first, hasMin);
    addGroup(scores + SCORES_BYTES + 16, b1, s1, m1, sum + stride, first, hasMin);
    addGroup(scores + 2 * SCORES_BYTES, c0, s0, m0, sum + 2 * stride, first, hasMin);
    addGroup(scores + 2 * SCORES_BYTES + 16, c1, s1, m1, sum + 2 * stride, first, hasMin);
  }
}

/** `blocks` hold codes of `form` (Q8 or Q4); scales of group g lie SCALES_BYTES apart, minima likewise or 0. */
// @ts-ignore: decorator
@inline
function scoresOf(
  scores: usize, query: usize, blocks: usize, form: KvForm, scales: usize, minima: usize, dim: u32, group: u32, nHeads: u32,
): void {
  const stride = queryBytes(dim);
  const step: usize = form == KvForm.Q4 ? 16 : 32;
  for (let half: usize = 0; half < 2; ++half) {
    const q = query + QUERY_CODES;
    const at = scores + (half << 6);
    for (let d: u32 = 0, g: usize = 0; d < dim; d += group, ++g) {
      const pairs = <usize>(min<u32>(group, dim - d) >> 1);
      const codes = blocks + (half * (dim >> 1) + (d >> 1)) * step;
      const s = scales + g * SCALES_BYTES + (half << 5);
      const m = minima != 0 ? minima + g * SCALES_BYTES + (half << 5) : 0;
      const sum = query + 4 + (g << 2);
      group8(at, q + (d << 1), sum, stride, codes, pairs, form, 0, s, m, d == 0, nHeads);
      group8(at, q + (d << 1), sum, stride, codes, pairs, form, 2, s, m, d == 0, nHeads);
    }
  }
  for (let h: usize = 0; h < nHeads; ++h) scaleRow(scores + h * SCORES_BYTES, Size.PAGE_SLOTS, load<f32>(query + h * stride));
}

function scoresBytes1(scores: usize, query: usize, blocks: usize, scales: usize, minima: usize, dim: u32, group: u32): void {
  scoresOf(scores, query, blocks, KvForm.Q8, scales, minima, dim, group, 1);
}
function scoresBytes3(scores: usize, query: usize, blocks: usize, scales: usize, minima: usize, dim: u32, group: u32): void {
  scoresOf(scores, query, blocks, KvForm.Q8, scales, minima, dim, group, 3);
}
function scoresNibbles1(scores: usize, query: usize, blocks: usize, scales: usize, minima: usize, dim: u32, group: u32): void {
  scoresOf(scores, query, blocks, KvForm.Q4, scales, minima, dim, group, 1);
}
function scoresNibbles3(scores: usize, query: usize, blocks: usize, scales: usize, minima: usize, dim: u32, group: u32): void {
  scoresOf(scores, query, blocks, KvForm.Q4, scales, minima, dim, group, 3);
}

/**
 * Scores of a page's packed keys for `nHeads` (1 or 3) queries (queryBytes apart), scores SCORES_BYTES apart; `expanded`
 * has room for the keys in bytes.
 */
export function scoresPacked(scores: usize, query: usize, keys: usize, form: KvForm, dim: u32, group: u32, nHeads: u32, expanded: usize): void {
  const scales = keys + codesBytes(form, dim);
  const minima = hasMinima(form) ? scales + minimumOffset(dim, group) : 0;
  scoresScaled(scores, query, keys, form, scales, minima, dim, group, nHeads, expanded);
}

/** The same with scales and minima that lie elsewhere, f16 [groups][32]; minima 0: none. */
export function scoresScaled(
  scores: usize, query: usize, keys: usize, form: KvForm, scales: usize, minima: usize, dim: u32, group: u32, nHeads: u32,
  expanded: usize,
): void {
  if (form == KvForm.Q4) {
    if (nHeads == 3) scoresNibbles3(scores, query, keys, scales, minima, dim, group);
    else scoresNibbles1(scores, query, keys, scales, minima, dim, group);
    return;
  }
  if (form == KvForm.Q3) {
    expandThirds(expanded, keys, dim);
    keys = expanded;
  } else if (form == KvForm.Q8_PLANES) {
    expandPlanes(expanded, keys, dim);
    keys = expanded;
  }
  if (nHeads == 3) scoresBytes3(scores, query, keys, scales, minima, dim, group);
  else scoresBytes1(scores, query, keys, scales, minima, dim, group);
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
