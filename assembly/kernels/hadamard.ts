/**
 * Rotation of queries and keys by a normalised Hadamard matrix, which spreads outlier channels over all dims before keys
 * are quantized: q.k = (H q).(H k). https://arxiv.org/abs/2501.15021 (AKVQ-VL), https://arxiv.org/abs/2404.00456 (QuaRot)
 *
 *   blocks of b dims, b the largest power of two that divides dim; in a block, for h = 1, 2, 4 .. b / 2:
 *   (x_i, x_{i+h}) <- (x_i + x_{i+h}, x_i - x_{i+h}) for every i without bit h; then all times 1 / sqrt(b)
 *
 * Shape: x [dim] f32, in place; dim a multiple of 4.
 */

/** Dims of a block. */
// @ts-ignore: decorator
@inline
function blockDims(dim: u32): u32 {
  return dim & (0 - dim);
}

export function hadamard(x: usize, dim: u32): void {
  const block = blockDims(dim);
  const factor = f32x4.splat(<f32>1 / sqrt<f32>(<f32>block));
  for (let end = x + (dim << 2); x < end; x += block << 2) {
    for (let at = x; at < x + (block << 2); at += 16) {
      const v = v128.load(at);
      const even = v128.shuffle<f32>(v, v, 0, 0, 2, 2);
      const odd = v128.shuffle<f32>(v, v, 1, 1, 3, 3);
      const pairs = v128.shuffle<f32>(f32x4.add(even, odd), f32x4.sub(even, odd), 0, 4, 2, 6);
      const low = v128.shuffle<f32>(pairs, pairs, 0, 1, 0, 1);
      const high = v128.shuffle<f32>(pairs, pairs, 2, 3, 2, 3);
      v128.store(at, v128.shuffle<f32>(f32x4.add(low, high), f32x4.sub(low, high), 0, 1, 4, 5));
    }
    for (let h: usize = 16; h < block << 2; h <<= 1) {
      for (let first = x; first < x + (block << 2); first += h << 1) {
        for (let at = first; at < first + h; at += 16) {
          const a = v128.load(at);
          const b = v128.load(at + h);
          v128.store(at, f32x4.add(a, b));
          v128.store(at + h, f32x4.sub(a, b));
        }
      }
    }
    for (let at = x; at < x + (block << 2); at += 16) v128.store(at, f32x4.mul(v128.load(at), factor));
  }
}

export function hadamardRef(x: usize, dim: u32): void {
  const block = blockDims(dim);
  const factor: f32 = <f32>1 / sqrt<f32>(<f32>block);
  for (let end = x + (dim << 2); x < end; x += block << 2) {
    for (let h: u32 = 1; h < block; h <<= 1) {
      for (let i: u32 = 0; i < block; ++i) {
        if (i & h) continue;
        const a = load<f32>(x + (i << 2));
        const b = load<f32>(x + ((i + h) << 2));
        store<f32>(x + (i << 2), a + b);
        store<f32>(x + ((i + h) << 2), a - b);
      }
    }
    for (let i: u32 = 0; i < block; ++i) store<f32>(x + (i << 2), load<f32>(x + (i << 2)) * factor);
  }
}
