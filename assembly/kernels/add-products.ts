/**
 * Sums over vectors and over their products in f64, from which mean and covariance follow.
 *
 *   sums_i += x_i;   products_ij += x_i x_j for j <= i, row after row, a row of i + 1 values rounded up to an even number
 *
 * Shapes: sums f64 [n], products f64 [n (n + 2) / 2], x f32 [n], wide f64 [n] to work in; n even. Each product is exact.
 */

/** Place of products_i0. */
// @ts-ignore: decorator
@inline
export function productRow(i: u32): u32 {
  const pair = i >> 1;
  return (pair + 1) * ((pair + (i & 1)) << 1);
}

/** sums += x. */
export function addVector(sums: usize, x: usize, n: u32): void {
  for (let end = x + (n << 2); x < end; x += 4, sums += 8) store<f64>(sums, load<f64>(sums) + <f64>load<f32>(x));
}

export function addProducts(products: usize, x: usize, n: u32, wide: usize): void {
  for (let i: u32 = 0; i < n; i += 2) v128.store(wide + (i << 3), f64x2.promote_low_f32x4(v128.load64_zero(x + (i << 2))));
  for (let i: u32 = 0; i < n; ++i) {
    const factor = v128.load64_splat(wide + (i << 3));
    const end = wide + ((i | 1) << 3);
    for (let at = wide; at < end; at += 16, products += 16) {
      v128.store(products, f64x2.add(v128.load(products), f64x2.mul(factor, v128.load(at))));
    }
  }
}

export function addProductsRef(products: usize, x: usize, n: u32, _wide: usize): void {
  for (let i: u32 = 0; i < n; ++i) {
    for (let j: u32 = 0; j <= (i | 1); ++j) {
      const at = products + ((productRow(i) + j) << 3);
      store<f64>(at, load<f64>(at) + <f64>load<f32>(x + (i << 2)) * <f64>load<f32>(x + (j << 2)));
    }
  }
}
