/**
 * Weighted sums of the values of a packed page, in integers, one lane per dim:
 *
 *   p_j = w_j scale_jg ; pmax = max p_j ; c_j = nearest-even(p_j * (32767 / pmax)), 0 where pmax < 2^-100
 *   out_d += f32(sum_j code_jd c_j) * (pmax / 32767) ; out_d += sum_j w_j minimum_jg      for the dims d of group g
 *
 * the last sum in four lanes (slot j in lane j mod 4), then (l0 + l1) + (l2 + l3), only where the form has minima. Three
 * query heads share every load of a value: 8 dims at a time, 6 accumulators.
 */
import { codeAt, codesBytes, groupsOf, hasMinima, minimumOffset, scaleAt, SCALES_BYTES } from "../cache/packed-page";
import { KvForm, Part, Size } from "../memory/status";
import { halfToFloat } from "./f16";
import { codes4, expandThirds, maskOf, scales4 } from "./packed-codes";
import { SCORES_BYTES } from "./scores-f32";
import { addPairs, sumLanes } from "./simd";

const TINY: f32 = 7.888609052210118e-31; // 2^-100
const TOP: f32 = 32767;
const ROUND: f32 = 12582912; // 1.5 * 2^23

/** Bytes of a head's weights for a page and group: i16 [32], factor, the minimum's term. */
export const WEIGHTS_BYTES: usize = 128;
/** Three heads' weights, and scales and minima as f32. */
export const WEIGHTS_SCRATCH: usize = 3 * WEIGHTS_BYTES + 256;
const FACTOR: usize = 64;
const TERM: usize = 68;

/** 32 f16 as f32. */
// @ts-ignore: decorator
@inline
function decodeHalves(out: usize, halves: usize): void {
  for (let i: usize = 0; i < 64; i += 8) v128.store(out + (i << 1), scales4(halves + i));
}

/** Rounds to nearest even, 0 <= x < 2^22: adding 1.5 * 2^23 leaves the integer in the low bits. */
// @ts-ignore: decorator
@inline
function round4(x: v128, magic: v128): v128 {
  return i32x4.sub(f32x4.add(x, magic), magic);
}

/** i16 weights of a page for one group; `weights`, `scales` f32 [32], `minima` the same or 0. */
// @ts-ignore: decorator
@inline
function quantizeWeights(out: usize, weights: usize, scales: usize, minima: usize): void {
  const p0 = f32x4.mul(v128.load(weights), v128.load(scales));
  const p1 = f32x4.mul(v128.load(weights, 16), v128.load(scales, 16));
  const p2 = f32x4.mul(v128.load(weights, 32), v128.load(scales, 32));
  const p3 = f32x4.mul(v128.load(weights, 48), v128.load(scales, 48));
  const p4 = f32x4.mul(v128.load(weights, 64), v128.load(scales, 64));
  const p5 = f32x4.mul(v128.load(weights, 80), v128.load(scales, 80));
  const p6 = f32x4.mul(v128.load(weights, 96), v128.load(scales, 96));
  const p7 = f32x4.mul(v128.load(weights, 112), v128.load(scales, 112));
  const a = f32x4.pmax(f32x4.pmax(p0, p1), f32x4.pmax(p2, p3));
  const top = f32x4.pmax(a, f32x4.pmax(f32x4.pmax(p4, p5), f32x4.pmax(p6, p7)));
  const pmax = max<f32>(
    max<f32>(f32x4.extract_lane(top, 0), f32x4.extract_lane(top, 1)),
    max<f32>(f32x4.extract_lane(top, 2), f32x4.extract_lane(top, 3)),
  );
  const tiny = pmax < TINY;
  const inverse = f32x4.splat(tiny ? 0 : TOP / pmax);
  const magic = f32x4.splat(ROUND);
  v128.store(out, i16x8.narrow_i32x4_s(round4(f32x4.mul(p0, inverse), magic), round4(f32x4.mul(p1, inverse), magic)));
  v128.store(out, i16x8.narrow_i32x4_s(round4(f32x4.mul(p2, inverse), magic), round4(f32x4.mul(p3, inverse), magic)), 16);
  v128.store(out, i16x8.narrow_i32x4_s(round4(f32x4.mul(p4, inverse), magic), round4(f32x4.mul(p5, inverse), magic)), 32);
  v128.store(out, i16x8.narrow_i32x4_s(round4(f32x4.mul(p6, inverse), magic), round4(f32x4.mul(p7, inverse), magic)), 48);
  store<f32>(out, tiny ? 0 : pmax / TOP, FACTOR);
  if (minima == 0) return;
  let term = f32x4.splat(0);
  for (let i: usize = 0; i < 128; i += 16) term = f32x4.add(term, f32x4.mul(v128.load(weights + i), v128.load(minima + i)));
  store<f32>(out, sumLanes(term), TERM);
}

