/**
 * The forward pass: embed -> layers (norm, attention, add, norm, feed-forward, add) -> norm -> logits. One entry for decode,
 * prefill, several sessions at once, perplexity: rows say what they are and what they want. What families do differently
 * is data: factors of 1, vectors that are not there, options of a layer. Nothing allocates here.
 */
import { evictAhead } from "../cache/evict";
import { MAX_POSITION, sessionPagesNeeded, slotsOf } from "../cache/session";
import { addScaled } from "../kernels/add";
import { unpackRow } from "../kernels/pack";
import { ropeAngles } from "../kernels/rope";
import { scaleRow } from "../kernels/scale";
import { softcapRow } from "../kernels/softcap";
import { Engine, engine, Layer, layerAt, Linear, ropeAt, RopeTable, Session } from "../memory/records";
import { Option, RowFlag, Slot, Status } from "../memory/status";
import { attention, rowAt } from "./attention";
import { feedForward } from "./feed-forward";
import { linearAt, smallScratch } from "./layout";
import { linear, linearFrom, newInput } from "./linear";
import { norm } from "./norm";

/** Whether the pool has the pages that the rows of this call can need; `pending` of every session is 0 afterwards. */
function hasPages(e: Engine, nRows: u32): bool {
  let pages: u64 = 0;
  let wide: u64 = 0;
  for (let r: u32 = 0; r < nRows; ++r) {
    const address = rowAt(e, r).session;
    const session = changetype<Session>(address);
    if (session.pending != 0) {
      pages += sessionPagesNeeded(address, session.pending, false);
      wide += sessionPagesNeeded(address, session.pending, true);
    }
    session.pending = 0;
  }
  return pages <= e.nFreePages && wide <= e.nWideFree;
}

/** Checks all rows before anything changes: ids, positions in order, room for outputs and pages. */
function admit(e: Engine, nRows: u32): Status {
  if (nRows == 0 || nRows > e.maxRows) return Status.TOO_MANY_ROWS;
  let status: Status = Status.OK;
  let outputs: u32 = 0;
  for (let r: u32 = 0; r < nRows; ++r) {
    const session = changetype<Session>(rowAt(e, r).session);
    session.pending = 0;
    session.nLogged = 0;
    session.limit = session.maxPages != 0 ? MAX_POSITION : session.nextPosition + (session.capacity - min<u32>(slotsOf(session), session.capacity));
  }
  for (let r: u32 = 0; r < nRows && status == Status.OK; ++r) {
    const row = rowAt(e, r);
    const session = changetype<Session>(row.session);
    if (row.vector == 0 && <u32>row.token >= e.vocabSize) status = Status.BAD_TOKEN;
    else if (row.position != session.nextPosition + session.pending || row.position >= session.limit)
      status = Status.BAD_POSITION;
    else if (row.flags != 0 && ++outputs > e.maxOutputs) status = Status.TOO_MANY_ROWS;
    session.pending += 1;
  }
  return status == Status.OK && !hasPages(e, nRows) ? Status.NO_PAGE : status;
}

/** Inputs of the first layer. */
export function embed(e: Engine, nRows: u32): void {
  const stride: usize = e.hiddenDim << 2;
  const embedding = changetype<Linear>(e.embedding);
  for (let r: u32 = 0; r < nRows; ++r) {
    const row = rowAt(e, r);
    const x = e.x + r * stride;
    if (row.vector != 0) memory.copy(x, row.vector, e.hiddenDim << 2);
    else {
      unpackRow(x, embedding.data, embedding.form, row.token, e.hiddenDim);
      if (e.embeddingScale != 1) scaleRow(x, e.hiddenDim, e.embeddingScale);
    }
  }
}

/** A table's rotation angles of every row. */
export function turnRows(e: Engine, table: RopeTable, nRows: u32): void {
  for (let r: u32 = 0; r < nRows; ++r) {
    ropeAngles(table.angles + ((<usize>r * e.ropeDim) << 2), table, rowAt(e, r).position, e.ropeDim, smallScratch(e));
  }
}

/** engine.h = norm of the residual stream. */
function normRows(e: Engine, weight: usize, nRows: u32): void {
  const stride: usize = e.hiddenDim << 2;
  for (let r: u32 = 0; r < nRows; ++r) norm(e, e.h + r * stride, e.x + r * stride, weight, e.hiddenDim);
  newInput();
}

/** x += residualScale * norm(projected), the norm only where the layer has its weights. */
function addBranch(e: Engine, weight: usize, nRows: u32): void {
  const stride: usize = e.hiddenDim << 2;
  for (let r: u32 = 0; r < nRows; ++r) {
    const branch = e.projected + r * stride;
    if (weight != 0) norm(e, branch, branch, weight, e.hiddenDim);
    addScaled(e.x + r * stride, branch, e.hiddenDim, e.residualScale);
  }
}

/** A parallel layer runs its feed-forward first: attention overwrites engine.h. */
export function runLayer(e: Engine, layer: Layer, nRows: u32): void {
  const isParallel = (layer.options & Option.PARALLEL) != 0;
  normRows(e, layer.attentionNorm, nRows);
  if (isParallel) {
    feedForward(e, layer, nRows);
    addBranch(e, layer.postFeedForwardNorm, nRows);
  }
  attention(e, layer, nRows);
  linear(e.projected, linearAt(layer.linears, Slot.OUT), nRows);
  addBranch(e, layer.postAttentionNorm, nRows);
  if (isParallel) return;
  normRows(e, layer.feedForwardNorm, nRows);
  feedForward(e, layer, nRows);
  addBranch(e, layer.postFeedForwardNorm, nRows);
}

/** Final norm of the rows that asked for something, and logits for those that asked for them; outputs in row order. */
export function finish(e: Engine, nRows: u32): void {
  const stride: usize = e.hiddenDim << 2;
  let n: u32 = 0;
  let wantLogits = false;
  for (let r: u32 = 0; r < nRows; ++r) {
    const flags = rowAt(e, r).flags;
    if (flags == 0) continue;
    if (flags & RowFlag.LOGITS) wantLogits = true;
    norm(e, e.hidden + n * stride, e.x + r * stride, e.finalNorm, e.hiddenDim);
    n += 1;
  }
  if (!wantLogits) return;
  newInput();
  const output = changetype<Linear>(e.output);
  linearFrom(e.logits, output, e.hidden, n);
  const size = n * (output.nTiles << 3);
  if (e.logitScale != 1) scaleRow(e.logits, size, e.logitScale);
  if (e.logitSoftcap != 0) softcapRow(e.logits, size, e.logitSoftcap);
}

/** Runs rows 0 .. nRows of engine.rows. On any status but OK the sessions are as before. */
export function forward(nRows: u32): Status {
  const e = engine();
  const status = admit(e, nRows);
  if (status != Status.OK) return status;
  for (let r: u32 = 0; r < nRows; ++r) evictAhead(changetype<Session>(rowAt(e, r).session));
  embed(e, nRows);
  for (let i: u32 = 0; i < e.nRopes; ++i) turnRows(e, ropeAt(e, i), nRows);
  for (let i: u32 = 0; i < e.nLayers; ++i) runLayer(e, layerAt(e, i), nRows);
  finish(e, nRows);
  for (let r: u32 = 0; r < nRows; ++r) changetype<Session>(rowAt(e, r).session).nextPosition += 1;
  return Status.OK;
}
