/**
 * Linear layers whose weights stay floats (F32, F16, BF16), on unquantized f32 activations: y[row] = sum w[row][c] x[c],
 * one f32 lane per row, columns ascending, product and sum rounded apart (numeric contract).
 *
 * `gemvFloat` takes one token, `gemmFloat` four; the operations per output are the same, hence the bits.
 * Shapes: out [tokens][outStride bytes]; x [tokens][nCols] f32; weights nTiles tiles (pack.ts).
 */
import { Linear } from "../memory/records";
import { Form } from "../memory/status";
import { brainToFloat, halfToFloat } from "./f16";

/** Four weights of a column as f32; the loader refuses infinite and NaN halves. */
// @ts-ignore: decorator
@inline
function load4(w: usize, offset: usize, form: Form): v128 {
  if (form == Form.F32) return v128.load(w + (offset << 2));
  const ptr = w + (offset << 1);
  if (form == Form.BF16) return i32x4.shl(v128.load16x4_u(ptr), 16);
  const bits = v128.and(i32x4.shl(v128.load16x4_s(ptr), 13), i32x4.splat(<i32>0x8fffe000));
  return f32x4.mul(bits, f32x4.splat(reinterpret<f32>(0x77800000)));
}

// @ts-ignore: decorator
@inline
function oneToken(out: usize, x: usize, w: usize, nTiles: u32, nCols: u32, form: Form): void {
  const columnBytes: usize = form == Form.F32 ? 32 : 16;
  for (let tile: u32 = 0; tile < nTiles; ++tile, out += 32) {
    let a = f32x4.splat(0);
    let b = f32x4.splat(0);
    const end = x + (nCols << 2);
    for (let xc = x; xc < end; xc += 4, w += columnBytes) {
      const s = v128.load32_splat(xc);
      a = f32x4.add(a, f32x4.mul(load4(w, 0, form), s));
      b = f32x4.add(b, f32x4.mul(load4(w, 4, form), s));
    }
    v128.store(out, a);
    v128.store(out, b, 16);
  }
}

export function gemvFloat(out: usize, x: usize, linear: Linear): void {
  const form = linear.form;
  if (form == Form.F32) oneToken(out, x, linear.data, linear.nTiles, linear.nCols, Form.F32);
  else if (form == Form.F16) oneToken(out, x, linear.data, linear.nTiles, linear.nCols, Form.F16);
  else oneToken(out, x, linear.data, linear.nTiles, linear.nCols, Form.BF16);
}

// @ts-ignore: decorator
@inline
function fourTokens(out: usize, outStride: u32, x: usize, w: usize, nTiles: u32, nCols: u32, form: Form): void {
  const columnBytes: usize = form == Form.F32 ? 32 : 16;
  const xStride: usize = nCols << 2;
  for (let tile: u32 = 0; tile < nTiles; ++tile, out += 32) {
    let a0 = f32x4.splat(0);
    let b0 = a0;
    let a1 = a0;
    let b1 = a0;
    let a2 = a0;
    let b2 = a0;
    let a3 = a0;
    let b3 = a0;
    const end = x + xStride;
    for (let xc = x; xc < end; xc += 4, w += columnBytes) {
      const wa = load4(w, 0, form);
      const wb = load4(w, 4, form);
      let s = v128.load32_splat(xc);
      a0 = f32x4.add(a0, f32x4.mul(wa, s));
      b0 = f32x4.add(b0, f32x4.mul(wb, s));
      s = v128.load32_splat(xc + xStride);
      a1 = f32x4.add(a1, f32x4.mul(wa, s));
      b1 = f32x4.add(b1, f32x4.mul(wb, s));
      s = v128.load32_splat(xc + 2 * xStride);
      a2 = f32x4.add(a2, f32x4.mul(wa, s));
      b2 = f32x4.add(b2, f32x4.mul(wb, s));
      s = v128.load32_splat(xc + 3 * xStride);
      a3 = f32x4.add(a3, f32x4.mul(wa, s));
      b3 = f32x4.add(b3, f32x4.mul(wb, s));
    }
    v128.store(out, a0);
    v128.store(out, b0, 16);
    v128.store(out + outStride, a1);
    v128.store(out + outStride, b1, 16);
    v128.store(out + 2 * outStride, a2);
    v128.store(out + 2 * outStride, b2, 16);
    v128.store(out + 3 * outStride, a3);
    v128.store(out + 3 * outStride, b3, 16);
  }
}

export function gemmFloat(out: usize, outStride: u32, x: usize, linear: Linear): void {
  const form = linear.form;
  if (form == Form.F32) fourTokens(out, outStride, x, linear.data, linear.nTiles, linear.nCols, Form.F32);
  else if (form == Form.F16) fourTokens(out, outStride, x, linear.data, linear.nTiles, linear.nCols, Form.F16);
  else fourTokens(out, outStride, x, linear.data, linear.nTiles, linear.nCols, Form.BF16);
}

export function gemvFloatRef(out: usize, x: usize, linear: Linear): void {
  const nCols = linear.nCols;
  for (let row: u32 = 0; row < linear.nTiles << 3; ++row) {
    let acc: f32 = 0;
    const tile = <usize>(row >> 3) * nCols;
    for (let c: u32 = 0; c < nCols; ++c) {
      const at = ((tile + c) << 3) + (row & 7);
      let weight: f32;
      if (linear.form == Form.F32) weight = load<f32>(linear.data + (at << 2));
      else if (linear.form == Form.F16) weight = halfToFloat(load<u16>(linear.data + (at << 1)));
      else weight = brainToFloat(load<u16>(linear.data + (at << 1)));
      const product: f32 = weight * load<f32>(x + (c << 2));
      acc = acc + product;
    }
    store<f32>(out + (row << 2), acc);
  }
}

export function gemmFloatRef(out: usize, outStride: u32, x: usize, linear: Linear): void {
  for (let t: u32 = 0; t < 4; ++t) gemvFloatRef(out + t * outStride, x + ((t * linear.nCols) << 2), linear);
}
