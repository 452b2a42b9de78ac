/**
 * Streams a file's tensors into the arena: read into the staging buffer (which is the run state, not yet in use), pack,
 * go on. Tensors come in file order, so that a one-way stream works, and no byte of them exists twice.
 * @module
 */
import { Form, Size, TensorType, Vector } from "../assembly/memory/status.ts";
import type { Architecture } from "./architecture.ts";
import { rowGroup } from "./budget.ts";
import { ThimbleError } from "./errors.ts";
import { checkEnd, type GgufHeader, type TensorInfo } from "./header.ts";
import type { Runtime } from "./runtime.ts";
import type { ByteSource } from "./source.ts";
import type { TensorPart } from "./tensor-places.ts";
import { type ActivationMode, COMPUTABLE_TYPES, packedBytes, weightForm } from "./weight-form.ts";

export interface LoadProgress {
  /** Bytes of tensor data packed so far, and in all. */
  readonly loaded: number;
  readonly total: number;
}

export interface WeightOptions {
  readonly activations: ActivationMode;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
}

/** Where a tensor, or a part of one, lies in memory. */
export interface WeightRegion {
  readonly name: string;
  readonly address: number;
  readonly bytes: number;
}

/** Rows read and packed at once: large enough to amortise a read, small enough to report progress and hear an abort. */
const BATCH_BYTES = 1 << 20;

/** @throws ThimbleError unsupported_type before anything is read */
export function checkTypes(header: GgufHeader, model: Architecture): void {
  for (const tensor of header.tensors) {
    const { name, typeName } = tensor;
    if (weightForm(tensor.type, "int8") === undefined) {
      throw new ThimbleError(
        "unsupported_type",
        `tensor "${name}" has type ${typeName}; this build computes ${COMPUTABLE_TYPES}`,
        { file: header.file, name: typeName },
      );
    }
    if (model.places.get(name)?.isMatrix === false && tensor.type !== TensorType.F32) {
      throw new ThimbleError("unsupported_type", `vector "${name}" has type ${typeName}; it must be F32`, {
        file: header.file,
        name: typeName,
      });
    }
  }
}

/** What every tensor's load needs. */
interface Loading {
  readonly runtime: Runtime;
  readonly source: ByteSource;
  readonly header: GgufHeader;
  readonly options: WeightOptions;
  /** Filled while loading. */
  readonly regions: WeightRegion[];
}

/**
 * Loads all tensors of `model`.
 * @throws ThimbleError truncated_file, source_unreadable, malformed_file (a scale is not finite), out_of_memory; the
 * signal's reason when aborted
 */
export async function loadWeights(loading: Loading, model: Architecture): Promise<void> {
  const { runtime, header, options } = loading;
  const total = header.tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
  let loaded = 0;
  const report = (bytes: number): void => {
    loaded += bytes;
    options.onProgress?.({ loaded, total });
  };
  for (const tensor of header.tensors) {
    const { isMatrix, parts } = model.places.get(tensor.name)!;
    let first = 0;
    for (const part of parts) {
      if (isMatrix) await loadMatrix(loading, tensor, part, first, report);
      else if (part.kind !== "unused") await loadVector(loading, tensor, part, first);
      first += part.length;
    }
    if (!isMatrix) report(tensor.bytes);
  }
  if (model.tied) runtime.exports.tieOutput();
  runtime.exports.finishLoad();
}

/** A vector is packed as a matrix of one column: that leaves its values in order, or permutes them as it does rows. */
async function loadVector(loading: Loading, tensor: TensorInfo, part: TensorPart, first: number): Promise<void> {
  const { exports } = loading.runtime;
  const { length, layer, permute } = part;
  const before = exports.arenaBytes() >>> 0;
  let address = 0;
  if (part.kind === "vector") address = exports.vectorAlloc(part.vector, layer, length) >>> 0;
  else if (part.kind === "bias") address = exports.biasAlloc(part.slot, layer, length) >>> 0;
  if (address === 0) throw noMemory(loading, tensor, before + length * 4);
  const staging = await stage(loading, tensor, 0, 1);
  loading.regions.push({ name: tensor.name, address, bytes: length * 4 });
  checkVector(loading, tensor, part, loading.runtime.floats(staging + first * 4, length));
  exports.packRows(address, staging + first * 4, TensorType.F32, length, 1, permute);
}

