/**
 * Norms, RoPE, gated units, soft cap and head pooling in f64, from the formulas of their papers.
 * @module
 */

/** https://arxiv.org/abs/1910.07467: x_i / sqrt(mean(x^2) + eps) * w_i. */
export function rmsNormRef64(x: ArrayLike<number>, weight: ArrayLike<number>, eps: number): number[] {
  const values = Array.from(x);
  const mean = values.reduce((sum, v) => sum + v * v, 0) / values.length;
  return values.map((v, i) => (v / Math.sqrt(mean + eps)) * weight[i]!);
}

export interface LayerNormed {
  readonly out: number[];
  /** 1 / sqrt(variance + eps). */
  readonly inverse: number;
  /** mean(|x|): the scale of the error of the mean. */
  readonly meanSize: number;
}

/** https://arxiv.org/abs/1607.06450 without bias: (x_i - mean) / sqrt(mean((x - mean)^2) + eps) * w_i. */
export function layerNormRef64(x: ArrayLike<number>, weight: ArrayLike<number>, eps: number): LayerNormed {
  const values = Array.from(x);
  const meanOf = (terms: readonly number[]) => terms.reduce((sum, v) => sum + v, 0) / terms.length;
  const mean = meanOf(values);
  const inverse = 1 / Math.sqrt(meanOf(values.map((v) => (v - mean) ** 2)) + eps);
  const out = values.map((v, i) => (v - mean) * inverse * weight[i]!);
  return { out, inverse, meanSize: meanOf(values.map(Math.abs)) };
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

/** https://arxiv.org/abs/2002.05202 with GELU's tanh form: gelu(gate) up, both given. */
export function gegluRef64(gate: number, up: number): number {
  const u = Math.sqrt(2 / Math.PI) * (gate + 0.044715 * gate ** 3);
  // The same number; the sum loses its digits where tanh is near -1.
  const onePlusTanh = u < -1 ? 2 / (1 + Math.exp(-2 * u)) : 1 + Math.tanh(u);
  return (gate / 2) * onePlusTanh * up;
}

/** The exact GELU, x / 2 (1 + erf(x / sqrt 2)), for |x| of a few units: erf as its Taylor series. */
export function geluErf64(x: number): number {
  const z = x / Math.SQRT2;
  let power = z;
  let sum = z;
  for (let n = 1; n < 200; ++n) {
    power *= (-z * z) / n;
    sum += power / (2 * n + 1);
  }
  return (x / 2) * (1 + (2 / Math.sqrt(Math.PI)) * sum);
}

/** https://arxiv.org/abs/2408.00118: cap tanh(x / cap). */
export function softcapRef64(x: number, cap: number): number {
  return cap * Math.tanh(x / cap);
}

export interface Pooled {
  readonly value: number;
  /** Sum of the absolute values of what was added. */
  readonly size: number;
}

/** https://arxiv.org/abs/2407.10855: dim d of KV head g, the weighted sum over the m heads of its group; x [heads][dim]. */
export function poolRef64(x: ArrayLike<number>, weights: ArrayLike<number>, m: number, dim: number): Pooled[] {
  const nGroups = weights.length / m;
  return Array.from({ length: nGroups * dim }, (_, at) => {
    const [g, d] = [Math.floor(at / dim), at % dim];
    const terms = Array.from({ length: m }, (_, i) => weights[g * m + i]! * x[(g * m + i) * dim + d]!);
    return { value: terms.reduce((a, b) => a + b), size: terms.reduce((a, b) => a + Math.abs(b), 0) };
  });
}
