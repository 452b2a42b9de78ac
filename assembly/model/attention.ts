/**
 * A layer's attention for the rows of a forward call: q, k, v, their norms, RoPE, pooling of KV heads, then per KV head the
 * rows in order: append, attend. The cache changes exactly as in one-by-one decoding, so chunks of any size give the same
 * bits.
 */
import { append } from "../cache/append";
import { keySquare } from "../cache/key-squares";
import { headOf } from "../cache/session";
import { firstVisible } from "../cache/window";
import { attendF32 } from "../kernels/attend-f32";
import { poolHeads } from "../kernels/pool-heads";
import { rope } from "../kernels/rope";
import { AttendTask, Engine, HeadView, Layer, RopeTable, Row, Session } from "../memory/records";
import { Option, Slot } from "../memory/status";
import { keyDrivenShares } from "./key-driven";
import { linearAt, smallScratch } from "./layout";
import { linear, newInput } from "./linear";
import { norm } from "./norm";

// @ts-ignore: decorator
@inline
export function rowAt(e: Engine, index: u32): Row {
  return changetype<Row>(e.rows + <usize>index * offsetof<Row>());
}

/** Norms [width / dim] stretches of a row with the same weights. */
function normHeads(e: Engine, x: usize, weight: usize, width: u32, dim: u32): void {
  for (let end = x + (<usize>width << 2); x < end; x += <usize>dim << 2) norm(e, x, x, weight, dim);
}

function rotateHeads(x: usize, angles: usize, nHeads: u32, keyDim: u32, ropeDim: u32): void {
  for (let end = x + ((<usize>nHeads * keyDim) << 2); x < end; x += <usize>keyDim << 2) rope(x, angles, ropeDim);
}

/** Norms, rotates and pools what the projections gave for row r: q [nHeads][keyDim], k and v [nKvHeads][..]. */
function prepare(e: Engine, layer: Layer, r: u32, q: usize, k: usize, v: usize): void {
  const keyDim = layer.keyDim;
  const source = layer.sourceKvHeads;
  if (layer.queryNorm != 0) normHeads(e, q, layer.queryNorm, layer.nHeads * keyDim, layer.queryNormDim);
  if (layer.keyNorm != 0) normHeads(e, k, layer.keyNorm, source * keyDim, layer.keyNormDim);
  if (layer.rope != 0) {
    const angles = changetype<RopeTable>(layer.rope).angles + ((<usize>r * e.ropeDim) << 2);
    rotateHeads(q, angles, layer.nHeads, keyDim, e.ropeDim);
    rotateHeads(k, angles, source, keyDim, e.ropeDim);
  }
  const m = source / layer.nKvHeads;
  if (layer.keyPool != 0) poolHeads(k, layer.keyPool, layer.nKvHeads, m, keyDim);
  if (layer.valuePool != 0) poolHeads(v, layer.valuePool, layer.nKvHeads, m, layer.valueDim);
}

/** Attends with `nHeads` query heads over one KV head, whose last slot is the query's own. */
function attend(out: usize, q: usize, task: AttendTask, head: HeadView, nHeads: u32): void {
  task.head = head;
  task.end = head.length;
  task.first = firstVisible(head.length - 1, head.window);
  task.nHeads = nHeads;
  attendF32(out, q, task);
}

/** From the normed rows in engine.h to the attention output in engine.h [nRows][nHeads * valueDim]. */
export function attention(e: Engine, layer: Layer, nRows: u32): void {
  linear(e.q, linearAt(layer.linears, Slot.Q), nRows);
  linear(e.k, linearAt(layer.linears, Slot.K), nRows);
  linear(e.v, linearAt(layer.linears, Slot.V), nRows);
  const qStride: usize = (layer.nHeads * layer.keyDim) << 2;
  const kStride: usize = (layer.sourceKvHeads * layer.keyDim) << 2;
  const vStride: usize = (layer.sourceKvHeads * layer.valueDim) << 2;
  for (let r: u32 = 0; r < nRows; ++r) {
    prepare(e, layer, r, e.q + r * qStride, e.k + r * kStride, e.v + r * vStride);
  }
  const task = changetype<AttendTask>(e.attention);
  task.keyDim = layer.keyDim;
  task.valueDim = layer.valueDim;
  if (layer.options & Option.KEY_DRIVEN) attendKeyDriven(e, layer, task, nRows);
  else attendEvenly(e, layer, task, nRows);
  newInput();
}

/** Equal groups of query heads: KV head by KV head, so that a head's pages stay in the caches over the rows. */
function attendEvenly(e: Engine, layer: Layer, task: AttendTask, nRows: u32): void {
  const keyBytes: usize = layer.keyDim << 2;
  const valueBytes: usize = layer.valueDim << 2;
  const group = layer.nHeads / layer.nKvHeads;
  for (let kv: u32 = 0; kv < layer.nKvHeads; ++kv) {
    for (let r: usize = 0; r < nRows; ++r) {
      const head = headOf(changetype<Session>(rowAt(e, <u32>r).session), layer.firstHead + kv);
      const key = e.k + r * layer.sourceKvHeads * keyBytes + kv * keyBytes;
      const value = e.v + r * layer.sourceKvHeads * valueBytes + kv * valueBytes;
      append(head, key, value, layer.keyDim, layer.valueDim);
      const at = r * layer.nHeads + kv * group;
      attend(e.h + at * valueBytes, e.q + at * keyBytes, task, head, group);
    }
  }
}

/** Groups that differ from token to token: row by row, all keys first, since their norms decide the groups. */
function attendKeyDriven(e: Engine, layer: Layer, task: AttendTask, nRows: u32): void {
  const keyBytes: usize = layer.keyDim << 2;
  const valueBytes: usize = layer.valueDim << 2;
  const shares = smallScratch(e);
  for (let r: usize = 0; r < nRows; ++r) {
    const session = changetype<Session>(rowAt(e, <u32>r).session);
    for (let kv: u32 = 0; kv < layer.nKvHeads; ++kv) {
      const head = headOf(session, layer.firstHead + kv);
      const key = e.k + r * layer.sourceKvHeads * keyBytes + kv * keyBytes;
      const value = e.v + r * layer.sourceKvHeads * valueBytes + kv * valueBytes;
      append(head, key, value, layer.keyDim, layer.valueDim);
      head.keySquares += keySquare(key, layer.keyDim, 4);
    }
    keyDrivenShares(shares, session, layer);
    let at = r * layer.nHeads;
    for (let kv: u32 = 0; kv < layer.nKvHeads; ++kv) {
      const share = load<u32>(shares + (kv << 2));
      if (share == 0) continue;
      attend(e.h + at * valueBytes, e.q + at * keyBytes, task, headOf(session, layer.firstHead + kv), share);
      at += share;
    }
  }
}
