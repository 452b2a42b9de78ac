/**
 * Lays the model out in the arena: records, run state, and on demand each matrix and vector. The host sets the
 * configuration (configure.ts), asks for records and run state, then allocates and packs the weights; host/budget.ts
 * computes the same sums without memory, and a test holds them equal.
 */
import { agesTwice, recentForm } from "../cache/append";
import { pageBytes } from "../cache/page";
import { attendScratch } from "../kernels/attend";
import { tileBytes } from "../kernels/pack";
import { ropeFrequencies } from "../kernels/rope-frequencies";
import { fillTurns, turnsBytes } from "../kernels/turn-angles";
import { arenaAlloc } from "../memory/arena";
import { AttendTask, Engine, engine, Layer, layerAt, Linear, ropeAt, RopeTable, stride8 } from "../memory/records";
import { sketchBytes } from "../policy/leverage";
import { Form, KvForm, Size, Slot, Status, Vector } from "../memory/status";
import { sectionScratch } from "../sections/add";
import { packingBytes } from "../sections/pack";
import { layoutPool } from "../thread/pool";

// @ts-ignore: decorator
@inline
export function linearAt(base: usize, slot: u32): Linear {
  return changetype<Linear>(base + <usize>slot * offsetof<Linear>());
}

/** The attention task of a thread. */
// @ts-ignore: decorator
@inline
export function taskOf(e: Engine, part: u32): AttendTask {
  return changetype<AttendTask>(e.attention + <usize>part * e.attentionBytes);
}

/** The caller's attention task is less than 128 bytes. 64 bytes and a word for each KV head, between the caller's attention task and its scratch. */
// @ts-ignore: decorator
@inline
export function smallScratch(e: Engine): usize {
  return e.attention + 2 * Size.ALIGN;
}

/** Records of the layers, of the matrices and of the RoPE tables; after the configuration, before anything else. */
export function layoutRecords(): Status {
  const e = engine();
  e.layers = arenaAlloc(<u64>e.nLayers * offsetof<Layer>());
  const linears = arenaAlloc((<u64>e.nLayers * 7 + 2) * offsetof<Linear>());
  e.ropes = arenaAlloc(<u64>e.nRopes * offsetof<RopeTable>());
  layoutPool(e);
  if (e.exhausted) return Status.OUT_OF_MEMORY;
  for (let i: u32 = 0; i < e.nLayers; ++i) {
    const layer = layerAt(e, i);
    layer.linears = linears + <usize>i * 7 * offsetof<Linear>();
    layer.rope = e.ropes;
    layer.firstHead = i * e.nKvHeads;
    layer.nHeads = e.nHeads;
    layer.nKvHeads = e.nKvHeads;
    layer.sourceKvHeads = e.sourceKvHeads;
    layer.keyDim = e.keyDim;
    layer.valueDim = e.valueDim;
    layer.options = e.options;
  }
  e.nHeadViews = e.nLayers * e.nKvHeads;
  e.embedding = linears + <usize>e.nLayers * 7 * offsetof<Linear>();
  e.output = e.embedding + offsetof<Linear>();
  for (let i: u32 = 0; i < e.nRopes; ++i) {
    const table = ropeAt(e, i);
    table.magnitude = 1;
    table.factor = 1;
  }
  return Status.OK;
}

/** Where a vector's address is kept. */
function vectorField(e: Engine, vector: Vector, layer: u32): usize {
  if (vector == Vector.FINAL_NORM) return changetype<usize>(e) + offsetof<Engine>("finalNorm");
  if (vector == Vector.ROPE_DIVISORS) return e.ropes + offsetof<RopeTable>("divisors");
  return changetype<usize>(layerAt(e, layer)) + (<usize>vector << 2);
}

/** Allocates a vector of f32; returns its address, 0 when memory is out. */
export function vectorAlloc(vector: Vector, layer: u32, length: u32): usize {
  const e = engine();
  const address = arenaAlloc(<u64>length << 2);
  store<usize>(vectorField(e, vector, layer), address);
  if (vector == Vector.QUERY_NORM) layerAt(e, layer).queryNormDim = length;
  if (vector == Vector.KEY_NORM) layerAt(e, layer).keyNormDim = length;
  return address;
}

