/**
 * Half precision from its definition, by arithmetic on the value instead of moving bits.
 * @module
 */

/** IEEE binary16: (-1)^s 2^(e - 15) (1 + f / 1024); e = 0: (-1)^s 2^-14 f / 1024; e = 31: infinity or NaN. */
export function halfRef(bits: number): number {
  const sign = bits >= 0x8000 ? -1 : 1;
  const exponent = Math.floor(bits / 1024) % 32;
  const fraction = bits % 1024;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : Number.NaN;
  if (exponent === 0) return sign * (fraction / 1024) * 2 ** -14;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** bfloat16: (-1)^s 2^(e - 127) (1 + f / 128); e = 0: (-1)^s 2^-126 f / 128; e = 255: infinity or NaN. */
export function brainRef(bits: number): number {
  const sign = bits >= 0x8000 ? -1 : 1;
  const exponent = Math.floor(bits / 128) % 256;
  const fraction = bits % 128;
  if (exponent === 255) return fraction === 0 ? sign * Infinity : Number.NaN;
  if (exponent === 0) return sign * (fraction / 128) * 2 ** -126;
  return sign * (1 + fraction / 128) * 2 ** (exponent - 127);
}
