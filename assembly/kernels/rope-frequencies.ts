/**
 * The frequencies of a RoPE table, f64, with the scalings of long contexts. https://arxiv.org/abs/2104.09864
 *
 *   f_i   = base^(-2 i / d) / divisor_i          (divisors: Llama 3, LongRoPE https://arxiv.org/abs/2402.13753; else 1)
 *   linear: f_i / factor                                                        https://arxiv.org/abs/2306.15595
 *   YaRN:   f_i ((1 - r_i) + r_i / factor),  r_i = clamp((i - low) / max(0.001, high - low), 0, 1)
 *           low = max(0, floor(c(betaFast))), high = min(d - 1, ceil(c(betaSlow))),
 *           c(b) = d ln(originalContext / (2 pi b)) / (2 ln base)               https://arxiv.org/abs/2309.00071
 *           cosines and sines are multiplied by 1 + 0.1 ln(factor) where the factor is above 1
 *
 * `magnitude` of the file multiplies cosines and sines besides. d is a multiple of 8.
 */
import { RopeTable } from "../memory/records";
import { exp64, log64 } from "./double";

const TWO_PI: f64 = 6.283185307179586;

/** The pair that turns `rotations` times within the original context. */
function pairOf(table: RopeTable, d: u32, rotations: f64): f64 {
  return (<f64>d * log64(table.originalContext / (TWO_PI * rotations))) / (2 * log64(table.base));
}

export function ropeFrequencies(table: RopeTable, d: u32): void {
  const step = (-2 * log64(table.base)) / <f64>d;
  const isYarn = table.originalContext > 0;
  const low = isYarn ? max<f64>(0, floor<f64>(pairOf(table, d, table.betaFast))) : 0;
  const high = isYarn ? min<f64>(<f64>(d - 1), ceil<f64>(pairOf(table, d, table.betaSlow))) : 0;
  for (let i: u32 = 0; i < d >> 1; ++i) {
    let frequency = exp64(<f64>i * step);
    if (table.divisors != 0) frequency = frequency / <f64>load<f32>(table.divisors + (i << 2));
    const ramp = isYarn ? min<f64>(1, max<f64>(0, (<f64>i - low) / max<f64>(0.001, high - low))) : 1;
    if (table.factor != 1) frequency = frequency * (1 - ramp) + (frequency / table.factor) * ramp;
    store<f64>(table.frequencies + (i << 3), frequency);
  }
  if (isYarn && table.factor > 1) table.magnitude = table.magnitude * (1 + 0.1 * log64(table.factor));
}