/** Divisors of frequencies are near 1 to 100 in real files; anything else would give angles that mean nothing. */
function checkVector({ header }: Loading, { name }: TensorInfo, part: TensorPart, values: Float32Array): void {
  const isDivisor = part.kind === "vector" && part.vector === Vector.ROPE_DIVISORS;
  if (values.every((value) => Number.isFinite(value) && (!isDivisor || (value >= 1e-3 && value <= 1e6)))) return;
  const message = isDivisor ? "a divisor of a frequency that makes no sense" : "a value that is not finite";
  throw new ThimbleError("malformed_file", `tensor "${name}" has ${message}`, { file: header.file, name });
}

async function loadMatrix(
  loading: Loading,
  tensor: TensorInfo,
  part: TensorPart,
  first: number,
  report: (bytes: number) => void,
): Promise<void> {
  const { runtime, header, options } = loading;
  const { exports } = runtime;
  const rowBytes = tensor.bytes / tensor.rows;
  const type = tensor.type as number;
  const floatBytes = options.activations === "f32" && type !== TensorType.F32 ? tensor.columns * 4 : 0;
  const group = rowGroup(part.permute);
  const room = Math.min(exports.stagingSize() >>> 0, Math.max(BATCH_BYTES, group * (rowBytes + floatBytes)));
  const batch = Math.floor(room / (rowBytes + floatBytes) / group) * group;
  const { address, tileBytes } = allocate(loading, tensor, part);
  for (let row = 0; row < part.length; row += batch) {
    const rows = Math.min(batch, part.length - row);
    let from = await stage(loading, tensor, first + row, rows);
    if (floatBytes > 0) {
      const floats = from + Math.ceil((rows * rowBytes) / 4) * 4;
      for (let r = 0; r < rows; ++r) {
        exports.dequantizeRow(floats + r * floatBytes, from + r * rowBytes, type, tensor.columns);
      }
      from = floats;
    }
    const to = address + (row / Size.TILE_ROWS) * tileBytes;
    const packedType = floatBytes > 0 ? TensorType.F32 : type;
    if (!exports.packRows(to, from, packedType, rows, tensor.columns, part.permute)) {
      throw new ThimbleError("malformed_file", `tensor "${tensor.name}" has a scale or weight that is not finite`, {
        file: header.file,
        name: tensor.name,
      });
    }
    report(rows * rowBytes);
  }
}

/** Reads rows of a tensor into the staging buffer and returns its address. */
async function stage(loading: Loading, tensor: TensorInfo, row: number, rows: number): Promise<number> {
  const { runtime, source, header, options } = loading;
  options.signal?.throwIfAborted();
  const staging = runtime.exports.stagingAddress() >>> 0;
  const rowBytes = tensor.bytes / tensor.rows;
  const offset = tensor.offset + row * rowBytes;
  source.release?.(offset);
  const got = await source.read(runtime.bytes(staging, rows * rowBytes), offset, options.signal);
  if (got === rows * rowBytes) return staging;
  checkEnd(header, offset + got);
  throw new ThimbleError("source_unreadable", `the source ended early, inside tensor "${tensor.name}"`, {
    file: header.file,
    needed: rows * rowBytes,
    available: got,
  });
}

function allocate(loading: Loading, tensor: TensorInfo, part: TensorPart): { address: number; tileBytes: number } {
  const { exports } = loading.runtime;
  if (part.kind !== "matrix") throw new Error(`"${tensor.name}" is no matrix`);
  const form = weightForm(tensor.type, loading.options.activations) ?? Form.F32;
  const record = exports.linearAddress(part.slot, part.layer);
  const before = exports.arenaBytes() >>> 0;
  const address = exports.linearAlloc(record, form, part.length, tensor.columns) >>> 0;
  if (address === 0) throw noMemory(loading, tensor, before + packedBytes(form, part.length, tensor.columns));
  loading.regions.push({ name: tensor.name, address, bytes: packedBytes(form, part.length, tensor.columns) });
  return { address, tileBytes: packedBytes(form, Size.TILE_ROWS, tensor.columns) };
}

function noMemory({ runtime, header }: Loading, tensor: TensorInfo, needed: number): ThimbleError {
  return new ThimbleError("out_of_memory", `no memory for tensor "${tensor.name}"`, {
    file: header.file,
    needed,
    available: runtime.memoryBytes(),
  });
}