// @ts-ignore: decorator
@inline
function addDims(out: usize, dots: v128, weights: usize, minima: bool): void {
  let sum = f32x4.add(v128.load(out), f32x4.mul(f32x4.convert_i32x4_s(dots), v128.load32_splat(weights, FACTOR)));
  if (minima) sum = f32x4.add(sum, v128.load32_splat(weights, TERM));
  v128.store(out, sum);
}

/** Dims 4 k .. 4 k + 7 of 16, all 32 slots; heads' weights WEIGHTS_BYTES, their outputs `stride` apart. */
// @ts-ignore: decorator
@inline
function dims8(out: usize, stride: usize, weights: usize, blocks: usize, form: KvForm, k: i32, minima: bool, nHeads: u32): void {
  const mask = maskOf(form);
  const step: usize = form == KvForm.Q4 ? 16 : 32;
  let a0 = i32x4.splat(0);
  let a1 = a0;
  let b0 = a0;
  let b1 = a0;
  let c0 = a0;
  let c1 = a0;
  let w = weights;
  for (let end = blocks + 16 * step; blocks < end; blocks += step, w += 4) {
    const v0 = codes4(blocks, form, k, mask);
    const v1 = codes4(blocks, form, k + 1, mask);
    const wa = v128.load32_splat(w);
    a0 = addPairs(a0, v0, wa);
    a1 = addPairs(a1, v1, wa);
    if (nHeads == 3) {
      const wb = v128.load32_splat(w, WEIGHTS_BYTES);
      b0 = addPairs(b0, v0, wb);
      b1 = addPairs(b1, v1, wb);
      const wc = v128.load32_splat(w, 2 * WEIGHTS_BYTES);
      c0 = addPairs(c0, v0, wc);
      c1 = addPairs(c1, v1, wc);
    }
  }
  out += k << 4;
  addDims(out, a0, weights, minima);
  addDims(out + 16, a1, weights, minima);
  if (nHeads == 3) {
    addDims(out + stride, b0, weights + WEIGHTS_BYTES, minima);
    addDims(out + stride + 16, b1, weights + WEIGHTS_BYTES, minima);
    addDims(out + 2 * stride, c0, weights + 2 * WEIGHTS_BYTES, minima);
    addDims(out + 2 * stride + 16, c1, weights + 2 * WEIGHTS_BYTES, minima);
  }
}

/** The dims [d, end) of one group, whole sixteens. */
// @ts-ignore: decorator
@inline
function dimsOf(out: usize, stride: usize, weights: usize, codes: usize, form: KvForm, d: u32, end: u32, minima: bool, nHeads: u32): void {
  const step: usize = form == KvForm.Q4 ? 16 : 32;
  for (; d < end; d += 16) {
    const blocks = codes + d * step;
    dims8(out + (d << 2), stride, weights, blocks, form, 0, minima, nHeads);
    dims8(out + (d << 2), stride, weights, blocks, form, 2, minima, nHeads);
  }
}

function dimsBytes1(out: usize, stride: usize, weights: usize, codes: usize, d: u32, end: u32, minima: bool): void {
  dimsOf(out, stride, weights, codes, KvForm.Q8, d, end, minima, 1);
}
function dimsBytes3(out: usize, stride: usize, weights: usize, codes: usize, d: u32, end: u32, minima: bool): void {
  dimsOf(out, stride, weights, codes, KvForm.Q8, d, end, minima, 3);
}
function dimsNibbles1(out: usize, stride: usize, weights: usize, codes: usize, d: u32, end: u32, minima: bool): void {
  dimsOf(out, stride, weights, codes, KvForm.Q4, d, end, minima, 1);
}
function dimsNibbles3(out: usize, stride: usize, weights: usize, codes: usize, d: u32, end: u32, minima: bool): void {
  dimsOf(out, stride, weights, codes, KvForm.Q4, d, end, minima, 3);
}

