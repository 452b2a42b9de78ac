/**
 * A prompt layer by layer: all its rows go through one layer before any goes on to the next, so that a layer's cache is thinned
 * (policy/prompt-end.ts) before the next one's is made, and no more than one layer ever holds the whole prompt.
 *
 *   stream: f32 [streamRows][hiddenDim], the residual stream of all rows, of one session at a time
 *   for each layer:  forwardLayer for each chunk of rows, then promptEvict of the layer
 *
 * A chunk does to a layer what it does in `forward`, and layers do not look at each other's caches: the bits are the same. Until
 * the last layer is done heads of different layers are out of step; each says by itself which position is its next, and
 * `nextPosition` is that of the layer under way. The host works on a fork, and throws it away where a prompt is not completed.
 */
import { headOf } from "../cache/heads";
import { pagesNeeded } from "../cache/session";
import { Engine, engine, Layer, layerAt, RopeTable, Session } from "../memory/records";
import { Status } from "../memory/status";
import { rowAt } from "./attention";
import { embed, finish, runLayer, turnRows } from "./forward";

/** Pages of the pool that `nTokens` more tokens need in one layer. */
export function layerPagesNeeded(address: usize, index: u32, nTokens: u32): u32 {
  const e = engine();
  const session = changetype<Session>(address);
  const layer = layerAt(e, index);
  let pages: u32 = 0;
  for (let kv: u32 = 0; kv < layer.nKvHeads; ++kv) pages += pagesNeeded(e, session, headOf(session, layer.firstHead + kv), nTokens);
  return pages;
}

/** Checks all rows before anything changes: whose they are, ids, the positions that the layer's heads have next, room. */
function admit(e: Engine, layer: Layer, index: u32, at: u32, nRows: u32): Status {
  if (nRows == 0 || nRows > e.maxRows || <u64>at + nRows > e.streamRows) return Status.TOO_MANY_ROWS;
  const address = rowAt(e, 0).session;
  const session = changetype<Session>(address);
  for (let kv: u32 = 0; kv < layer.nKvHeads; ++kv) {
    const head = headOf(session, layer.firstHead + kv);
    const next = head.length - head.lead;
    if (head.window == 0 && head.length + nRows > session.capacity) return Status.BAD_POSITION;
    for (let r: u32 = 0; r < nRows; ++r) if (rowAt(e, r).position != next + r) return Status.BAD_POSITION;
  }
  let outputs: u32 = 0;
  for (let r: u32 = 0; r < nRows; ++r) {
    const row = rowAt(e, r);
    if (row.session != address) return Status.BAD_ARGUMENT;
    if (row.vector == 0 && <u32>row.token >= e.vocabSize) return Status.BAD_TOKEN;
    if (row.flags != 0 && ++outputs > e.maxOutputs) return Status.TOO_MANY_ROWS;
  }
  return layerPagesNeeded(address, index, nRows) > e.nFreePages ? Status.NO_PAGE : Status.OK;
}

/**
 * Runs rows 0 .. nRows of engine.rows, rows `at` .. of a session's prompt, through one layer; the first one embeds them, the
 * last one gives the outputs. On any status but OK nothing has changed.
 */
export function forwardLayer(index: u32, at: u32, nRows: u32): Status {
  const e = engine();
  if (index >= e.nLayers) return Status.BAD_ARGUMENT;
  const layer = layerAt(e, index);
  const status = admit(e, layer, index, at, nRows);
  if (status != Status.OK) return status;
  const session = changetype<Session>(rowAt(e, 0).session);
  session.nLogged = 0;
  const x = e.x;
  e.x = e.stream + <usize>at * (e.hiddenDim << 2);
  if (index == 0) embed(e, nRows);
  if (layer.rope != 0) turnRows(e, changetype<RopeTable>(layer.rope), nRows);
  runLayer(e, layer, nRows);
  if (index + 1 == e.nLayers) finish(e, nRows);
  e.x = x;
  session.nextPosition = rowAt(e, nRows - 1).position + 1;
  return Status.OK;
}
