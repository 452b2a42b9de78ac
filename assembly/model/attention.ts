/**
 * A layer's attention for the rows of a forward call: q, k, v, RoPE, then per KV head the rows in order: append, attend.
 * The cache changes exactly as in one-by-one decoding, so chunks of any size give the same bits.
 */
import { append } from "../cache/append";
import { headOf } from "../cache/session";
import { attendF32 } from "../kernels/attend-f32";
import { rope } from "../kernels/rope";
import { Engine, Layer, Row, Session } from "../memory/records";
import { Slot } from "../memory/status";
import { linearAt } from "./layout";
import { linear, newInput } from "./linear";

// @ts-ignore: decorator
@inline
export function rowAt(e: Engine, index: u32): Row {
  return changetype<Row>(e.rows + <usize>index * offsetof<Row>());
}

/** From the normed rows in engine.h to the attention output in engine.h [nRows][nHeads * valueDim]. */
export function attention(e: Engine, layer: Layer, index: u32, nRows: u32): void {
  linear(e.q, linearAt(layer.linears, Slot.Q), nRows);
  linear(e.k, linearAt(layer.linears, Slot.K), nRows);
  linear(e.v, linearAt(layer.linears, Slot.V), nRows);
  const keyBytes: usize = layer.keyDim << 2;
  const valueBytes: usize = layer.valueDim << 2;
  const qStride: usize = (layer.nHeads * layer.keyDim) << 2;
  const kStride: usize = (layer.nKvHeads * layer.keyDim) << 2;
  const vStride: usize = (layer.nKvHeads * layer.valueDim) << 2;
  for (let r: u32 = 0; r < nRows; ++r) {
    const angles = e.angles + ((<usize>r * e.ropeDim) << 2);
    for (let h: u32 = 0; h < layer.nHeads; ++h) rope(e.q + r * qStride + h * keyBytes, angles, e.ropeDim);
    for (let h: u32 = 0; h < layer.nKvHeads; ++h) rope(e.k + r * kStride + h * keyBytes, angles, e.ropeDim);
  }
  const group = layer.nHeads / layer.nKvHeads;
  const outStride: usize = layer.nHeads * valueBytes;
  for (let kv: u32 = 0; kv < layer.nKvHeads; ++kv) {
    for (let r: u32 = 0; r < nRows; ++r) {
      const head = headOf(changetype<Session>(rowAt(e, r).session), index * layer.nKvHeads + kv);
      const key = e.k + r * kStride + kv * keyBytes;
      const value = e.v + r * vStride + kv * valueBytes;
      append(head, key, value, layer.keyDim, layer.valueDim);
      const q = e.q + r * qStride + kv * group * keyBytes;
      attendF32(e.h + r * outStride + kv * group * valueBytes, q, head, head.length, layer, e.attention);
    }
  }
  newInput();
}
