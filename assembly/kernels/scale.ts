/** x[i] *= factor; n is rounded up to a multiple of 4. */

export function scaleRow(x: usize, n: u32, factor: f32): void {
  const vfactor = f32x4.splat(factor);
  for (let end = x + (((n + 3) & ~3) << 2); x < end; x += 16) v128.store(x, f32x4.mul(v128.load(x), vfactor));
}

export function scaleRowRef(x: usize, n: u32, factor: f32): void {
  for (let i: u32 = 0; i < ((n + 3) & ~3); ++i) store<f32>(x + (i << 2), load<f32>(x + (i << 2)) * factor);
}
