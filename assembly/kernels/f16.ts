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
