/**
 * Keys at 8 bits in two planes of nibbles: scores are made from the high plane alone, and where the softmax they give is flat,
 * again from both. https://arxiv.org/abs/2012.09852 (SpAtten: progressive quantization)
 *
 *   code + 64 = 16 high + low                       high and low lie as Q4 codes do, all of one before all of the other
 *   high plane:  code ~ 16 high - 56.5              (low stands for 7.5, its middle)
 *   both planes: the codes of Q8, and to the bit its scores
 *
 * Flat is a span of 1,024 slots whose largest probability, 1 / sum exp(s_j - max), is below a threshold. The paper looks at
 * all keys at once and fetches less from memory for it; here a span is decided when it is met, and what is saved is half of
 * the bytes and of the unpacking, against the scores of flat spans made twice.
 */
import { codeAt, codesBytes, groupsOf, KEY_ZERO, scaleAt } from "../cache/packed-page";
import { halfToFloat } from "../kernels/f16";
import { QUERY_CODES, queryBytes } from "../kernels/quantize-query";
import { scoresScaled } from "../kernels/scores-packed";
import { KvForm, Part, Size } from "../memory/status";

/** 56.5 / 16: what is taken off a high nibble, in its own unit. */
const MIDDLE: f32 = 3.53125;

/** A query for the high plane, from one of quantize-query.ts: 16 times the factor, and the middle in place of sums. */
export function planeQuery(out: usize, query: usize, dim: u32, group: u32): void {
  memory.copy(out + QUERY_CODES, query + QUERY_CODES, queryBytes(dim) - QUERY_CODES);
  store<f32>(out, load<f32>(query) * 16);
  for (let g: u32 = 1; g <= groupsOf(dim, group); ++g) store<f32>(out + (g << 2), load<f32>(query + (g << 2)) * -MIDDLE);
}

/** Whether the softmax of a span is flat, by its sum of exp(s_j - max). */
// @ts-ignore: decorator
@inline
export function isFlat(sum: f32, threshold: f32): bool {
  return sum * threshold > 1;
}

/** Scores from the high plane of `nHeads` (1 or 3) queries that planeQuery made, as scores-packed.ts makes them. */
export function scoresHigh(scores: usize, queries: usize, keys: usize, dim: u32, group: u32, nHeads: u32, work: usize): void {
  const scales = keys + codesBytes(KvForm.Q8_PLANES, dim);
  scoresScaled(scores, queries, keys, KvForm.Q4, scales, scales, dim, group, nHeads, work);
}

/** One head's scores from the high plane. */
export function scoresHighRef(scores: usize, query: usize, keys: usize, dim: u32, group: u32): void {
  for (let slot: u32 = 0; slot < <u32>Size.PAGE_SLOTS; ++slot) {
    let score: f32 = 0;
    for (let g: u32 = 0; g < groupsOf(dim, group); ++g) {
      let dot: i32 = 0;
      for (let d = g * group; d < min<u32>((g + 1) * group, dim); ++d) {
        const high = (codeAt(keys, KvForm.Q8_PLANES, Part.KEYS, slot, d, dim) + KEY_ZERO) >> 4;
        dot += high * <i32>load<i16>(query + QUERY_CODES + (d << 1));
      }
      const scale = halfToFloat(load<u16>(scaleAt(keys, KvForm.Q8_PLANES, slot, g, dim)));
      const product: f32 = <f32>dot * scale;
      const middle: f32 = load<f32>(query + 4 + (g << 2)) * -MIDDLE;
      const term: f32 = scale * middle;
      score = g == 0 ? product : score + product;
      score = score + term;
    }
    const factor: f32 = load<f32>(query) * 16;
    store<f32>(scores + (slot << 2), score * factor);
  }
}
