/**
 * GGUF's quantized rows as their format says, and the contract's quantized activations: f64, from bytes and formulas.
 * @module
 */
import { TensorType } from "../../assembly/memory/status.ts";
import { brainRef, halfRef } from "./half.ts";

/** A block of 32 weights: w = scale * q + minimum. */
export interface WeightBlock {
  readonly scale: number;
  readonly minimum: number;
  /** Zero point taken off: -8..7, 0..15 or -128..127. */
  readonly q: readonly number[];
}

/**
 * Q4_0: f16 d, 16 bytes; value c in 0..15 is the low nibble of byte c, c + 16 the high one: w = d (nibble - 8).
 * Q4_1: f16 d, f16 m, 16 bytes in the same order: w = d nibble + m. Q8_0: f16 d, 32 signed bytes: w = d byte.
 */
export function weightBlocks(row: Uint8Array, type: TensorType): WeightBlock[] {
  const view = new DataView(row.buffer, row.byteOffset, row.byteLength);
  const nBytes = type === TensorType.Q8_0 ? 34 : type === TensorType.Q4_1 ? 20 : 18;
  const blocks: WeightBlock[] = [];
  for (let at = 0; at < row.length; at += nBytes) {
    const scale = halfRef(view.getUint16(at, true));
    if (type === TensorType.Q8_0) {
      blocks.push({ scale, minimum: 0, q: Array.from({ length: 32 }, (_, c) => view.getInt8(at + 2 + c)) });
      continue;
    }
    const minimum = type === TensorType.Q4_1 ? halfRef(view.getUint16(at + 2, true)) : 0;
    const nibbles = Array.from(row.subarray(at + nBytes - 16, at + nBytes));
    const all = [...nibbles.map((byte) => byte % 16), ...nibbles.map((byte) => Math.floor(byte / 16))];
    blocks.push({ scale, minimum, q: type === TensorType.Q4_0 ? all.map((nibble) => nibble - 8) : all });
  }
  return blocks;
}

/** A row of any type as numbers; Q4_1's sum is exact here. */
export function weightsRef(row: Uint8Array, type: TensorType): number[] {
  const view = new DataView(row.buffer, row.byteOffset, row.byteLength);
  const each = (n: number, value: (i: number) => number) => Array.from({ length: n }, (_, i) => value(i));
  if (type === TensorType.F32) return each(row.length / 4, (i) => view.getFloat32(4 * i, true));
  if (type === TensorType.F16) return each(row.length / 2, (i) => halfRef(view.getUint16(2 * i, true)));
  if (type === TensorType.BF16) return each(row.length / 2, (i) => brainRef(view.getUint16(2 * i, true)));
  return weightBlocks(row, type).flatMap(({ scale, minimum, q }) => q.map((value) => scale * value + minimum));
}

/** 32 activations: x ~ step * q. */
export interface ActivationBlock {
  readonly step: number;
  readonly q: readonly number[];
}

/** The contract: absmax below 2^-100 is a zero block; q = nearest-even(x (127 / absmax)), each step rounded to f32. */
export function activationBlocks(x: Float32Array): ActivationBlock[] {
  const blocks: ActivationBlock[] = [];
  for (let first = 0; first < x.length; first += 32) {
    const values = Array.from(x.subarray(first, first + 32));
    const absmax = Math.max(...values.map(Math.abs));
    if (absmax < 2 ** -100) {
      blocks.push({ step: 0, q: values.map(() => 0) });
      continue;
    }
    const inverse = Math.fround(127 / absmax);
    blocks.push({ step: Math.fround(absmax / 127), q: values.map((v) => nearestEven(Math.fround(v * inverse))) });
  }
  return blocks;
}

export function nearestEven(x: number): number {
  const below = Math.floor(x);
  if (x - below === 0.5) return below % 2 === 0 ? below : below + 1;
  return Math.round(x);
}
