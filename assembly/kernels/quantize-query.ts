/**
 * A query head for integer scores: f32 [dim] -> i16 [dim], its sums by groups, one factor.
 *
 *   absmax = max |q| ; below 2^-100 all is zero ; code = nearest-even(q * (32767 / absmax))
 *   factor = (absmax / 32767) * scale, the scale of q.k
 *
 *   | f32 factor | f32 sums of codes [groups, at most 15] | .. 64 | i16 codes [dim] |     queryBytes(dim)
 */
const TINY: f32 = 7.888609052210118e-31; // 2^-100
const TOP: f32 = 32767;

/** Offset of the codes. */
export const QUERY_CODES: usize = 64;

// @ts-ignore: decorator
@inline
export function queryBytes(dim: u32): usize {
  return (QUERY_CODES + (dim << 1) + 63) & ~63;
}

export function quantizeQuery(out: usize, q: usize, dim: u32, group: u32, scale: f32): void {
  let absmax: f32 = 0;
  for (let i: u32 = 0; i < dim; ++i) absmax = max<f32>(absmax, abs<f32>(load<f32>(q + (i << 2))));
  const inverse: f32 = absmax < TINY ? 0 : TOP / absmax;
  store<f32>(out, absmax < TINY ? 0 : (absmax / TOP) * scale);
  for (let first: u32 = 0, g: usize = 1; first < dim; first += group, ++g) {
    let sum: i32 = 0;
    for (let i = first; i < min<u32>(first + group, dim); ++i) {
      const code = <i32>nearest<f32>(load<f32>(q + (i << 2)) * inverse);
      store<i16>(out + QUERY_CODES + (i << 1), <i16>code);
      sum += code;
    }
    store<f32>(out + (g << 2), <f32>sum);
  }
}
