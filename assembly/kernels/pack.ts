/**
 * GGUF rows -> the packed layout all kernels stream, and back. One layout for every build variant.
 *
 * Rows go in tiles of 8: two groups of 4 rows (a, b), rows padded with zero weights. Per tile, block after block of 32
 * columns (float forms: column after column):
 *
 *   Q4, Q4_MIN   | group a: 4 vectors, 4 f16 scales [, 4 f16 minima] | group b: the same |
 *                vector i, bytes 4r..4r+3 = bytes 4i..4i+3 of row r's 16 nibble bytes (GGUF order: low nibble column
 *                4i+j, high nibble column 16+4i+j)                                            144 or 160 bytes a tile block
 *   Q8           | group a: 16 pairs of columns, 8 bytes each, 4 f16 scales | group b |        272 bytes a tile block
 *                pair p of vector i, bytes 2r, 2r+1 = row r's columns of activation pair p (quantize-activations.ts)
 *   F32          8 f32, row by row                                                              32 bytes a tile column
 *   F16, BF16    8 halves, row by row                                                           16 bytes a tile column
 *
 * `permute` = head dim of a q or k matrix stored in pair order (llama): packed row i of a head is the file's row 2i,
 * row i + d/2 the file's row 2i + 1, so that RoPE works on half-split pairs. 0: rows as they are.
 */
import { Form, Size, TensorType } from "../memory/status";
import { brainToFloat, halfIsSpecial, halfToFloat } from "./f16";

/** Bytes of one tile of 8 rows x nCols. */
export function tileBytes(form: Form, nCols: u32): u32 {
  const nBlocks = nCols / Size.BLOCK;
  if (form == Form.Q4) return nBlocks * 144;
  if (form == Form.Q4_MIN) return nBlocks * 160;
  if (form == Form.Q8) return nBlocks * 272;
  return form == Form.F32 ? nCols << 5 : nCols << 4;
}

