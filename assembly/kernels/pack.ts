/**
 * GGUF rows -> the packed layout all kernels stream, and back. One layout for every build variant.
 *
 * Rows go in tiles of 8: two groups of 4 rows, rows padded with zero weights. Per tile, block after block of 32 columns
 * (float forms: column after column):
 *
 *   quantized    | group a | group b |, each: | body | 4 scales | [4 scales] | [4 minima] | [4 minima] |
 *                scales and minima f16, or f32 in WIDE forms; the second four, of columns 16..31, in forms of GROUP_16
 *     nibbles    body 64 bytes: vector i, bytes 4r..4r+3 of row r: low nibble column 4i+j, high nibble column 16+4i+j
 *     bytes      body 128 bytes: pair p of vector i is 8 bytes, bytes 2r, 2r+1 = row r's columns of activation pair p
 *                (quantize-activations.ts)
 *   F32          8 f32, row by row                                                              32 bytes a tile column
 *   F16, BF16    8 halves, row by row                                                           16 bytes a tile column
 *
 * `permute` = head dim of a q or k matrix stored in pair order (llama): packed row i of a head is the file's row 2i,
 * row i + d/2 the file's row 2i + 1, so that RoPE works on half-split pairs. 0: rows as they are.
 */

import { decodeScratch } from "../memory/records";
import { Form, FormFlag, Size, TensorType } from "../memory/status";
import { brainToFloat, floatToHalf, halfIsSpecial, halfToFloat } from "./f16";
import { decodeBlock, fileBlockBytes, fileBlockColumns } from "./gguf-block";

// @ts-ignore: decorator
@inline
export function isQuantized(form: Form): bool {
  return (form & FormFlag.QUANTIZED) != 0;
}

/** Bytes of the body of a group block. */
// @ts-ignore: decorator
@inline
export function bodyBytes(form: Form): u32 {
  return form & FormFlag.BYTES ? 128 : 64;
}

/** Bytes of four scales or minima. */
// @ts-ignore: decorator
@inline
export function quadBytes(form: Form): u32 {
  return form & FormFlag.WIDE ? 16 : 8;
}

/** Offset of the minima in a group block. */
// @ts-ignore: decorator
@inline
export function minimaOffset(form: Form): u32 {
  return bodyBytes(form) + (form & FormFlag.GROUP_16 ? quadBytes(form) << 1 : quadBytes(form));
}

/** Bytes of a group block: 4 rows, 32 columns. */
// @ts-ignore: decorator
@inline
export function groupBytes(form: Form): u32 {
  return form & FormFlag.MIN ? (minimaOffset(form) << 1) - bodyBytes(form) : minimaOffset(form);
}

/** Bytes of one tile of 8 rows x nCols. */
export function tileBytes(form: Form, nCols: u32): u32 {
  if (isQuantized(form)) return (nCols / Size.BLOCK) * (groupBytes(form) << 1);
  return form == Form.F32 ? nCols << 5 : nCols << 4;
}

/** Bytes of a GGUF row. */
export function rowBytes(type: TensorType, nCols: u32): u32 {
  if (type == TensorType.F32) return nCols << 2;
  if (type == TensorType.F16 || type == TensorType.BF16) return nCols << 1;
  return (nCols / fileBlockColumns(type)) * fileBlockBytes(type);
}

/** The form a tensor type is computed in: its own integers and scales, exactly. */
export function formOf(type: TensorType): Form {
  switch (type) {
    case TensorType.F32:
      return Form.F32;
    case TensorType.F16:
      return Form.F16;
    case TensorType.BF16:
      return Form.BF16;
    case TensorType.Q4_0:
      return Form.Q4;
    case TensorType.Q4_1:
      return Form.Q4_MIN;
    case TensorType.Q5_1:
      return Form.Q8_MIN;
    case TensorType.IQ4_XS:
      return Form.Q8_WIDE;
    case TensorType.Q2_K:
      return Form.Q4_MIN_WIDE_16;
    case TensorType.Q3_K:
      return Form.Q4_WIDE_16;
    case TensorType.Q4_K:
      return Form.Q4_MIN_WIDE;
    case TensorType.Q5_K:
      return Form.Q8_MIN_WIDE;
    case TensorType.Q6_K:
      return Form.Q8_WIDE_16;
    default: // Q8_0, Q5_0, IQ4_NL
      return Form.Q8;
  }
}

