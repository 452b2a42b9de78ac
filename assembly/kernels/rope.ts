/**
 * Rotary position embedding on half-split pairs (i, i + d/2). https://arxiv.org/abs/2104.09864
 *
 *   angle_i = position * frequency_i (f64; rope-frequencies.ts); cos and sin rounded once to f32
 *   x[i]' = x[i] cos_i - x[i + d/2] sin_i;   x[i + d/2]' = x[i + d/2] cos_i + x[i] sin_i
 *
 * d (the rotated dims, the first of a head) a multiple of 8. Angles of a row: d/2 cosines, then d/2 sines, f32.
 */
import { RopeTable } from "../memory/records";
import { cosSin64 } from "./double";

/** Cosines and sines of one position, times `magnitude`; `scratch` holds two f64. */
export function ropeAngles(out: usize, table: RopeTable, position: u32, d: u32, scratch: usize): void {
  const half = d >> 1;
  for (let i: u32 = 0; i < half; ++i) {
    cosSin64(scratch, <f64>position * load<f64>(table.frequencies + (i << 3)));
    store<f32>(out + (i << 2), <f32>(load<f64>(scratch) * table.magnitude));
    store<f32>(out + ((half + i) << 2), <f32>(load<f64>(scratch, 8) * table.magnitude));
  }
}

/** Rotates one head in place. */
export function rope(x: usize, angles: usize, d: u32): void {
  const half = (d >> 1) << 2;
  for (let i: usize = 0; i < half; i += 16) {
    const a = v128.load(x + i);
    const b = v128.load(x + half + i);
    const c = v128.load(angles + i);
    const s = v128.load(angles + half + i);
    v128.store(x + i, f32x4.sub(f32x4.mul(a, c), f32x4.mul(b, s)));
    v128.store(x + half + i, f32x4.add(f32x4.mul(b, c), f32x4.mul(a, s)));
  }
}

export function ropeRef(x: usize, angles: usize, d: u32): void {
  const half = d >> 1;
  for (let i: u32 = 0; i < half; ++i) {
    const a = load<f32>(x + (i << 2));
    const b = load<f32>(x + ((half + i) << 2));
    const c = load<f32>(angles + (i << 2));
    const s = load<f32>(angles + ((half + i) << 2));
    store<f32>(x + (i << 2), a * c - b * s);
    store<f32>(x + ((half + i) << 2), b * c + a * s);
  }
}