/** Allocates the bias of a matrix; returns its address, 0 when memory is out. */
export function biasAlloc(slot: Slot, layer: u32, length: u32): usize {
  const linear = changetype<Linear>(linearAddress(slot, layer));
  linear.bias = arenaAlloc(<u64>length << 2);
  return linear.bias;
}

/** The record of a matrix; `layer` counts for the first seven slots only. */
export function linearAddress(slot: Slot, layer: u32): usize {
  const e = engine();
  if (slot == Slot.EMBEDDING) return e.embedding;
  if (slot == Slot.OUTPUT) return e.output;
  return changetype<usize>(linearAt(layerAt(e, layer).linears, slot));
}

/** Allocates the packed matrix of a record; returns the address of its first tile, 0 when memory is out. */
export function linearAlloc(address: usize, form: Form, nRows: u32, nCols: u32): usize {
  const linear = changetype<Linear>(address);
  linear.form = form;
  linear.nRows = nRows;
  linear.nCols = nCols;
  linear.nTiles = (nRows + 7) >> 3;
  linear.data = arenaAlloc(<u64>linear.nTiles * tileBytes(form, nCols));
  return linear.data;
}

/** Tied output: the output projection is the embedding. */
export function tieOutput(): void {
  const e = engine();
  memory.copy(e.output, e.embedding, offsetof<Linear>());
}

/** Bytes of the attention region before the task's scratch. */
function taskOffset(e: Engine): usize {
  return 3 * Size.ALIGN + ((<usize>e.nKvHeads << 2) | 63) + 1;
}

/** Whether pages have sections, or a form of keys that changes the query: those take scratch of their own. */
function changesQueries(e: Engine): bool {
  return e.kvSections != 0 || e.keyForm >= <u32>KvForm.Q8_PLANES;
}

/**
 * Run state and tables, after the records and before the matrices. Until `finishLoad` the run state serves as the staging
 * buffer for file bytes, which therefore costs no memory of its own; `stagingBytes` is the least it must have.
 */
export function layoutRunState(stagingBytes: u32): Status {
  const e = engine();
  const rows = <u64>e.maxRows;
  const hidden = <u64>e.hiddenDim;
  const attention = <u64>e.nHeads * e.valueDim;
  const source = <u64>e.sourceKvHeads;
  const ffn = <u64>e.ffnDim;
  const widest = max<u64>(max<u64>(hidden, attention), ffn);
  const vocab = <u64>stride8(e.vocabSize);
  const outputs = <u64>e.maxOutputs;
  e.rows = arenaAlloc(rows * Size.ROW);
  e.x = arenaAlloc((rows * hidden) << 2);
  e.h = arenaAlloc((rows * widest) << 2);
  e.activations = arenaAlloc(rows * ((widest + 31) / 32) * Size.ACTIVATION_BLOCK);
  e.q = arenaAlloc((rows * e.nHeads * e.keyDim) << 2);
  e.k = arenaAlloc((rows * source * e.keyDim) << 2);
  e.v = arenaAlloc((rows * source * e.valueDim) << 2);
  e.gate = arenaAlloc((rows * ffn) << 2);
  e.up = arenaAlloc((rows * ffn) << 2);
  e.projected = arenaAlloc((rows * hidden) << 2);
  for (let i: u32 = 0; i < e.nRopes; ++i) {
    const table = ropeAt(e, i);
    table.frequencies = arenaAlloc(<u64>e.ropeDim << 2);
    table.angles = arenaAlloc((rows * e.ropeDim) << 2);
    if (e.slotPositions != 0) table.turns = arenaAlloc(turnsBytes(e.ropeDim));
  }
  const scratch = attendScratch(e.keyDim, e.valueDim) + (changesQueries(e) ? sectionScratch(e.keyDim, e.valueDim) : 0);
  e.attentionBytes = <u32>((taskOffset(e) + scratch) | 63) + 1;
  e.attention = arenaAlloc(<u64>e.nThreads * e.attentionBytes);
  e.hidden = arenaAlloc((outputs * hidden) << 2);
  e.logits = arenaAlloc((outputs * vocab) << 2);
  e.scratch = arenaAlloc(vocab << 2);
  e.freePages = arenaAlloc(<u64>e.nHeadViews << 3);
  e.widePages = e.freePages + (<usize>e.nHeadViews << 2);
  if (changesQueries(e)) e.packing = arenaAlloc(packingBytes(e.keyDim, e.valueDim));
  if (e.slotPositions != 0) {
    const slots = <u64>(e.contextLength + Size.PAGE_SLOTS);
    e.policySlots = <u32>slots;
    e.policyScores = arenaAlloc((slots * e.nKvHeads) << 2);
    e.keepMap = arenaAlloc(slots * e.nKvHeads);
    e.policyKeys = arenaAlloc((slots * max<u32>(e.keyDim, e.valueDim)) << 2);
    e.policyWeights = arenaAlloc(slots << 2);
    e.policyBudgets = arenaAlloc(<u64>e.nHeadViews << 2);
    e.policyParameters = arenaAlloc(32);
    if (e.policyScratchBytes != 0) e.policyScratch = arenaAlloc(e.policyScratchBytes);
    if (e.filters != 0) e.filters = arenaAlloc(<u64>e.nHeadViews * (e.keyDim << 2));
    if (e.sketch != 0) e.sketched = arenaAlloc(sketchBytes(e.keyDim, e.sketch));
  }
  if (e.streamRows != 0) e.stream = arenaAlloc((<u64>e.streamRows * hidden) << 2);
  if (e.exhausted) return Status.OUT_OF_MEMORY;
  e.staging = e.rows;
  e.stagingBytes = e.top - e.staging;
  if (e.stagingBytes < stagingBytes) {
    if (arenaAlloc(stagingBytes - e.stagingBytes) == 0) return Status.OUT_OF_MEMORY;
    e.stagingBytes = e.top - e.staging;
  }
  if (e.kvGroup == 0) e.kvGroup = 64;
  e.pageBytes = pageBytes(e, e.keyForm, e.valueForm);
  e.openBytes = pageBytes(e, KvForm.F32, KvForm.F32);
  e.recentBytes = pageBytes(e, recentForm(e.keyForm), recentForm(e.valueForm));
  let wide: u64 = 0;
  for (let i: u32 = 0; i < e.nLayers; ++i) wide |= layerAt(e, i).wideHeads;
  e.wideBytes = wide != 0 && agesTwice(e) ? e.recentBytes : 0;
  if (!agesTwice(e)) {
    e.recentPages = 0;
    e.sinkPages = 0;
  } else if (e.recentPages == 0) return Status.BAD_ARGUMENT;
  return Status.OK;
}

