/**
 * KvSection words by name.
 * @module
 */
import { KvSection } from "../../assembly/memory/status.ts";

export function sectionWord(names: {
  readonly mean?: boolean;
  readonly outliers?: number;
  readonly factors?: boolean;
  readonly salient?: number;
}): number {
  const { mean = false, outliers = 0, factors = false, salient = 0 } = names;
  const bits = (mean ? KvSection.MEAN : 0) + (factors ? KvSection.FACTORS : 0);
  return bits + (outliers << KvSection.OUTLIERS_SHIFT) + (salient << KvSection.SALIENT_SHIFT);
}
