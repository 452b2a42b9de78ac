/**
 * The numeric contract of a quantized linear layer in plain scalar code: one row, one token. Every fast kernel, GEMV or
 * GEMM, must give these bits. Used by the references only.
 */
import { Form, Size } from "../memory/status";
import { halfToFloat } from "./f16";
import { tileBytes } from "./pack";
import { activationOffset } from "./quantize-activations";

/** The weight's integer of column c in a group block: nibble 0..15 (zero point not yet taken off) or signed byte. */
function weightAt(form: Form, group: usize, r: u32, c: u32): i32 {
  if (form == Form.Q8) {
    const offset = activationOffset(c); // 2 bytes an element there, 4 rows x 1 byte here
    return <i32>load<i8>(group + ((offset >> 2) << 3) + (r << 1) + ((offset >> 1) & 1));
  }
  const byte = <i32>load<u8>(group + (((c & 15) >> 2) << 4) + (r << 2) + (c & 3));
  return c < 16 ? byte & 15 : byte >> 4;
}

/** y[row] of packed weights times one quantized activation row. */
export function rowDotRef(form: Form, x: usize, weights: usize, row: u32, nBlocks: u32): f32 {
  const groupBytes = tileBytes(form, Size.BLOCK) >> 1;
  const scales: usize = form == Form.Q8 ? 128 : 64;
  const r = row & 3;
  let group = weights + <usize>(row >> 3) * tileBytes(form, nBlocks << 5) + ((row >> 2) & 1) * groupBytes;
  let acc: f32 = 0;
  for (let block: u32 = 0; block < nBlocks; ++block, group += groupBytes << 1, x += Size.ACTIVATION_BLOCK) {
    let dot: i32 = 0;
    let sum: i32 = 0;
    for (let c: u32 = 0; c < 32; ++c) {
      const q = <i32>load<i16>(x + activationOffset(c));
      sum += q;
      dot += q * (weightAt(form, group, r, c) - (form == Form.Q4 ? 8 : 0));
    }
    const dx = load<f32>(x, 64);
    const dw = halfToFloat(load<u16>(group + scales + (r << 1)));
    const scale: f32 = dw * dx;
    const product: f32 = <f32>dot * scale;
    acc = acc + product;
    if (form == Form.Q4_MIN) {
      const sx: f32 = <f32>sum * dx;
      const term: f32 = halfToFloat(load<u16>(group + 72 + (r << 1))) * sx;
      acc = acc + term;
    }
  }
  return acc;
}
