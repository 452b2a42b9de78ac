/** Sums of rows; n a multiple of 4. */

/** Residual connection: x[i] += y[i] * scale. A scale of 1 changes no bit of y. */
export function addScaled(x: usize, y: usize, n: u32, scale: f32): void {
  const vscale = f32x4.splat(scale);
  for (let end = x + (n << 2); x < end; x += 16, y += 16) {
    v128.store(x, f32x4.add(v128.load(x), f32x4.mul(v128.load(y), vscale)));
  }
}

export function addScaledRef(x: usize, y: usize, n: u32, scale: f32): void {
  for (let i: u32 = 0; i < n; ++i) {
    const term: f32 = load<f32>(y + (i << 2)) * scale;
    store<f32>(x + (i << 2), load<f32>(x + (i << 2)) + term);
  }
}

/** Bias: x[i] += y[i]. */
export function addRow(x: usize, y: usize, n: u32): void {
  for (let end = x + (n << 2); x < end; x += 16, y += 16) v128.store(x, f32x4.add(v128.load(x), v128.load(y)));
}

export function addRowRef(x: usize, y: usize, n: u32): void {
  for (let i: u32 = 0; i < n; ++i) store<f32>(x + (i << 2), load<f32>(x + (i << 2)) + load<f32>(y + (i << 2)));
}
