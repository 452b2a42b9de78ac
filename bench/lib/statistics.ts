/** Medians, and ratios of interleaved runs. @module */

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
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
