/**
 * One block of 32 columns of any quantized GGUF type as integers, scales and minima: what packing and dequantization both
 * start from. A weight is scale * (q - zero) + minimum, zero being 8 for nibbles without a minimum, else 0; every product
 * is exact in f32 (11 + 6 + 5 bits at most), so dequantization rounds once, where the minimum is added.
 *
 *   out: | i8 q[32] | f32 scale of columns 0..15, of 16..31 | f32 minimum likewise |      48 bytes
 *
 * Layouts of the types: ggml-common.h of llama.cpp; checked bit for bit against gguf.quants (test/kernel/gguf-block.test.ts).
 */
import { TensorType } from "../memory/status";
import { halfIsSpecial, halfToFloat } from "./f16";

/** Values of the 16 codes of IQ4_NL and IQ4_XS. */
const CODES: usize = memory.data<i8>([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]);

/** Columns and bytes of a block as the file has it; 256 columns make a super-block of the K types and IQ4_XS. */
export function fileBlockColumns(type: TensorType): u32 {
  return type >= TensorType.Q2_K && type != TensorType.IQ4_NL && type != TensorType.BF16 ? 256 : 32;
}

export function fileBlockBytes(type: TensorType): u32 {
  switch (type) {
    case TensorType.Q4_0:
    case TensorType.IQ4_NL:
      return 18;
    case TensorType.Q4_1:
      return 20;
    case TensorType.Q5_0:
      return 22;
    case TensorType.Q5_1:
      return 24;
    case TensorType.Q8_0:
      return 34;
    case TensorType.Q2_K:
      return 84;
    case TensorType.Q3_K:
      return 110;
    case TensorType.Q4_K:
      return 144;
    case TensorType.Q5_K:
      return 176;
    case TensorType.Q6_K:
      return 210;
    case TensorType.IQ4_XS:
      return 136;
    default:
      return 0;
  }
}

// @ts-ignore: decorator
@inline
function setScales(out: usize, low: f32, high: f32): void {
  store<f32>(out, low, 32);
  store<f32>(out, high, 36);
}

// @ts-ignore: decorator
@inline
function setMinima(out: usize, low: f32, high: f32): void {
  store<f32>(out, low, 40);
  store<f32>(out, high, 44);
}

/** Decodes block `block` (of 32 columns) of a row. Returns false when a scale or minimum is infinite or NaN. */
export function decodeBlock(out: usize, row: usize, type: TensorType, block: u32): bool {
  if (fileBlockColumns(type) == 32) return decodeSmall(out, row + block * fileBlockBytes(type), type);
  return decodeSuper(out, row + (block >> 3) * fileBlockBytes(type), type, block & 7);
}

/** Types with blocks of 32 columns: an f16 scale, perhaps an f16 minimum, nibbles, perhaps fifth bits. */
function decodeSmall(out: usize, at: usize, type: TensorType): bool {
  const d = halfToFloat(load<u16>(at));
  const hasMin = type == TensorType.Q4_1 || type == TensorType.Q5_1;
  setScales(out, d, d);
  const m: f32 = hasMin ? halfToFloat(load<u16>(at, 2)) : 0;
  setMinima(out, m, m);
  const sane = !halfIsSpecial(load<u16>(at)) && !(hasMin && halfIsSpecial(load<u16>(at, 2)));
  if (type == TensorType.Q8_0) {
    v128.store(out, v128.load(at, 2));
    v128.store(out, v128.load(at, 18), 16);
    return sane;
  }
  let nibbles = at + (hasMin ? 4 : 2);
  if (type == TensorType.Q4_0 || type == TensorType.Q4_1) {
    const bytes = v128.load(nibbles);
    const low = i8x16.splat(15);
    v128.store(out, v128.and(bytes, low));
    v128.store(out, v128.and(i8x16.shr_u(bytes, 4), low), 16);
    return sane;
  }
  let fifths: u32 = 0;
  const hasFifth = type == TensorType.Q5_0 || type == TensorType.Q5_1;
  if (hasFifth) {
    fifths = load<u32>(nibbles);
    nibbles += 4;
  }
  const zero: i32 = type == TensorType.Q5_0 ? 16 : 0;
  for (let c: u32 = 0; c < 32; ++c) {
    let q: i32 = (load<u8>(nibbles + (c & 15)) >> <u8>(c < 16 ? 0 : 4)) & 15;
    if (type == TensorType.IQ4_NL) q = load<i8>(CODES + q);
    else q = (q | (((fifths >> c) & 1) << 4)) - zero;
    store<i8>(out + c, <i8>q);
  }
  return sane;
}

/** Types with super-blocks of 256 columns; b is the block in it. */
function decodeSuper(out: usize, at: usize, type: TensorType, b: u32): bool {
  if (type == TensorType.Q4_K || type == TensorType.Q5_K) return decodeK4(out, at, type == TensorType.Q5_K, b);
  if (type == TensorType.Q6_K) return decodeK6(out, at, b);
  if (type == TensorType.Q3_K) return decodeK3(out, at, b);
  if (type == TensorType.Q2_K) return decodeK2(out, at, b);
  return decodeIQ4(out, at, b);
}