/** The file's row, counted from the first of the staged rows, for packed row `row`; staging starts at a head. */
// @ts-ignore: decorator
@inline
function sourceRow(row: u32, permute: u32): u32 {
  if (permute == 0) return row;
  const within = row % permute;
  const half = permute >> 1;
  return row - within + (within < half ? within << 1 : ((within - half) << 1) + 1);
}

/** The first column of the two bytes of pair p of vector i, the same as in an activation block; the other is 2 on. */
// @ts-ignore: decorator
@inline
function pairColumn(i: u32, p: u32): u32 {
  return ((p & 1) << 4) + (i << 2) + (p >> 1);
}

/**
 * Packs staged GGUF rows into tiles. `nRows` of them start at `src`; the first is row 0 of `dst`'s first tile. Rows past
 * nRows in the last tile become zero weights. Returns false when a scale, a minimum or an F16 weight is infinite or NaN.
 */
export function packRows(dst: usize, src: usize, type: TensorType, nRows: u32, nCols: u32, permute: u32): bool {
  const form = formOf(type);
  if (!isQuantized(form)) {
    packFloats(dst, src, form == Form.F32 ? 2 : 1, nRows, nCols, permute);
    return type != TensorType.F16 || halvesAreFinite(src, <usize>nRows * nCols);
  }
  const stride = rowBytes(type, nCols);
  const decoded = decodeScratch();
  let sane = true;
  for (let tile: u32 = 0; tile < nRows; tile += Size.TILE_ROWS) {
    for (let block: u32 = 0; block < nCols / Size.BLOCK; ++block) {
      for (let group: u32 = 0; group < 8; group += 4, dst += groupBytes(form)) {
        for (let r: u32 = 0; r < 4; ++r) {
          const row = tile + group + r;
          if (row < nRows) {
            if (!decodeBlock(decoded, src + <usize>sourceRow(row, permute) * stride, type, block)) sane = false;
          } else {
            memory.fill(decoded, 0, Size.DECODED);
          }
          packBlock(dst, decoded, form, r);
        }
      }
    }
  }
  return sane;
}

function halvesAreFinite(src: usize, n: usize): bool {
  for (let end = src + (n << 1); src < end; src += 2) if (halfIsSpecial(load<u16>(src))) return false;
  return true;
}

/** Writes the decoded block as row r of a group block. */
function packBlock(dst: usize, decoded: usize, form: Form, r: u32): void {
  for (let i: u32 = 0; i < 4; ++i) {
    if (form & FormFlag.BYTES) {
      for (let p: u32 = 0; p < 4; ++p) {
        const from = decoded + pairColumn(i, p);
        store<u16>(dst + (i << 5) + (p << 3) + (r << 1), <u16>load<u8>(from) | (<u16>load<u8>(from, 2) << 8));
      }
    } else {
      const quad = load<u32>(decoded + (i << 2)) | (load<u32>(decoded + (i << 2), 16) << 4);
      store<u32>(dst + (i << 4) + (r << 2), quad);
    }
  }
  const scales = dst + bodyBytes(form);
  const minima = dst + minimaOffset(form);
  if (form & FormFlag.WIDE) {
    store<f32>(scales + (r << 2), load<f32>(decoded, 32));
    if (form & FormFlag.GROUP_16) store<f32>(scales + (r << 2), load<f32>(decoded, 36), 16);
    if (form & FormFlag.MIN) store<f32>(minima + (r << 2), load<f32>(decoded, 40));
    if (form & FormFlag.MIN && form & FormFlag.GROUP_16) store<f32>(minima + (r << 2), load<f32>(decoded, 44), 16);
    return;
  }
  store<u16>(scales + (r << 1), floatToHalf(load<f32>(decoded, 32)));
  if (form & FormFlag.MIN) store<u16>(minima + (r << 1), floatToHalf(load<f32>(decoded, 40)));
}

function packFloats(dst: usize, src: usize, shift: u32, nRows: u32, nCols: u32, permute: u32): void {
  for (let tile: u32 = 0; tile < nRows; tile += Size.TILE_ROWS) {
    for (let r: u32 = 0; r < <u32>Size.TILE_ROWS; ++r) {
      const row = tile + r;
      const from = src + ((<usize>sourceRow(row < nRows ? row : 0, permute) * nCols) << shift);
      let to = dst + (r << shift);
      for (let c: u32 = 0; c < nCols; ++c, to += 8 << shift) {
        if (shift == 2) store<u32>(to, row < nRows ? load<u32>(from + (c << 2)) : 0);
        else store<u16>(to, row < nRows ? load<u16>(from + (c << 1)) : 0);
      }
    }
    dst += <usize>nCols << (shift + 3);
  }
}

