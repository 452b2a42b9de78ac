/**
 * The forward pass: embed -> layers (norm, attention, add, norm, feed-forward, add) -> norm -> logits. One entry for decode,
 * prefill, several sessions at once, perplexity: rows say what they are and what they want. Nothing allocates here.
 */
import { headOf } from "../cache/session";
import { addRow } from "../kernels/add";
import { unpackRow } from "../kernels/pack";
import { rmsNorm } from "../kernels/rmsnorm";
import { ropeAngles } from "../kernels/rope";
import { swiglu } from "../kernels/swiglu";
import { Engine, engine, Layer, Linear, Session } from "../memory/records";
import { RowFlag, Size, Slot, Status } from "../memory/status";
import { attention, rowAt } from "./attention";
import { layerAt, linearAt } from "./layout";
import { linear, linearFrom, newInput } from "./linear";

/** Pages that the next row of a session takes, `pending` rows of this call coming before it. */
function pagesOfRow(e: Engine, session: Session): u32 {
  let pages: u32 = 0;
  for (let i: u32 = 0; i < e.nLayers * e.nKvHeads; ++i) {
    if ((headOf(session, i).length + session.pending) % Size.PAGE_SLOTS == 0) pages += 1;
  }
  return pages;
}

/** Checks all rows before anything changes: ids, positions in order, room for outputs and pages. */
function admit(e: Engine, nRows: u32): Status {
  if (nRows == 0 || nRows > e.maxRows) return Status.TOO_MANY_ROWS;
  let status: Status = Status.OK;
  let outputs: u32 = 0;
  let pages: u32 = 0;
  for (let r: u32 = 0; r < nRows; ++r) changetype<Session>(rowAt(e, r).session).pending = 0;
  for (let r: u32 = 0; r < nRows && status == Status.OK; ++r) {
    const row = rowAt(e, r);
    const session = changetype<Session>(row.session);
    if (row.vector == 0 && <u32>row.token >= e.vocabSize) status = Status.BAD_TOKEN;
    else if (row.position != session.nextPosition + session.pending || row.position >= session.capacity)
      status = Status.BAD_POSITION;
    else if (row.flags != 0 && ++outputs > e.maxOutputs) status = Status.TOO_MANY_ROWS;
    pages += pagesOfRow(e, session);
    session.pending += 1;
  }
  return status == Status.OK && pages > e.nFreePages ? Status.NO_PAGE : status;
}

/** Inputs of the first layer and the rotation angles of every row. */
function embed(e: Engine, nRows: u32): void {
  const stride: usize = e.hiddenDim << 2;
  const embedding = changetype<Linear>(e.embedding);
  for (let r: u32 = 0; r < nRows; ++r) {
    const row = rowAt(e, r);
    const x = e.x + r * stride;
    if (row.vector != 0) memory.copy(x, row.vector, e.hiddenDim << 2);
    else unpackRow(x, embedding.data, embedding.form, row.token, e.hiddenDim);
    const angles = e.angles + ((<usize>r * e.ropeDim) << 2);
    ropeAngles(angles, e.ropeFrequencies, row.position, e.ropeDim, e.attention);
  }
}

function normRows(e: Engine, weight: usize, nRows: u32): void {
  const stride: usize = e.hiddenDim << 2;
  for (let r: u32 = 0; r < nRows; ++r) rmsNorm(e.h + r * stride, e.x + r * stride, weight, e.hiddenDim, e.rmsEps);
  newInput();
}

/** x += projected. */
function addProjected(e: Engine, nRows: u32): void {
  const stride: usize = e.hiddenDim << 2;
  for (let r: u32 = 0; r < nRows; ++r) addRow(e.x + r * stride, e.projected + r * stride, e.hiddenDim);
}

/** engine.h -> down(silu(gate h) * up h) in engine.projected. */
function feedForward(e: Engine, layer: Layer, nRows: u32): void {
  linear(e.gate, linearAt(layer.linears, Slot.GATE), nRows);
  linear(e.up, linearAt(layer.linears, Slot.UP), nRows);
  swiglu(e.gate, e.up, nRows * e.ffnDim);
  newInput();
  linearFrom(e.projected, linearAt(layer.linears, Slot.DOWN), e.gate, nRows);
}

/** Final norm of the rows that asked for something, and logits for those that asked for them; outputs in row order. */
function finish(e: Engine, nRows: u32): void {
  const stride: usize = e.hiddenDim << 2;
  let n: u32 = 0;
  let wantLogits = false;
  for (let r: u32 = 0; r < nRows; ++r) {
    const flags = rowAt(e, r).flags;
    if (flags == 0) continue;
    if (flags & RowFlag.LOGITS) wantLogits = true;
    rmsNorm(e.hidden + n * stride, e.x + r * stride, e.finalNorm, e.hiddenDim, e.rmsEps);
    n += 1;
  }
  if (!wantLogits) return;
  newInput();
  linearFrom(e.logits, changetype<Linear>(e.output), e.hidden, n);
}

/** Runs rows 0 .. nRows of engine.rows. On any status but OK the sessions are as before. */
export function forward(nRows: u32): Status {
  const e = engine();
  const status = admit(e, nRows);
  if (status != Status.OK) return status;
  embed(e, nRows);
  for (let i: u32 = 0; i < e.nLayers; ++i) {
    const layer = layerAt(e, i);
    normRows(e, layer.attentionNorm, nRows);
    attention(e, layer, i, nRows);
    linear(e.projected, linearAt(layer.linears, Slot.OUT), nRows);
    addProjected(e, nRows);
    normRows(e, layer.feedForwardNorm, nRows);
    feedForward(e, layer, nRows);
    addProjected(e, nRows);
  }
  finish(e, nRows);
  for (let r: u32 = 0; r < nRows; ++r) changetype<Session>(rowAt(e, r).session).nextPosition += 1;
  return Status.OK;
}
