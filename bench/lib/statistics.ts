/** Medians, means with their standard errors, and ratios of interleaved runs. @module */

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** A mean of independent samples. */
export interface Estimate {
  readonly mean: number;
  /** Standard error: sample deviation over the root of their number; NaN of a single one. */
  readonly error: number;
  readonly n: number;
}

export function estimate(values: readonly number[]): Estimate {
  const n = values.length;
  const mean = values.reduce((a, b) => a + b, 0) / n;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, error: n < 2 ? Number.NaN : Math.sqrt(squares / (n - 1) / n), n };
}

/** A ratio with its range over the rounds. */
export interface Ratio {
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

/** Round by round a / b: the two were measured one right after the other, so what slowed one mostly slowed both. */
export function ratioOf(a: readonly number[], b: readonly number[]): Ratio {
  const ratios = a.slice(0, b.length).map((value, round) => value / b[round]!);
  return { median: median(ratios), low: Math.min(...ratios), high: Math.max(...ratios) };
}