/**
 * out [nHeads][stride / 4] += the page's values under `weights` (f32 [32], SCORES_BYTES apart); out has room for the dims
 * rounded up to 16. scratch: WEIGHTS_SCRATCH; `expanded` has room for the values in bytes.
 */
export function valuesPacked(
  out: usize, stride: usize, weights: usize, values: usize, form: KvForm, dim: u32, group: u32, nHeads: u32,
  scratch: usize, expanded: usize,
): void {
  const scales = values + codesBytes(form, dim);
  const minima = hasMinima(form) ? scales + minimumOffset(dim, group) : 0;
  if (form == KvForm.Q3) {
    expandThirds(expanded, values, (dim + 15) & ~15);
    values = expanded;
  }
  const decoded = scratch + 3 * WEIGHTS_BYTES;
  for (let d: u32 = 0, g: usize = 0; d < dim; d += group, ++g) {
    decodeHalves(decoded, scales + g * SCALES_BYTES);
    if (minima != 0) decodeHalves(decoded + 128, minima + g * SCALES_BYTES);
    for (let h: usize = 0; h < nHeads; ++h) {
      quantizeWeights(scratch + h * WEIGHTS_BYTES, weights + h * SCORES_BYTES, decoded, minima != 0 ? decoded + 128 : 0);
    }
    const end = min<u32>(d + group, dim);
    if (form == KvForm.Q4) {
      if (nHeads == 3) dimsNibbles3(out, stride, scratch, values, d, end, true);
      else dimsNibbles1(out, stride, scratch, values, d, end, true);
    } else if (nHeads == 3) dimsBytes3(out, stride, scratch, values, d, end, minima != 0);
    else dimsBytes1(out, stride, scratch, values, d, end, minima != 0);
  }
}

/** One head; out [dim]. */
export function valuesPackedRef(out: usize, weights: usize, values: usize, form: KvForm, dim: u32, group: u32): void {
  for (let g: u32 = 0; g < groupsOf(dim, group); ++g) {
    let pmax: f32 = 0;
    let l0: f32 = 0;
    let l1: f32 = 0;
    let l2: f32 = 0;
    let l3: f32 = 0;
    for (let j: u32 = 0; j < <u32>Size.PAGE_SLOTS; ++j) {
      const at = scaleAt(values, form, j, g, dim);
      const w = load<f32>(weights + (j << 2));
      const p: f32 = w * halfToFloat(load<u16>(at));
      pmax = max<f32>(pmax, p);
      if (!hasMinima(form)) continue;
      const m: f32 = w * halfToFloat(load<u16>(at + minimumOffset(dim, group)));
      if ((j & 3) == 0) l0 = l0 + m;
      else if ((j & 3) == 1) l1 = l1 + m;
      else if ((j & 3) == 2) l2 = l2 + m;
      else l3 = l3 + m;
    }
    const tiny = pmax < TINY;
    const inverse: f32 = tiny ? 0 : TOP / pmax;
    const factor: f32 = tiny ? 0 : pmax / TOP;
    const term: f32 = l0 + l1 + (l2 + l3);
    for (let d = g * group; d < min<u32>((g + 1) * group, dim); ++d) {
      let dot: i32 = 0;
      for (let j: u32 = 0; j < <u32>Size.PAGE_SLOTS; ++j) {
        const p: f32 = load<f32>(weights + (j << 2)) * halfToFloat(load<u16>(scaleAt(values, form, j, g, dim)));
        dot += codeAt(values, form, Part.VALUES, j, d, dim) * <i32>nearest<f32>(p * inverse);
      }
      const product: f32 = <f32>dot * factor;
      let sum: f32 = load<f32>(out + (d << 2)) + product;
      if (hasMinima(form)) sum = sum + term;
      store<f32>(out + (d << 2), sum);
    }
  }
}
