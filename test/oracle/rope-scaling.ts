/**
 * Frequencies of RoPE and of its scalings for long contexts, in f64, from the formulas of their papers.
 * @module
 */

export interface RopeScaling {
  readonly d: number;
  readonly base: number;
  /** Interpolated frequencies are divided by it; default 1. */
  readonly factor?: number;
  /** One for each pair; default 1. */
  readonly divisors?: ArrayLike<number>;
  /** YaRN: tokens of the original context, and rotations within it. Without it every frequency is interpolated. */
  readonly yarn?: { readonly context: number; readonly fast: number; readonly slow: number };
}

/**
 * base^(-2 i / d) / divisor_i, interpolated (https://arxiv.org/abs/2306.15595), or by parts (YaRN,
 * https://arxiv.org/abs/2309.00071, with the ramp over pairs that its authors' code has).
 */
export function ropeFrequencies64(scaling: RopeScaling): number[] {
  const { d, factor = 1, divisors } = scaling;
  const share = interpolation64(scaling);
  return Array.from({ length: d / 2 }, (_, i) => {
    const frequency = scaling.base ** ((-2 * i) / d) / (divisors?.[i] ?? 1);
    return share(i) * (frequency / factor) + (1 - share(i)) * frequency;
  });
}

/** How much of pair i is interpolated: from 0 for the fastest to 1 for the slowest. */
export function interpolation64({ d, base, yarn }: RopeScaling): (i: number) => number {
  if (yarn === undefined) return () => 1;
  // Pair p turns context base^(-2 p / d) / (2 pi) times within the original context.
  const pairOf = (turns: number) => ((d / 2) * Math.log(yarn.context / (2 * Math.PI * turns))) / Math.log(base);
  const from = Math.max(Math.floor(pairOf(yarn.fast)), 0);
  const to = Math.min(Math.ceil(pairOf(yarn.slow)), d - 1);
  return (i) => Math.min(Math.max((i - from) / Math.max(to - from, 0.001), 0), 1);
}

/** YaRN's factor of cosines and sines, which makes the logits' temperature. */
export function yarnMagnitude64(factor: number): number {
  return 1 + 0.1 * Math.log(factor);
}

/** Llama 3's scaling as divisors: 1 for short wavelengths, `factor` for long ones, 1 / a mean of frequencies between. */
export function llama3Divisors64(
  frequencies: readonly number[],
  { factor, low, high, context }: { factor: number; low: number; high: number; context: number },
): number[] {
  return frequencies.map((frequency) => {
    const turns = (context * frequency) / (2 * Math.PI);
    const smooth = Math.min(Math.max((turns - low) / (high - low), 0), 1);
    return 1 / ((1 - smooth) / factor + smooth);
  });
}
