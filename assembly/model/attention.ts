/**
 * A layer's attention for the rows of a forward call: q, k, v, their norms, RoPE, pooling of KV heads, append, attend. Each
 * row sees the slots that one-by-one decoding would have shown it, so chunks of any size give the same bits.
 */
import { append, closeFull } from "../cache/append";
import { evictFull } from "../cache/evict";
import { closeSquares, keySquare } from "../cache/key-squares";
import { headOf } from "../cache/heads";
import { dropObserved, observe } from "../cache/observation";
import { collect } from "../cache/query-statistics";
import { firstVisible } from "../cache/window";
import { attend } from "../kernels/attend";
import { hadamard } from "../kernels/hadamard";
import { poolHeads } from "../kernels/pool-heads";
import { rope } from "../kernels/rope";
import { AttendTask, Engine, engine, HeadView, Layer, RopeTable, Row, Session } from "../memory/records";
import { Observed, Option, Size, Slot } from "../memory/status";
import { parallel, partStart } from "../thread/pool";
import { observeChunk } from "../policy/chunk-attention";
import { addObserved, isObserved } from "../policy/observed-sums";
import { addLargest } from "../policy/repeat-attention";
import { keyDrivenShares } from "./key-driven";
import { linearAt, smallScratch, taskOf } from "./layout";
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
  if (e.queryStatistics != 0) collect(e, layer, rowAt(e, r), q);
  if (layer.rope != 0) {
    const angles = changetype<RopeTable>(layer.rope).angles + ((<usize>r * e.ropeDim) << 2);
    rotateHeads(q, angles, layer.nHeads, keyDim, e.ropeDim);
    rotateHeads(k, angles, source, keyDim, e.ropeDim);
  }
  const m = source / layer.nKvHeads;
  if (e.rotateKeys != 0) {
    for (let h: u32 = 0; h < layer.nHeads; ++h) hadamard(q + h * (keyDim << 2), keyDim);
    for (let h: u32 = 0; h < source; ++h) hadamard(k + h * (keyDim << 2), keyDim);
  }
  if (layer.keyPool != 0) poolHeads(k, layer.keyPool, layer.nKvHeads, m, keyDim);
  if (layer.valuePool != 0) poolHeads(v, layer.valuePool, layer.nKvHeads, m, layer.valueDim);
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
    if (e.observeRows != 0 && e.observedKind != <u32>Observed.CHUNKS) observe(e, layer, rowAt(e, r), e.q + r * qStride);
  }
  e.job = changetype<usize>(layer);
  e.jobRows = nRows;
  if (layer.options & Option.KEY_DRIVEN) attendKeyDriven(e, layer, nRows);
  else if (layer.window != 0) attendWindow(e, layer, nRows);
  else attendBlocks(e, layer, nRows);
  newInput();
}

/**
 * Blocks of 32 slots, counted from a session's open page. A layer's heads that see everything are in step, those of different
 * layers need not be: one may have been compacted at a prompt's end.
 */
function placeRows(e: Engine, layer: Layer, nRows: u32): void {
  for (let r: u32 = 0; r < nRows; ++r) {
    const row = rowAt(e, r);
    const head = headOf(changetype<Session>(row.session), layer.firstHead);
    const slot = row.position + head.lead;
    row.block = slot / Size.PAGE_SLOTS - head.length / Size.PAGE_SLOTS;
    row.slot = slot % Size.PAGE_SLOTS;
  }
}

/**
 * Heads that keep every page, block of slots by block of slots: all rows of a block are appended, attend side by side,
 * and full pages age before the next block. Sessions do not see each other, so that the n-th blocks of all go together.
 */
function attendBlocks(e: Engine, layer: Layer, nRows: u32): void {
  placeRows(e, layer, nRows);
  let last: u32 = 0;
  for (let r: u32 = 0; r < nRows; ++r) last = max<u32>(last, rowAt(e, r).block);
  for (let block: u32 = 0; block <= last; ++block) {
    e.jobBlock = block;
    for (let kv: u32 = 0; kv < layer.nKvHeads; ++kv) {
      for (let r: u32 = 0; r < nRows; ++r) if (rowAt(e, r).block == block) appendRow(e, layer, kv, r);
    }
    parallel(e, attendPart);
    if (e.observedKind != 0) observeBlock(e, layer, nRows);
    for (let kv: u32 = 0; kv < layer.nKvHeads; ++kv) {
      for (let r: u32 = 0; r < nRows; ++r) {
        const row = rowAt(e, r);
        if (row.block == block && row.slot == Size.PAGE_SLOTS - 1) {
          const session = changetype<Session>(row.session);
          closePage(e, session, layer.firstHead + kv);
        }
      }
    }
  }
}

/** A full page makes room for the next one where the session forgets, and ages. */
// @ts-ignore: decorator
@inline
function closePage(e: Engine, session: Session, index: u32): void {
  const head = headOf(session, index);
  const evicted = evictFull(session, head);
  if (evicted >= 0) dropObserved(e, session, head, index, evicted);
  closeFull(head);
}

/** Row r's key and value into its session's head; returns the head. */
// @ts-ignore: decorator
@inline
function appendRow(e: Engine, layer: Layer, kv: u32, r: u32): HeadView {
  const head = headOf(changetype<Session>(rowAt(e, r).session), layer.firstHead + kv);
  const at = <usize>r * layer.sourceKvHeads + kv;
  append(head, e.k + at * (layer.keyDim << 2), e.v + at * (layer.valueDim << 2), layer.keyDim, layer.valueDim);
  return head;
}

