/**
 * Weighted head sharing: KV head g is the weighted sum of the m heads g m .. g m + m - 1 that the projection gives.
 * https://arxiv.org/abs/2407.10855 (WGQA); equal weights 1 / m are mean-pooled GQA, https://arxiv.org/abs/2305.13245.
 *
 *   out[g][d] = sum over i ascending of weights[g m + i] * x[g m + i][d]
 *
 * In place: x [nGroups * m][dim] becomes [nGroups][dim] at its front. dim a multiple of 4.
 */

export function poolHeads(x: usize, weights: usize, nGroups: u32, m: u32, dim: u32): void {
  const bytes: usize = dim << 2;
  let out = x;
  for (let g: u32 = 0; g < nGroups; ++g, x += m * bytes, weights += m << 2, out += bytes) {
    for (let d: usize = 0; d < bytes; d += 16) {
      let sum = f32x4.mul(v128.load32_splat(weights), v128.load(x + d));
      for (let i: usize = 1; i < m; ++i) {
        sum = f32x4.add(sum, f32x4.mul(v128.load32_splat(weights + (i << 2)), v128.load(x + i * bytes + d)));
      }
      v128.store(out + d, sum);
    }
  }
}

export function poolHeadsRef(x: usize, weights: usize, nGroups: u32, m: u32, dim: u32): void {
  for (let g: u32 = 0; g < nGroups; ++g) {
    for (let d: u32 = 0; d < dim; ++d) {
      let sum: f32 = 0;
      for (let i: u32 = 0; i < m; ++i) {
        const head = g * m + i;
        const term: f32 = load<f32>(weights + (head << 2)) * load<f32>(x + ((head * dim + d) << 2));
        sum = i == 0 ? term : sum + term;
      }
      store<f32>(x + ((g * dim + d) << 2), sum);
    }
  }
}
