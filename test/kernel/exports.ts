/**
 * The exports of the `test` build as the tests call them: the product's, every kernel and every scalar reference.
 * Records (Linear, HeadView, Layer) are passed by address; a boolean comes back as 0 or 1.
 * @module
 */
import type { Form, TensorType } from "../../assembly/memory/status.ts";
import type { EngineExports } from "../../host/exports.ts";

type Add = (x: number, y: number, n: number) => void;
type AddScaled = (x: number, y: number, n: number, scale: number) => void;
type Attend = (out: number, q: number, task: number) => void;
type ExpRow = (out: number, x: number, n: number) => void;
type ExpWeights = (x: number, n: number, max: number, invTemperature: number) => number;
type Gemm = (out: number, outStride: number, x: number, xStride: number, linear: number, data: number) => void;
type GemmFloat = (out: number, outStride: number, x: number, linear: number) => void;
type Gemv = (out: number, x: number, weights: number, nTiles: number, nBlocks: number, form: Form) => void;
type GemvFloat = (out: number, x: number, linear: number) => void;
type LogSumExp = (x: number, n: number) => number;
type Quantize = (out: number, x: number, nBlocks: number) => void;
type PoolHeads = (x: number, weights: number, nGroups: number, m: number, dim: number) => void;
type Norm = (out: number, x: number, weight: number, n: number, eps: number) => void;
type CopyCodes = (
  to: number,
  toSlot: number,
  from: number,
  slot: number,
  form: number,
  part: number,
  dim: number,
) => void;
type ScaleCodes = (
  out: number,
  codes: number,
  form: number,
  part: number,
  slot: number,
  first: number,
  end: number,
  dim: number,
  scale: number,
  minimum: number,
) => void;
type Rope = (x: number, angles: number, d: number) => void;
type TurnAngles = (out: number, table: number, shift: number, d: number, scratch: number) => void;
type ScoreRows = (out: number, q: number, keys: number, n: number, dim: number, scale: number) => void;
type SoftmaxRow = (x: number, n: number) => void;
type ScaleRow = (x: number, n: number, factor: number) => void;
type SoftmaxSpan = (scores: number, first: number, n: number, result: number) => void;
type Swiglu = (gate: number, up: number, n: number) => void;

export interface KernelExports extends EngineExports {
  copyCodes: CopyCodes;
  copyCodesRef: CopyCodes;
  scoreRows: ScoreRows;
  scoreRowsRef: ScoreRows;
  softmaxRow: SoftmaxRow;
  softmaxRowRef: SoftmaxRow;
  scaleCodes: ScaleCodes;
  scaleCodesRef: ScaleCodes;
  addVector(sums: number, x: number, n: number): void;
  addProducts(products: number, x: number, n: number, wide: number): void;
  addProductsRef(products: number, x: number, n: number, wide: number): void;
  arenaAlloc(bytes: bigint): number;
  readonly addRow: Add;
  readonly addRowRef: Add;
  readonly addScaled: AddScaled;
  readonly addScaledRef: AddScaled;
  readonly attend: Attend;
  readonly attendRef: Attend;
  attendScratch(keyDim: number, valueDim: number): number;
  sectionScratch(keyDim: number, valueDim: number): number;
  checksumRef(out: number, x: number, n: number, seed: number): void;
  cosSin64(out: number, x: number): void;
  exp64(x: number): number;
  readonly expRow: ExpRow;
  readonly expRowRef: ExpRow;
  brainToFloat(bits: number): number;
  halfToFloat(bits: number): number;
  readonly gemmFloat: GemmFloat;
  readonly gemmFloatRef: GemmFloat;
  readonly gemvFloat: GemvFloat;
  readonly gemvFloatRef: GemvFloat;
  readonly gemmQuantized: Gemm;
  readonly gemmQuantizedRef: Gemm;
  readonly gemvQuantized: Gemv;
  readonly gemvQuantizedRef: Gemv;
  decodeBlock(out: number, row: number, type: TensorType, block: number): number;
  floatToHalf(value: number): number;
  roundToHalf(value: number): number;
  formOf(type: TensorType): Form;
  readonly expWeightsRef: ExpWeights;
  readonly logSumExpRef: LogSumExp;
  rowBytes(type: TensorType, nCols: number): number;
  unpackTile(out: number, matrix: number, t: number, first: number, n: number): void;
  tileBytes(form: Form, nCols: number): number;
  readonly quantizeActivations: Quantize;
  readonly quantizeActivationsRef: Quantize;
  readonly quantizeBytes: Quantize;
  readonly quantizeBytesRef: Quantize;
  /** Bytes of an activation block for weights of a form. */
  activationBytes(form: Form): number;
  readonly rmsNorm: Norm;
  readonly rmsNormRef: Norm;
  readonly rope: Rope;
  readonly ropeRef: Rope;
  ropeAngles(out: number, table: number, position: number, d: number, scratch: number): void;
  ropeFrequencies(table: number, d: number): void;
  fillTurns(table: number, d: number, scratch: number): void;
  readonly turnAngles: TurnAngles;
  readonly turnAnglesRef: TurnAngles;
  turnsBytes(d: number): number;
  readonly geglu: Swiglu;
  readonly gegluRef: Swiglu;
  readonly layerNorm: Norm;
  readonly layerNormRef: Norm;
  readonly poolHeads: PoolHeads;
  readonly poolHeadsRef: PoolHeads;
  readonly scaleRow: ScaleRow;
  readonly scaleRowRef: ScaleRow;
  readonly softcapRow: ScaleRow;
  readonly softcapRowRef: ScaleRow;
  keyDrivenShares(shares: number, session: number, layer: number): void;
  readonly softmaxSpan: SoftmaxSpan;
  readonly softmaxSpanRef: SoftmaxSpan;
  readonly swiglu: Swiglu;
  readonly swigluRef: Swiglu;
  append(head: number, key: number, value: number, keyDim: number, valueDim: number): void;
  closeFull(head: number): void;
  closeSquares(head: number): void;
  keySquare(key: number, keyDim: number, stride: number): number;
  writeSlot(page: number, slot: number, key: number, value: number, keyDim: number, valueDim: number): void;
}