/** Bytes of a GGUF row. */
export function rowBytes(type: TensorType, nCols: u32): u32 {
  const nBlocks = nCols / Size.BLOCK;
  if (type == TensorType.Q4_0) return nBlocks * 18;
  if (type == TensorType.Q4_1) return nBlocks * 20;
  if (type == TensorType.Q8_0) return nBlocks * 34;
  return type == TensorType.F32 ? nCols << 2 : nCols << 1;
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

/** Columns of the two bytes of pair p of vector i (Q8), the same as in an activation block. */
// @ts-ignore: decorator
@inline
function pairColumn(i: u32, p: u32): u32 {
  return ((p & 1) << 4) + (i << 2) + (p >> 1);
}

/**
 * Packs staged GGUF rows into tiles. `nRows` of them start at `src`; the first is row 0 of `dst`'s first tile. Rows past
 * nRows in the last tile become zero weights. Returns false when a scale or an F16 weight is infinite or NaN.
 */
export function packRows(dst: usize, src: usize, type: TensorType, nRows: u32, nCols: u32, permute: u32): bool {
  if (type == TensorType.F32 || type == TensorType.F16 || type == TensorType.BF16) {
    packFloats(dst, src, type == TensorType.F32 ? 2 : 1, nRows, nCols, permute);
    return type != TensorType.F16 || halvesAreFinite(src, <usize>nRows * nCols);
  }
  const stride = rowBytes(type, nCols);
  const blockBytes = stride / (nCols / Size.BLOCK);
  const scaleBytes: u32 = type == TensorType.Q4_1 ? 4 : 2;
  const bodyBytes: u32 = type == TensorType.Q8_0 ? 128 : 64;
  const groupBytes = bodyBytes + (scaleBytes << 2);
  let sane = true;
  for (let tile: u32 = 0; tile < nRows; tile += Size.TILE_ROWS) {
    for (let block: u32 = 0; block < stride; block += blockBytes) {
      for (let group: u32 = 0; group < 8; group += 4, dst += groupBytes) {
        for (let r: u32 = 0; r < 4; ++r) {
          const row = tile + group + r;
          if (row >= nRows) {
            padBlockRow(dst, r, type);
            continue;
          }
          const from = src + <usize>sourceRow(row, permute) * stride + block;
          const scale = load<u16>(from);
          if (halfIsSpecial(scale)) sane = false;
          store<u16>(dst + bodyBytes + (r << 1), scale);
          if (type == TensorType.Q4_1) {
            const minimum = load<u16>(from, 2);
            if (halfIsSpecial(minimum)) sane = false;
            store<u16>(dst + bodyBytes + 8 + (r << 1), minimum);
          }
          if (type == TensorType.Q8_0) packPairs(dst, from + 2, r);
          else for (let i: u32 = 0; i < 4; ++i) store<u32>(dst + (i << 4) + (r << 2), load<u32>(from + scaleBytes + (i << 2)));
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

function packPairs(dst: usize, from: usize, r: u32): void {
  for (let i: u32 = 0; i < 4; ++i) {
    for (let p: u32 = 0; p < 4; ++p) {
      const to = dst + (i << 5) + (p << 3) + (r << 1);
      const column = pairColumn(i, p);
      store<u8>(to, load<u8>(from + column));
      store<u8>(to, load<u8>(from + column + 2), 1);
    }
  }
}

/** A row of padding: nibbles of 8 (so that nibble - 8 is zero) or bytes of 0, scale and minimum 0. */
function padBlockRow(dst: usize, r: u32, type: TensorType): void {
  if (type == TensorType.Q8_0) {
    for (let pair: u32 = 0; pair < 16; ++pair) store<u16>(dst + (pair << 3) + (r << 1), 0);
    store<u16>(dst + 128 + (r << 1), 0);
    return;
  }
  for (let i: u32 = 0; i < 4; ++i) store<u32>(dst + (i << 4) + (r << 2), 0x88888888);
  store<u16>(dst + 64 + (r << 1), 0);
  if (type == TensorType.Q4_1) store<u16>(dst + 72 + (r << 1), 0);
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

/** A GGUF row as f32: Q4_0 d (q - 8), Q4_1 d q + m, Q8_0 d q; each product exact, the sum rounded once. */
export function dequantizeRow(out: usize, src: usize, type: TensorType, nCols: u32): void {
  if (type == TensorType.F32) {
    memory.copy(out, src, nCols << 2);
  } else if (type == TensorType.F16) {
    for (let c: u32 = 0; c < nCols; ++c) store<f32>(out + (c << 2), halfToFloat(load<u16>(src + (c << 1))));
  } else if (type == TensorType.BF16) {
    for (let c: u32 = 0; c < nCols; ++c) store<f32>(out + (c << 2), brainToFloat(load<u16>(src + (c << 1))));
  } else {
    for (let end = out + (nCols << 2); out < end; out += 128, src += rowBytes(type, Size.BLOCK)) dequantizeBlock(out, src, type);
  }
}

function dequantizeBlock(out: usize, src: usize, type: TensorType): void {
  const d = halfToFloat(load<u16>(src));
  if (type == TensorType.Q8_0) {
    for (let c: u32 = 0; c < 32; ++c) store<f32>(out + (c << 2), d * <f32>load<i8>(src + 2 + c));
    return;
  }
  const minimum: f32 = type == TensorType.Q4_1 ? halfToFloat(load<u16>(src, 2)) : 0;
  const nibbles = src + (type == TensorType.Q4_1 ? 4 : 2);
  const zero: i32 = type == TensorType.Q4_0 ? 8 : 0;
  for (let c: u32 = 0; c < 32; ++c) {
    const byte = <i32>load<u8>(nibbles + (c & 15));
    const q = (c < 16 ? byte & 15 : byte >> 4) - zero;
    store<f32>(out + (c << 2), d * <f32>q + minimum);
  }
}

/** One row of a packed matrix as f32: the embedding lookup, and the test that packing loses nothing. */
export function unpackRow(out: usize, tiles: usize, form: Form, row: u32, nCols: u32): void {
  const tile = tiles + <usize>(row / Size.TILE_ROWS) * tileBytes(form, nCols);
  const lane = row % Size.TILE_ROWS;
  if (form <= Form.BF16) {
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
  const groupBytes: u32 = tileBytes(form, Size.BLOCK) >> 1;
  const r = lane & 3;
  let group = tile + (lane >> 2) * groupBytes;
  for (let end = out + (nCols << 2); out < end; out += 128, group += groupBytes << 1) unpackBlock(out, group, form, r);
}

function unpackBlock(out: usize, group: usize, form: Form, r: u32): void {
  if (form == Form.Q8) {
    const d = halfToFloat(load<u16>(group + 128 + (r << 1)));
    for (let i: u32 = 0; i < 4; ++i) {
      for (let p: u32 = 0; p < 4; ++p) {
        const at = group + (i << 5) + (p << 3) + (r << 1);
        const column = out + (pairColumn(i, p) << 2);
        store<f32>(column, d * <f32>load<i8>(at));
        store<f32>(column, d * <f32>load<i8>(at, 1), 8);
      }
    }
    return;
  }
  const d = halfToFloat(load<u16>(group + 64 + (r << 1)));
  const minimum: f32 = form == Form.Q4_MIN ? halfToFloat(load<u16>(group + 72 + (r << 1))) : 0;
  const zero: i32 = form == Form.Q4 ? 8 : 0;
  for (let c: u32 = 0; c < 16; ++c) {
    const byte = <i32>load<u8>(group + ((c >> 2) << 4) + (r << 2) + (c & 3));
    store<f32>(out + (c << 2), d * <f32>((byte & 15) - zero) + minimum);
    store<f32>(out + (c << 2), d * <f32>((byte >> 4) - zero) + minimum, 64);
  }
}