/** scale (q - zero) [+ minimum] of a weight; the product is exact. */
// @ts-ignore: decorator
@inline
function weightOf(form: Form, q: i32, scale: f32, minimum: f32): f32 {
  if (form & FormFlag.MIN) return scale * <f32>q + minimum;
  return scale * <f32>(form & FormFlag.BYTES ? q : q - 8);
}

/** A GGUF row as f32, the bits that `gguf.quants.dequantize` gives. */
export function dequantizeRow(out: usize, src: usize, type: TensorType, nCols: u32): void {
  const form = formOf(type);
  if (form == Form.F32) memory.copy(out, src, nCols << 2);
  else if (!isQuantized(form)) {
    for (let c: u32 = 0; c < nCols; ++c) {
      const bits = <u32>load<u16>(src + (c << 1));
      store<f32>(out + (c << 2), form == Form.F16 ? halfToFloat(bits) : brainToFloat(bits));
    }
  } else {
    const decoded = decodeScratch();
    for (let block: u32 = 0; block < nCols / Size.BLOCK; ++block, out += 128) {
      decodeBlock(decoded, src, type, block);
      for (let c: u32 = 0; c < 32; ++c) {
        const half = (c >> 4) << 2;
        const w = weightOf(form, load<i8>(decoded + c), load<f32>(decoded + half, 32), load<f32>(decoded + half, 40));
        store<f32>(out + (c << 2), w);
      }
    }
  }
}

/** One row of a packed matrix as f32: the embedding lookup, and the test that packing loses nothing. */
export function unpackRow(out: usize, tiles: usize, form: Form, row: u32, nCols: u32): void {
  const tile = tiles + <usize>(row / Size.TILE_ROWS) * tileBytes(form, nCols);
  const lane = row % Size.TILE_ROWS;
  if (!isQuantized(form)) {
    for (let c: u32 = 0; c < nCols; ++c) {
      const at = tile + (((c << 3) + lane) << (form == Form.F32 ? 2 : 1));
      let value: f32;
      if (form == Form.F32) value = load<f32>(at);
      else if (form == Form.F16) value = halfToFloat(load<u16>(at));
      else value = brainToFloat(load<u16>(at));
      store<f32>(out + (c << 2), value);
    }
    return;
  }
  let group = tile + (lane >> 2) * groupBytes(form);
  const step = groupBytes(form) << 1;
  for (let end = out + (nCols << 2); out < end; out += 128, group += step) unpackBlock(out, group, form, lane & 3);
}

/** Scale (or minimum) r of four at `quad`. */
// @ts-ignore: decorator
@inline
export function quadValue(quad: usize, form: Form, r: u32): f32 {
  return form & FormFlag.WIDE ? load<f32>(quad + (r << 2)) : halfToFloat(load<u16>(quad + (r << 1)));
}

/** The integer of column c, row r of a group block: signed byte, or nibble with its zero point still in. */
export function weightInteger(group: usize, form: Form, r: u32, c: u32): i32 {
  if (form & FormFlag.BYTES) {
    const quad = c & 15;
    const pair = ((quad & 1) << 1) | (c >> 4);
    return <i32>load<i8>(group + ((quad >> 2) << 5) + (pair << 3) + (r << 1) + ((quad & 3) >> 1));
  }
  const byte = <i32>load<u8>(group + (((c & 15) >> 2) << 4) + (r << 2) + (c & 3));
  return c < 16 ? byte & 15 : byte >> 4;
}

function unpackBlock(out: usize, group: usize, form: Form, r: u32): void {
  for (let c: u32 = 0; c < 32; ++c) {
    const second = form & FormFlag.GROUP_16 && c >= 16 ? quadBytes(form) : 0;
    const scale = quadValue(group + bodyBytes(form) + second, form, r);
    const minimum = form & FormFlag.MIN ? quadValue(group + minimaOffset(form) + second, form, r) : 0;
    store<f32>(out + (c << 2), weightOf(form, weightInteger(group, form, r, c), scale, minimum));
  }
}