/** The weights are in: the staging buffer becomes run state (zeroed, and thereby mapped by the system). */
export function finishLoad(): void {
  const e = engine();
  memory.fill(e.staging, 0, e.stagingBytes);
  for (let i: u32 = 0; i < e.nRopes; ++i) {
    const table = ropeAt(e, i);
    ropeFrequencies(table, e.ropeDim);
    if (table.turns != 0) fillTurns(table, e.ropeDim, smallScratch(e));
  }
  for (let part: u32 = 0; part < e.nThreads; ++part) {
    const task = taskOf(e, part);
    task.keyDim = e.keyDim;
    task.valueDim = e.valueDim;
    task.scale = e.attentionScale != 0 ? e.attentionScale : <f32>1 / sqrt<f32>(<f32>e.keyDim);
    task.softcap = e.attentionSoftcap;
    task.group = e.kvGroup;
    task.ropeDim = e.ropeDim;
    task.rotated = e.rotateKeys;
    task.sections = e.kvSections;
    task.flat = e.kvFlat;
    task.scratch = changetype<usize>(task) + taskOffset(e);
    task.extra = changesQueries(e) ? task.scratch + attendScratch(e.keyDim, e.valueDim) : 0;
  }
}

export function stagingAddress(): usize {
  return engine().staging;
}

export function stagingSize(): usize {
  return engine().stagingBytes;
}

/** Where the host writes rows, and where it reads what they asked for. */
export function rowsAddress(): usize {
  return engine().rows;
}

/** Where the input vector of a row may be written: its place in the residual stream. */
export function inputAddress(row: u32): usize {
  const e = engine();
  return e.x + ((<usize>row * e.hiddenDim) << 2);
}

export function logitsAddress(output: u32): usize {
  const e = engine();
  return e.logits + ((<usize>output * stride8(e.vocabSize)) << 2);
}

export function hiddenAddress(output: u32): usize {
  const e = engine();
  return e.hidden + ((<usize>output * e.hiddenDim) << 2);
}

export function scratchAddress(): usize {
  return engine().scratch;
}
