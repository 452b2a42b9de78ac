/** Half precision by bits, scalar: for packing, unpacking and the scalar references. Exact both ways it is used. */

/** IEEE binary16 bits -> f32 (all values, infinities and NaN included). */
export function halfToFloat(bits: u32): f32 {
  const sign = (bits & 0x8000) << 16;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 0x3ff;
  if (exponent == 31) return reinterpret<f32>(sign | 0x7f800000 | (fraction << 13));
  if (exponent == 0) {
    const magnitude = <f32>fraction * reinterpret<f32>(0x33800000); // 2^-24: the unit of subnormals
    return reinterpret<f32>(sign | reinterpret<u32>(magnitude));
  }
  return reinterpret<f32>(sign | ((exponent + 112) << 23) | (fraction << 13));
}

/** bfloat16 bits -> f32: the upper half of the f32. */
// @ts-ignore: decorator
@inline
export function brainToFloat(bits: u32): f32 {
  return reinterpret<f32>(bits << 16);
}

/** True when a binary16 is infinite or NaN: such a scale cannot be computed with. */
// @ts-ignore: decorator
@inline
export function halfIsSpecial(bits: u32): bool {
  return (bits & 0x7c00) == 0x7c00;
}

/** f32 -> binary16 bits for a value that a binary16 holds exactly: scales on their way from a file into packed form. */
export function floatToHalf(value: f32): u32 {
  const bits = reinterpret<u32>(value);
  const sign = (bits >> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude >= 0x7f800000) return sign | 0x7c00 | ((magnitude >> 13) & 0x3ff);
  if (magnitude < 0x38800000) return sign | <u32>(reinterpret<f32>(magnitude) * <f32>16777216); // subnormal: units of 2^-24
  return sign | ((magnitude >> 13) - (112 << 10));
}

/** f32 -> binary16 bits, to the nearest, ties to even; beyond its range the largest finite one, infinities too; NaN as NaN. */
export function roundToHalf(value: f32): u32 {
  const bits = reinterpret<u32>(value);
  const sign = (bits >> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477fe000) return sign | 0x7bff; // 65504 and above
  if (magnitude < 0x38800000) return sign | <u32>nearest<f32>(reinterpret<f32>(magnitude) * <f32>16777216);
  return sign | (((magnitude + 0xfff + ((magnitude >> 13) & 1)) >> 13) - (112 << 10));
}
