/**
 * RMSNorm, RoPE and SwiGLU in f64, from the formulas of their papers.
 * @module
 */

/** https://arxiv.org/abs/1910.07467: x_i / sqrt(mean(x^2) + eps) * w_i. */
export function rmsNormRef64(x: ArrayLike<number>, weight: ArrayLike<number>, eps: number): number[] {
  const values = Array.from(x);
  const mean = values.reduce((sum, v) => sum + v * v, 0) / values.length;
  return values.map((v, i) => (v / Math.sqrt(mean + eps)) * weight[i]!);
}

/** The angle of pair i of d dims at a position: position * base^(-2 i / d). */
export function ropeAngle64(position: number, i: number, d: number, base: number): number {
  return position * base ** ((-2 * i) / d);
}

/** https://arxiv.org/abs/2104.09864 on the pairs (i, i + d/2): (x + i y) e^(i angle), as complex numbers. */
export function ropeRef64(x: ArrayLike<number>, angle: (i: number) => number): number[] {
  const half = x.length / 2;
  const out = Array.from(x);
  for (let i = 0; i < half; ++i) {
    const real = x[i]!;
    const imaginary = x[i + half]!;
    const radius = Math.hypot(real, imaginary);
    const turned = Math.atan2(imaginary, real) + angle(i);
    out[i] = radius * Math.cos(turned);
    out[i + half] = radius * Math.sin(turned);
  }
  return out;
}

/** https://arxiv.org/abs/2002.05202: gate sigmoid(gate) up. */
export function swigluRef64(gate: number, up: number): number {
  return (gate / (1 + Math.exp(-gate))) * up;
}
