/**
 * Weighted sums of the values of a packed page, in integers, one lane per dim:
 *
 *   p_j = w_j scale_jg ; pmax = max p_j ; c_j = nearest-even(p_j * (127 / pmax)), 0 where pmax < 2^-100
 *   out_d += f32(sum_j code_jd c_j) * (pmax / 127) ; out_d += sum_j w_j minimum_jg      for the dims d of group g
 *
 * the last sum in four lanes (slot j in lane j mod 4), then (l0 + l1) + (l2 + l3), only where the form has minima.
 */
import { codeAt, codesBytes, groupsOf, hasMinima, minimumOffset, scaleAt, SCALES_BYTES } from "../cache/packed-page";
import { KvForm, Part, Size } from "../memory/status";
import { halfToFloat } from "./f16";
import { expandThirds } from "./packed-codes";
import { DOTS_BYTES, DOTS_STRIDE, packedDots } from "./packed-dots";
import { SCORES_BYTES } from "./scores-f32";
import { halfBias, halfMask, loadHalf4, roundMagic, sumLanes } from "./simd";

const TINY: f32 = 7.888609052210118e-31; // 2^-100
const TOP: f32 = 127;

/** Bytes of a head's weights for a page and group: multipliers of packed-dots.ts [32], factor, the minimum's term. */
export const WEIGHTS_BYTES: usize = 128;
/** Three heads' weights, and scales and minima as f32. */
export const WEIGHTS_SCRATCH: usize = 3 * WEIGHTS_BYTES + 256;
const FACTOR: usize = 64;
const TERM: usize = 68;

/** 32 f16 as f32. */
// @ts-ignore: decorator
@inline
function decodeHalves(out: usize, halves: usize): void {
  const mask = halfMask();
  const bias = halfBias();
  for (let i: usize = 0; i < 64; i += 8) v128.store(out + (i << 1), loadHalf4(halves, i, mask, bias));
}

/** Rounds to nearest even, 0 <= x < 2^22: adding 1.5 * 2^23 leaves the integer in the low bits. */
// @ts-ignore: decorator
@inline
function round4(x: v128, magic: v128): v128 {
  return i32x4.sub(f32x4.add(x, magic), magic);
}

/** Stores the weights of 16 slots, as i32 in four vectors, for nibbles or bytes. */
// @ts-ignore: decorator
@inline
function storeWeights(out: usize, slot: usize, c0: v128, c1: v128, c2: v128, c3: v128, isNibbles: bool): void {
  const a = i16x8.narrow_i32x4_s(c0, c1);
  const b = i16x8.narrow_i32x4_s(c2, c3);
  if (ASC_FEATURE_RELAXED_SIMD) {
    v128.store(out + slot, i8x16.narrow_i16x8_s(a, b));
    return;
  }
  out += slot << 1;
  v128.store(out, isNibbles ? v128.shuffle<i16>(a, a, 0, 2, 1, 3, 4, 6, 5, 7) : a);
  v128.store(out, isNibbles ? v128.shuffle<i16>(b, b, 0, 2, 1, 3, 4, 6, 5, 7) : b, 16);
}

/** Weights of a page for one group; `weights`, `scales` f32 [32], `minima` the same or 0. */
// @ts-ignore: decorator
@inline
function quantizeWeights(out: usize, weights: usize, scales: usize, minima: usize, isNibbles: bool): void {
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
  const magic = roundMagic();
  storeWeights(
    out, 0,
    round4(f32x4.mul(p0, inverse), magic), round4(f32x4.mul(p1, inverse), magic),
    round4(f32x4.mul(p2, inverse), magic), round4(f32x4.mul(p3, inverse), magic), isNibbles,
  );
  storeWeights(
    out, 16,
    round4(f32x4.mul(p4, inverse), magic), round4(f32x4.mul(p5, inverse), magic),
    round4(f32x4.mul(p6, inverse), magic), round4(f32x4.mul(p7, inverse), magic), isNibbles,
  );
  store<f32>(out, tiny ? 0 : pmax / TOP, FACTOR);
  if (minima == 0) return;
  let term = f32x4.splat(0);
  for (let i: usize = 0; i < 128; i += 16) term = f32x4.add(term, f32x4.mul(v128.load(weights + i), v128.load(minima + i)));
  store<f32>(out, sumLanes(term), TERM);
}

/** out [n] += dots times the factor, plus the minima's term; n a multiple of 8. */
// @ts-ignore: decorator
@inline
function addDims(out: usize, dots: usize, n: u32, weights: usize, minima: bool): void {
  const factor = v128.load32_splat(weights, FACTOR);
  const term = v128.load32_splat(weights, TERM);
  for (let end = dots + (n << 2); dots < end; dots += 16, out += 16) {
    const sum = f32x4.add(v128.load(out), f32x4.mul(f32x4.convert_i32x4_s(v128.load(dots)), factor));
    v128.store(out, minima ? f32x4.add(sum, term) : sum);
  }
}

/** Fours of a page's slots. */
const SLOT_FOURS: usize = Size.PAGE_SLOTS >> 2;

/**
 * out [nHeads][stride / 4] += the page's values under `weights` (f32 [32], SCORES_BYTES apart); out has room for the dims
 * rounded up to 16. scratch: WEIGHTS_SCRATCH; `work`: workBytes.
 */
export function valuesPacked(
  out: usize, stride: usize, weights: usize, values: usize, form: KvForm, dim: u32, group: u32, nHeads: u32, scratch: usize, work: usize,
): void {
  const scales = values + codesBytes(form, dim);
  const minima = hasMinima(form) ? scales + minimumOffset(dim, group) : 0;
  if (form == KvForm.Q3) {
    expandThirds(work + DOTS_BYTES, values, (dim + 15) & ~15);
    values = work + DOTS_BYTES;
    form = KvForm.Q4;
  }
  const octet: usize = SLOT_FOURS << (form == KvForm.Q4 ? 4 : 5);
  const decoded = scratch + 3 * WEIGHTS_BYTES;
  for (let d: u32 = 0, g: usize = 0; d < dim; d += group, ++g) {
    decodeHalves(decoded, scales + g * SCALES_BYTES);
    if (minima != 0) decodeHalves(decoded + 128, minima + g * SCALES_BYTES);
    for (let h: usize = 0; h < nHeads; ++h) {
      quantizeWeights(
        scratch + h * WEIGHTS_BYTES, weights + h * SCORES_BYTES, decoded, minima != 0 ? decoded + 128 : 0, form == KvForm.Q4,
      );
    }
    const n = (min<u32>(group, dim - d) + 7) & ~7;
    packedDots(work, values + <usize>(d >> 3) * octet, n >> 3, octet, SLOT_FOURS, scratch, WEIGHTS_BYTES, form, false, nHeads);
    for (let h: usize = 0; h < nHeads; ++h) {
      addDims(out + h * stride + (d << 2), work + h * DOTS_STRIDE, n, scratch + h * WEIGHTS_BYTES, minima != 0);
    }
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