/** Q4_K: d, dmin, 12 bytes of 6-bit scales and minima, nibbles; Q5_K has the fifth bits before the nibbles. */
function decodeK4(out: usize, at: usize, hasFifth: bool, b: u32): bool {
  const s = at + 4;
  let scale: u32;
  let minimum: u32;
  if (b < 4) {
    scale = load<u8>(s + b) & 63;
    minimum = load<u8>(s + b, 4) & 63;
  } else {
    scale = (load<u8>(s + b, 4) & 15) | ((load<u8>(s + b - 4) >> 2) & 0x30);
    minimum = (load<u8>(s + b, 4) >> 4) | ((load<u8>(s + b) >> 2) & 0x30);
  }
  const d: f32 = halfToFloat(load<u16>(at)) * <f32>scale;
  const m: f32 = halfToFloat(load<u16>(at, 2)) * <f32>minimum;
  setScales(out, d, d);
  setMinima(out, -m, -m);
  const nibbles = at + (hasFifth ? 48 : 16) + ((b >> 1) << 5);
  for (let c: u32 = 0; c < 32; ++c) {
    let q = (<u32>load<u8>(nibbles + c) >> ((b & 1) << 2)) & 15;
    if (hasFifth) q |= ((<u32>load<u8>(at + 16 + c) >> b) & 1) << 4;
    store<u8>(out + c, <u8>q);
  }
  return !halfIsSpecial(load<u16>(at)) && !halfIsSpecial(load<u16>(at, 2));
}

/** Q6_K: nibbles, upper two bits, 16 signed 8-bit scales, d; q - 32. */
function decodeK6(out: usize, at: usize, b: u32): bool {
  const d = halfToFloat(load<u16>(at, 208));
  const scales = at + 192 + (b << 1);
  setScales(out, d * <f32>load<i8>(scales), d * <f32>load<i8>(scales, 1));
  setMinima(out, 0, 0);
  const half = b >> 2;
  const quarter = b & 3;
  const nibbles = at + (half << 6) + ((quarter & 1) << 5);
  for (let c: u32 = 0; c < 32; ++c) {
    const low = (<u32>load<u8>(nibbles + c) >> ((quarter >> 1) << 2)) & 15;
    const high = (<u32>load<u8>(at + 128 + (half << 5) + c) >> (quarter << 1)) & 3;
    store<i8>(out + c, <i8>(<i32>(low | (high << 4)) - 32));
  }
  return !halfIsSpecial(load<u16>(at, 208));
}

/** Two bits of column c, block b, as Q2_K and Q3_K store them. */
// @ts-ignore: decorator
@inline
function twoBits(at: usize, b: u32, c: u32): u32 {
  return (<u32>load<u8>(at + ((b >> 2) << 5) + c) >> ((b & 3) << 1)) & 3;
}

/** Scale k of 16 of Q3_K: four low bits in bytes 0..7, two high bits in bytes 8..11; minus 32. */
function scaleK3(s: usize, k: u32): f32 {
  const low = (<u32>load<u8>(s + (k & 7)) >> ((k >> 3) << 2)) & 15;
  const high = (<u32>load<u8>(s + (k & 3), 8) >> ((k >> 2) << 1)) & 3;
  return <f32>(<i32>(low | (high << 4)) - 32);
}

/** Q3_K: high bits (a set bit means no subtraction of 4), two low bits, scales, d. Stored as nibble q + 8. */
function decodeK3(out: usize, at: usize, b: u32): bool {
  const d = halfToFloat(load<u16>(at, 108));
  setScales(out, d * scaleK3(at + 96, b << 1), d * scaleK3(at + 96, (b << 1) + 1));
  setMinima(out, 0, 0);
  for (let c: u32 = 0; c < 32; ++c) {
    const high = (<u32>load<u8>(at + c) >> b) & 1;
    store<u8>(out + c, <u8>(twoBits(at + 32, b, c) + 4 + (high << 2)));
  }
  return !halfIsSpecial(load<u16>(at, 108));
}

/** Q2_K: 16 pairs of 4-bit scale and minimum, two-bit values, d, dmin. */
function decodeK2(out: usize, at: usize, b: u32): bool {
  const d = halfToFloat(load<u16>(at, 80));
  const m = halfToFloat(load<u16>(at, 82));
  const low = <u32>load<u8>(at + (b << 1));
  const high = <u32>load<u8>(at + (b << 1), 1);
  setScales(out, d * <f32>(low & 15), d * <f32>(high & 15));
  setMinima(out, -(m * <f32>(low >> 4)), -(m * <f32>(high >> 4)));
  for (let c: u32 = 0; c < 32; ++c) store<u8>(out + c, <u8>twoBits(at + 16, b, c));
  return !halfIsSpecial(load<u16>(at, 80)) && !halfIsSpecial(load<u16>(at, 82));
}

/** IQ4_XS: d, 6-bit scales in two places, codes. */
function decodeIQ4(out: usize, at: usize, b: u32): bool {
  const low = (<u32>load<u8>(at + 4 + (b >> 1)) >> ((b & 1) << 2)) & 15;
  const high = (<u32>load<u16>(at, 2) >> (b << 1)) & 3;
  const d: f32 = halfToFloat(load<u16>(at)) * <f32>(<i32>(low | (high << 4)) - 32);
  setScales(out, d, d);
  setMinima(out, 0, 0);
  const codes = at + 8 + (b << 4);
  for (let c: u32 = 0; c < 32; ++c) {
    const code = (<u32>load<u8>(codes + (c & 15)) >> (c < 16 ? 0 : 4)) & 15;
    store<i8>(out + c, load<i8>(CODES + code));
  }
  return !halfIsSpecial(load<u16>(at));
}
