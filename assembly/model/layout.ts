/**
 * Lays the model out in the arena: configuration, records, run state. The host sets the configuration, allocates and packs
 * the matrices, then asks for the run state; host/budget.ts computes the same sums without memory, and a test holds them
 * equal.
 */
import { pageBytes } from "../cache/page";
import { ATTEND_SCRATCH } from "../kernels/attend-f32";
import { tileBytes } from "../kernels/pack";
import { ropeFrequencies } from "../kernels/rope";
import { arenaAlloc } from "../memory/arena";
import { Engine, engine, Layer, Linear, stride8 } from "../memory/records";
import { Config, Form, Norm, Size, Slot, Status } from "../memory/status";

export function setConfig(field: Config, value: f64): Status {
  const e = engine();
  const n = <u32>value;
  if (field == Config.N_LAYERS) e.nLayers = n;
  else if (field == Config.HIDDEN_DIM) e.hiddenDim = n;
  else if (field == Config.FFN_DIM) e.ffnDim = n;
  else if (field == Config.N_HEADS) e.nHeads = n;
  else if (field == Config.N_KV_HEADS) e.nKvHeads = n;
  else if (field == Config.KEY_DIM) e.keyDim = n;
  else if (field == Config.VALUE_DIM) e.valueDim = n;
  else if (field == Config.ROPE_DIM) e.ropeDim = n;
  else if (field == Config.VOCAB_SIZE) e.vocabSize = n;
  else if (field == Config.CONTEXT_LENGTH) e.contextLength = n;
  else if (field == Config.MAX_ROWS) e.maxRows = n;
  else if (field == Config.MAX_OUTPUTS) e.maxOutputs = n;
  else if (field == Config.RMS_EPS) e.rmsEps = <f32>value;
  else if (field == Config.ROPE_BASE) e.ropeBase = <f32>value;
  else return Status.BAD_ARGUMENT;
  return Status.OK;
}

// @ts-ignore: decorator
@inline
export function layerAt(e: Engine, index: u32): Layer {
  return changetype<Layer>(e.layers + <usize>index * offsetof<Layer>());
}

// @ts-ignore: decorator
@inline
export function linearAt(base: usize, slot: u32): Linear {
  return changetype<Linear>(base + <usize>slot * offsetof<Linear>());
}

/** Records of the layers and of the matrices, and the norm vectors; after the configuration, before any matrix. */
export function layoutRecords(): Status {
  const e = engine();
  const normBytes = <u64>e.hiddenDim << 2;
  e.layers = arenaAlloc(<u64>e.nLayers * offsetof<Layer>());
  const linears = arenaAlloc((<u64>e.nLayers * 7 + 2) * offsetof<Linear>());
  const norms = arenaAlloc((<u64>e.nLayers * 2 + 1) * normBytes);
  if (e.exhausted) return Status.OUT_OF_MEMORY;
  for (let i: u32 = 0; i < e.nLayers; ++i) {
    const layer = layerAt(e, i);
    layer.attentionNorm = norms + <usize>(2 * i * normBytes);
    layer.feedForwardNorm = layer.attentionNorm + <usize>normBytes;
    layer.linears = linears + <usize>i * 7 * offsetof<Linear>();
    layer.nHeads = e.nHeads;
    layer.nKvHeads = e.nKvHeads;
    layer.keyDim = e.keyDim;
    layer.valueDim = e.valueDim;
  }
  e.finalNorm = norms + <usize>(2 * <u64>e.nLayers * normBytes);
  e.embedding = linears + <usize>e.nLayers * 7 * offsetof<Linear>();
  e.output = e.embedding + offsetof<Linear>();
  return Status.OK;
}

export function normAddress(norm: Norm, layer: u32): usize {
  const e = engine();
  if (norm == Norm.FINAL) return e.finalNorm;
  return norm == Norm.ATTENTION ? layerAt(e, layer).attentionNorm : layerAt(e, layer).feedForwardNorm;
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

/**
 * Run state and tables, after the records and before the matrices. Until `finishLoad` the run state serves as the staging
 * buffer for file bytes, which therefore costs no memory of its own; `stagingBytes` is the least it must have.
 */
export function layoutRunState(stagingBytes: u32): Status {
  const e = engine();
  const rows = <u64>e.maxRows;
  const hidden = <u64>e.hiddenDim;
  const attention = <u64>e.nHeads * e.valueDim;
  const ffn = <u64>e.ffnDim;
  const widest = max<u64>(max<u64>(hidden, attention), ffn);
  const vocab = <u64>stride8(e.vocabSize);
  const outputs = <u64>e.maxOutputs;
  e.rows = arenaAlloc(rows * Size.ROW);
  e.x = arenaAlloc((rows * hidden) << 2);
  e.h = arenaAlloc((rows * widest) << 2);
  e.activations = arenaAlloc(rows * ((widest + 31) / 32) * Size.ACTIVATION_BLOCK);
  e.q = arenaAlloc((rows * e.nHeads * e.keyDim) << 2);
  e.k = arenaAlloc((rows * e.nKvHeads * e.keyDim) << 2);
  e.v = arenaAlloc((rows * e.nKvHeads * e.valueDim) << 2);
  e.gate = arenaAlloc((rows * ffn) << 2);
  e.up = arenaAlloc((rows * ffn) << 2);
  e.projected = arenaAlloc((rows * hidden) << 2);
  e.ropeFrequencies = arenaAlloc(<u64>e.ropeDim << 2);
  e.angles = arenaAlloc((rows * e.ropeDim) << 2);
  e.attention = arenaAlloc(ATTEND_SCRATCH + <u64>(3 * e.valueDim + 4) * 4 + 64);
  e.hidden = arenaAlloc((outputs * hidden) << 2);
  e.logits = arenaAlloc((outputs * vocab) << 2);
  e.scratch = arenaAlloc(vocab << 2);
  if (e.exhausted) return Status.OUT_OF_MEMORY;
  e.staging = e.rows;
  e.stagingBytes = e.top - e.staging;
  if (e.stagingBytes < stagingBytes) {
    if (arenaAlloc(stagingBytes - e.stagingBytes) == 0) return Status.OUT_OF_MEMORY;
    e.stagingBytes = e.top - e.staging;
  }
  e.pageBytes = pageBytes(e.keyDim, e.valueDim);
  return Status.OK;
}

/** The weights are in: the staging buffer becomes run state (zeroed, and thereby mapped by the system). */
export function finishLoad(): void {
  const e = engine();
  memory.fill(e.staging, 0, e.stagingBytes);
  ropeFrequencies(e.ropeFrequencies, <f64>e.ropeBase, e.ropeDim);
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