/** What a row's query heads of a group look at: the slots up to `end`. */
// @ts-ignore: decorator
@inline
function aim(layer: Layer, task: AttendTask, head: HeadView, end: u32, group: u32, relative: bool): void {
  task.head = head;
  task.end = end;
  task.first = firstVisible(end - 1, head.window);
  task.nHeads = group;
  task.rope = relative && head.lead != 0 ? layer.rope : 0;
}

/** Row r's query heads of a group of `group`, over the slots up to `end`. */
// @ts-ignore: decorator
@inline
function attendGroup(
  e: Engine, layer: Layer, task: AttendTask, head: HeadView, at: usize, end: u32, group: u32, relative: bool,
): void {
  aim(layer, task, head, end, group, relative);
  attend(e.h + at * (layer.valueDim << 2), e.q + at * (layer.keyDim << 2), task);
}

/** The rows of a block: their keys lie in the cache already, and each sees those up to its own position. */
function attendPart(part: u32, parts: u32): void {
  const e = engine();
  const layer = changetype<Layer>(e.job);
  const group = layer.nHeads / layer.nKvHeads;
  const task = taskOf(e, part);
  let rows: u32 = 0;
  for (let r: u32 = 0; r < e.jobRows; ++r) rows += <u32>(rowAt(e, r).block == e.jobBlock);
  const first = partStart(layer.nKvHeads * rows, part, parts);
  const last = partStart(layer.nKvHeads * rows, part + 1, parts);
  let i: u32 = 0;
  for (let kv: u32 = 0; kv < layer.nKvHeads; ++kv) {
    for (let r: u32 = 0; r < e.jobRows && i < last; ++r) {
      const row = rowAt(e, r);
      if (row.block != e.jobBlock || i++ < first) continue;
      const session = changetype<Session>(row.session);
      const head = headOf(session, layer.firstHead + kv);
      const at = <usize>r * layer.nHeads + kv * group;
      attendGroup(e, layer, task, head, at, row.position + 1 + head.lead, group, session.relative != 0);
    }
  }
}

/** What policies add up over the rows of a block. */
function observeBlock(e: Engine, layer: Layer, nRows: u32): void {
  if (e.observedKind == <u32>Observed.LARGEST && e.observedFork == 0) return;
  if (e.observedKind != <u32>Observed.CHUNKS) {
    parallel(e, observePart);
    return;
  }
  for (let r: u32 = 0; r < nRows; ++r) {
    const row = rowAt(e, r);
    if (row.block == e.jobBlock && isObserved(e, row)) observeChunk(e, layer, row, e.q + <usize>r * layer.nHeads * (layer.keyDim << 2));
  }
}

/** The rows of a block once more, for policies: KV heads are dealt out, so that what rows give a slot adds up in their order. */
function observePart(part: u32, parts: u32): void {
  const e = engine();
  const layer = changetype<Layer>(e.job);
  const group = layer.nHeads / layer.nKvHeads;
  const task = taskOf(e, part);
  for (let kv = partStart(layer.nKvHeads, part, parts); kv < partStart(layer.nKvHeads, part + 1, parts); ++kv) {
    for (let r: u32 = 0; r < e.jobRows; ++r) {
      const row = rowAt(e, r);
      if (row.block != e.jobBlock || !isObserved(e, row)) continue;
      const session = changetype<Session>(row.session);
      const head = headOf(session, layer.firstHead + kv);
      aim(layer, task, head, row.position + 1 + head.lead, group, session.relative != 0);
      const q = e.q + (<usize>r * layer.nHeads + kv * group) * (layer.keyDim << 2);
      if (e.observedKind == <u32>Observed.LARGEST) addLargest(e, layer, kv, task, q);
      else addObserved(e, session, layer, kv, task, q);
    }
  }
}

/** Heads that give pages back as they go: row by row, on the caller's thread, since the pool of pages is one. */
function attendWindow(e: Engine, layer: Layer, nRows: u32): void {
  const group = layer.nHeads / layer.nKvHeads;
  for (let kv: u32 = 0; kv < layer.nKvHeads; ++kv) {
    for (let r: u32 = 0; r < nRows; ++r) {
      const head = appendRow(e, layer, kv, r);
      const at = <usize>r * layer.nHeads + kv * group;
      attendGroup(e, layer, taskOf(e, 0), head, at, head.length, group, false);
      closeFull(head);
    }
  }
}

/** Groups that differ from token to token: row by row, all keys first, since their norms decide the groups. */
function attendKeyDriven(e: Engine, layer: Layer, nRows: u32): void {
  const shares = smallScratch(e);
  for (let r: u32 = 0; r < nRows; ++r) {
    const session = changetype<Session>(rowAt(e, r).session);
    for (let kv: u32 = 0; kv < layer.nKvHeads; ++kv) {
      const head = appendRow(e, layer, kv, r);
      const key = e.k + ((<usize>r * layer.sourceKvHeads + kv) * layer.keyDim << 2);
      head.keySquares += keySquare(key, layer.keyDim, 4);
    }
    keyDrivenShares(shares, session, layer);
    let at = <usize>r * layer.nHeads;
    for (let kv: u32 = 0; kv < layer.nKvHeads; ++kv) {
      const share = load<u32>(shares + (kv << 2));
      if (share == 0) continue;
      const head = headOf(session, layer.firstHead + kv);
      attendGroup(e, layer, taskOf(e, 0), head, at, head.length, share, false);
      at += share;
    }
    for (let kv: u32 = 0; kv < layer.nKvHeads; ++kv) {
      const head = headOf(session, layer.firstHead + kv);
      closeSquares(head);
      closeFull(head);
    }
  }
}
