/**
 * A query head for integer scores: f32 [dim] -> int8 [dim], its sums by groups, one factor.
 *
 *   absmax = max |q| ; below 2^-100 all is zero ; code = nearest-even(q * (127 / absmax))
 *   factor = (absmax / 127) * scale, the scale of q.k
 *
 *   | f32 factor | f32 sums of codes [groups, at most 15] | .. 64 | i16 codes [dim] | multipliers [dim] |   queryBytes(dim)
 *
 * Both arrays go to whole sixteens of dims, with zeros. The multipliers are what packed-dots.ts takes: bytes in builds with
 * relaxed SIMD; else i16 with dims 1 and 2 of each four exchanged, for nibbles.
 */
import { KvForm } from "../memory/status";

const TINY: f32 = 7.888609052210118e-31; // 2^-100
/** Largest code. */
export const TOP_QUERY: f32 = 127;

/** Offset of the codes. */
export const QUERY_CODES: usize = 64;

// @ts-ignore: decorator
@inline
function padded(dim: u32): u32 {
  return (dim + 15) & ~15;
}

// @ts-ignore: decorator
@inline
export function queryBytes(dim: u32): usize {
  return QUERY_CODES + (padded(dim) << 2);
}

/** Bytes of the multipliers of four members. */
export const QUAD_BYTES: usize = ASC_FEATURE_RELAXED_SIMD ? 4 : 8;

/** What dots of codes of `form` multiply with, of a query. */
// @ts-ignore: decorator
@inline
export function multipliersOf(query: usize, form: KvForm, dim: u32): usize {
  return query + QUERY_CODES + (ASC_FEATURE_RELAXED_SIMD || form == KvForm.Q4 ? padded(dim) << 1 : 0);
}

/** Stores the multipliers of four codes (i32 lanes), dims d .. d + 3. */
// @ts-ignore: decorator
@inline
export function storeMultipliers(query: usize, codes: v128, d: u32, dim: u32): void {
  const halves = i16x8.narrow_i32x4_s(codes, codes);
  const at = query + (padded(dim) << 1);
  if (ASC_FEATURE_RELAXED_SIMD) v128.store32_lane(at + d, i8x16.narrow_i16x8_s(halves, halves), 0, QUERY_CODES);
  else v128.store64_lane(at + (d << 1), v128.shuffle<i16>(halves, halves, 0, 2, 1, 3, 4, 5, 6, 7), 0, QUERY_CODES);
}

/** Those of eight codes, i16. */
// @ts-ignore: decorator
@inline
export function storeMultipliers8(query: usize, codes: v128, d: u32, dim: u32): void {
  const at = query + (padded(dim) << 1);
  if (ASC_FEATURE_RELAXED_SIMD) v128.store64_lane(at + d, i8x16.narrow_i16x8_s(codes, codes), 0, QUERY_CODES);
  else v128.store(at + (d << 1), v128.shuffle<i16>(codes, codes, 0, 2, 1, 3, 4, 6, 5, 7), QUERY_CODES);
}

/** Codes are q times this. */
// @ts-ignore: decorator
@inline
export function queryInverse(absmax: f32): f32 {
  return absmax < TINY ? 0 : TOP_QUERY / absmax;
}

// @ts-ignore: decorator
@inline
export function queryFactor(absmax: f32, scale: f32): f32 {
  return absmax < TINY ? 0 : (absmax / TOP_QUERY) * scale;
}

export function quantizeQuery(out: usize, q: usize, dim: u32, group: u32, scale: f32): void {
  let absmax: f32 = 0;
  for (let d: u32 = 0; d < dim; ++d) absmax = max<f32>(absmax, abs<f32>(load<f32>(q + (d << 2))));
  const inverse = queryInverse(absmax);
  store<f32>(out, queryFactor(absmax, scale));
  for (let first: u32 = 0, g: usize = 1; first < padded(dim); first += group, ++g) {
    let sums = i32x4.splat(0);
    for (let d = first; d < min<u32>(first + group, padded(dim)); d += 4) {
      const codes = codes4(q, d, dim, inverse);
      sums = i32x4.add(sums, codes);
      v128.store64_lane(out + (d << 1), i16x8.narrow_i32x4_s(codes, codes), 0, QUERY_CODES);
      storeMultipliers(out, codes, d, dim);
    }
    const sum = i32x4.extract_lane(sums, 0) + i32x4.extract_lane(sums, 1) + i32x4.extract_lane(sums, 2) + i32x4.extract_lane(sums, 3);
    if (first < dim) store<f32>(out + (g << 2), <f32>sum);
  }
}

/** Codes of dims d .. d + 3, 0 from `dim` on. */
// @ts-ignore: decorator
@inline
function codes4(q: usize, d: u32, dim: u32, inverse: f32): v128 {
  if (d + 4 <= dim) return i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(q + (d << 2)), f32x4.splat(inverse))));
  let codes = i32x4.splat(0);
  if (d < dim) codes = i32x4.replace_lane(codes, 0, <i32>nearest<f32>(load<f32>(q + (d << 2)) * inverse));
  if (d + 1 < dim) codes = i32x4.replace_lane(codes, 1, <i32>nearest<f32>(load<f32>(q + (d << 2), 4) * inverse));
  if (d + 2 < dim) codes = i32x4.replace_lane(codes, 2, <i32>nearest<f32>(load<f32>(q + (d << 2), 8) * inverse));
  return codes;
}

/** Factor, sums and i16 codes alone. */
export function quantizeQueryRef(out: usize, q: usize, dim: u32, group: u32, scale: f32): void {
  let absmax: f32 = 0;
  for (let d: u32 = 0; d < dim; ++d) absmax = max<f32>(absmax, abs<f32>(load<f32>(q + (d << 2))));
  store<f32>(out, absmax < TINY ? 0 : (absmax / TOP_QUERY) * scale);
  for (let first: u32 = 0, g: usize = 1; first < dim; first += group, ++g) {
    let sum: i32 = 0;
    for (let d = first; d < min<u32>(first + group, dim); ++d) {
      const code = absmax < TINY ? 0 : <i32>nearest<f32>(load<f32>(q + (d << 2)) * (TOP_QUERY / absmax));
      store<i16>(out + QUERY_CODES + (d << 1), <i16>code);
      sum += code;
    }
    store<f32>(out + (g << 2), <f32>sum);
  }
}
