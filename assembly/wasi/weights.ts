/**
 * The weights: packed by the host as kernels/pack.ts draws them, so that each tensor is read to where it stays. The index says
 * where that is; what it says is checked against the configuration before anything is taken from memory.
 */
import { checksum } from "../kernels/checksum";
import { tileBytes } from "../kernels/pack";
import { Engine, engine, layerAt, Linear, RopeTable } from "../memory/records";
import { Form, FormFlag, Size, Slot, Vector } from "../memory/status";
import { biasAlloc, finishLoad, linearAddress, linearAlloc, tieOutput, vectorAlloc } from "../model/layout";
import { Format, TensorAt, TensorKind } from "./format";
import { answer, readSome } from "./io";

const CUT = "it ends before its weights do";
const CHANGED = "its weights were changed";
const NO_MEMORY = "there is no memory for its weights";
const BAD_INDEX = "its index has a tensor that has no place in it";
const INCOMPLETE = "its index lacks a tensor";

/** Rows and columns of a matrix. */
function rowsOf(e: Engine, slot: Slot): u32 {
  switch (slot) {
    case Slot.Q:
      return e.nHeads * e.keyDim;
    case Slot.K:
      return e.sourceKvHeads * e.keyDim;
    case Slot.V:
      return e.sourceKvHeads * e.valueDim;
    case Slot.OUT:
    case Slot.DOWN:
      return e.hiddenDim;
    case Slot.GATE:
    case Slot.UP:
      return e.ffnDim;
    default:
      return e.vocabSize;
  }
}

function columnsOf(e: Engine, slot: Slot): u32 {
  if (slot == Slot.OUT) return e.nHeads * e.valueDim;
  return slot == Slot.DOWN ? e.ffnDim : e.hiddenDim;
}

function isForm(form: u32, nCols: u32): bool {
  if (form <= <u32>Form.BF16) return true;
  if (nCols % Size.BLOCK != 0) return false;
  if ((form & FormFlag.QUANTIZED) == 0 || form > <u32>Form.Q4_MIN_WIDE_16) return false;
  // Scales for 16 columns are f32 in every form, and those of f32 with bytes have no other kind.
  const isGroup16 = (form & FormFlag.GROUP_16) != 0;
  if (isGroup16) return form == Form.Q4_WIDE_16 || form == Form.Q8_WIDE_16 || form == Form.Q4_MIN_WIDE_16;
  return form != 20;
}

/** Whether a vector of this length belongs there. */
function isVector(e: Engine, vector: u32, length: u32): bool {
  switch (vector) {
    case Vector.QUERY_NORM:
      return length == e.keyDim || length == e.nHeads * e.keyDim;
    case Vector.KEY_NORM:
      return length == e.keyDim || length == e.sourceKvHeads * e.keyDim;
    case Vector.KEY_POOL:
    case Vector.VALUE_POOL:
      return length == e.sourceKvHeads;
    case Vector.ROPE_DIVISORS:
      return length == e.ropeDim >> 1;
    default:
      return (vector < <u32>Vector.QUERY_NORM || vector == <u32>Vector.FINAL_NORM) && length == e.hiddenDim;
  }
}

/** Where the engine keeps a vector's address. */
function vectorHolder(e: Engine, vector: u32, layer: u32): usize {
  if (vector == <u32>Vector.FINAL_NORM) return e.finalNorm;
  if (vector == <u32>Vector.ROPE_DIVISORS) return changetype<RopeTable>(e.ropes).divisors;
  return load<usize>(changetype<usize>(layerAt(e, layer)) + (vector << 2));
}

/** Bytes that a tensor of the index has in the file; 0: it has no place, or was there before. */
export function tensorBytes(tensor: usize): u64 {
  const e = engine();
  const kind = load<u32>(tensor, TensorAt.KIND);
  const place = load<u32>(tensor, TensorAt.PLACE);
  const layer = load<u32>(tensor, TensorAt.LAYER);
  const form = load<u32>(tensor, TensorAt.FORM);
  const rows = load<u32>(tensor, TensorAt.ROWS);
  const columns = load<u32>(tensor, TensorAt.COLUMNS);
  if (layer >= e.nLayers) return 0;
  if (kind == TensorKind.VECTOR) {
    const isThere = place <= <u32>Vector.ROPE_DIVISORS && vectorHolder(e, place, layer) != 0;
    return isThere || form != 0 || columns != 1 || !isVector(e, place, rows) ? 0 : <u64>rows << 2;
  }
  if (kind > <u32>TensorKind.BIAS || place > <u32>Slot.OUTPUT || rows != rowsOf(e, place)) return 0;
  const linear = changetype<Linear>(linearAddress(place, layer));
  if (kind == TensorKind.BIAS) return linear.bias != 0 || form != 0 || columns != 1 || place == <u32>Slot.EMBEDDING ? 0 : <u64>rows << 2;
  if (linear.data != 0 || columns != columnsOf(e, place) || !isForm(form, columns)) return 0;
  return <u64>((rows + 7) >> 3) * tileBytes(form, columns);
}

function alloc(tensor: usize): usize {
  const place = load<u32>(tensor, TensorAt.PLACE);
  const layer = load<u32>(tensor, TensorAt.LAYER);
  const rows = load<u32>(tensor, TensorAt.ROWS);
  const kind = load<u32>(tensor, TensorAt.KIND);
  if (kind == TensorKind.VECTOR) return vectorAlloc(place, layer, rows);
  if (kind == TensorKind.BIAS) return biasAlloc(place, layer, rows);
  return linearAlloc(linearAddress(place, layer), load<u32>(tensor, TensorAt.FORM), rows, load<u32>(tensor, TensorAt.COLUMNS));
}

function isComplete(e: Engine): bool {
  if (e.finalNorm == 0 || changetype<Linear>(e.embedding).data == 0) return false;
  for (let i: u32 = 0; i < e.nLayers; ++i) {
    for (let slot: u32 = 0; slot < 7; ++slot) if (changetype<Linear>(linearAddress(slot, i)).data == 0) return false;
    const layer = layerAt(e, i);
    const isPooled = layer.sourceKvHeads != layer.nKvHeads;
    if (isPooled != (layer.keyPool != 0) || isPooled != (layer.valuePool != 0)) return false;
  }
  return true;
}

/** Reads all weights; returns what went wrong, "" when nothing did. `weightBytes` is what the header promises. */
export function readWeights(fd: u32, index: usize, indexBytes: u32, weightBytes: u64): string {
  const e = engine();
  if (indexBytes % TensorAt.END != 0) return BAD_INDEX;
  let left = weightBytes;
  for (let tensor = index; tensor < index + indexBytes; tensor += TensorAt.END) {
    const bytes = tensorBytes(tensor);
    if (bytes == 0 || bytes > left) return BAD_INDEX;
    const address = alloc(tensor);
    if (address == 0) return NO_MEMORY;
    if (readSome(fd, address, bytes) != <i64>bytes) return CUT;
    checksum(answer(), address, <u32>(bytes >> 2), Format.SEED);
    if (load<u64>(answer()) != load<u64>(tensor, TensorAt.SUM)) return CHANGED;
    left -= bytes;
  }
  if (left != 0 || !isComplete(e)) return INCOMPLETE;
  if (changetype<Linear>(e.output).data == 0) tieOutput();
  finishLoad();
  return "";
}
