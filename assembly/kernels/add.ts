/** Residual connection: x[i] += y[i]; n a multiple of 4. */

export function addRow(x: usize, y: usize, n: u32): void {
  for (let end = x + (n << 2); x < end; x += 16, y += 16) v128.store(x, f32x4.add(v128.load(x), v128.load(y)));
}

export function addRowRef(x: usize, y: usize, n: u32): void {
  for (let i: u32 = 0; i < n; ++i) store<f32>(x + (i << 2), load<f32>(x + (i << 2)) + load<f32>(y + (i << 2)));
}
