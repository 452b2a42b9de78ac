/**
 * The numeric contract of a quantized linear layer in plain scalar code: one row, one token, any form. Every fast kernel,
 * GEMV or GEMM, must give these bits. Used by the references only.
 */
import { Form, FormFlag } from "../memory/status";
import { bodyBytes, groupBytes, minimaOffset, quadBytes, quadValue, tileBytes, weightInteger } from "./pack";
import { activationBytes, activationValue } from "./quantize-activations";

/** y[row] of packed weights times one quantized activation row. */
export function rowDotRef(form: Form, x: usize, weights: usize, row: u32, nBlocks: u32): f32 {
  const r = row & 3;
  const columns: u32 = form & FormFlag.GROUP_16 ? 16 : 32;
  let group = weights + <usize>(row >> 3) * tileBytes(form, nBlocks << 5) + ((row >> 2) & 1) * groupBytes(form);
  let acc: f32 = 0;
  for (let block: u32 = 0; block < nBlocks; ++block, group += groupBytes(form) << 1, x += activationBytes(form)) {
    const dx = load<f32>(x + activationBytes(form) - 32);
    let scales = group + bodyBytes(form);
    let minima = group + minimaOffset(form);
    for (let first: u32 = 0; first < 32; first += columns, scales += quadBytes(form), minima += quadBytes(form)) {
      let dot: i32 = 0;
      let sum: i32 = 0;
      for (let c = first; c < first + columns; ++c) {
        const q = activationValue(x, c, form);
        const zero = form & (FormFlag.BYTES | FormFlag.MIN) ? 0 : 8;
        sum += q;
        dot += q * (weightInteger(group, form, r, c) - zero);
      }
      const scale: f32 = quadValue(scales, form, r) * dx;
      const product: f32 = <f32>dot * scale;
      acc = acc + product;
      if (form & FormFlag.MIN) {
        const sx: f32 = <f32>sum * dx;
        const term: f32 = quadValue(minima, form, r) * sx;
        acc = acc + term;
      }
    }
  }
  return acc;
}
