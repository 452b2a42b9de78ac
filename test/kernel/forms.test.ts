/**
 * Every quantized tensor type through the linear kernels: GEMV and GEMM give the reference's bits, and the reference is
 * within (terms + 2) 2^-24 of the terms' sizes of exact arithmetic on the decoded integers and scales.
 */
import { FormFlag, Size, type TensorType } from "../../assembly/memory/status.ts";
import { GGUF_TYPE, tensorType } from "../../host/tensor-type.ts";
import { type ActivationBlock, activationBlocks } from "../oracle/blocks.ts";
import { sameBits, UNIT, within } from "./compare.ts";
import { checkedSuite, copyOf, Instance } from "./instance.ts";
import { linearRecord, quantized } from "./quantized.ts";
import { bells, type Draw, draws, integer } from "./values.ts";

const instance = new Instance();
const { exports } = instance;
const test = checkedSuite("forms", instance);

/** Byte offsets of the f16 fields of a block. */
const HALVES: Readonly<Record<string, readonly number[]>> = {
  Q4_0: [0],
  Q4_1: [0, 2],
  Q5_0: [0],
  Q5_1: [0, 2],
  Q8_0: [0],
  Q2_K: [80, 82],
  Q3_K: [108],
  Q4_K: [0, 2],
  Q5_K: [0, 2],
  Q6_K: [208],
  IQ4_NL: [0],
  IQ4_XS: [0],
};

/** Random rows; `extreme` sets all bits of everything but the f16 fields to one value. */
function rowsOf(name: keyof typeof GGUF_TYPE, n: number, draw: Draw, extreme?: number): Uint8Array {
  const { blockLength, blockBytes } = tensorType(GGUF_TYPE[name])!;
  const out = new Uint8Array((n / blockLength) * blockBytes);
  out.forEach((_, i) => {
    out[i] = extreme ?? integer(draw, 256);
  });
  const view = new DataView(out.buffer);
  for (let at = 0; at < out.length; at += blockBytes) {
    for (const offset of HALVES[name]!)
      view.setUint16(at + offset, 0x1c00 + integer(draw, 0x1000) + (draw() < 0.5 ? 0x8000 : 0), true);
  }
  return out;
}

const TOKENS = 4;

/** One output in f64 from the row's decoded blocks, half by half of 16 columns, and the sizes of its terms. */
function exactly(row: Uint8Array, type: TensorType, x: readonly ActivationBlock[]): { value: number; size: number } {
  const address = instance.input(row).address;
  const decoded = instance.output(Size.DECODED);
  const zero = exports.formOf(type) & (FormFlag.BYTES | FormFlag.MIN) ? 0 : 8;
  let value = 0;
  let size = 0;
  x.forEach(({ q, step }, block) => {
    exports.decodeBlock(decoded.address, address, type, block);
    const weights = new Int8Array(copyOf(decoded).buffer.slice(0, 32));
    const scales = copyOf(decoded).slice(8);
    for (const half of [0, 1]) {
      const columns = q.slice(half * 16, half * 16 + 16);
      const dot = columns.reduce((sum, each, c) => sum + each * (weights[half * 16 + c]! - zero), 0);
      const sum = columns.reduce((total, each) => total + each, 0);
      for (const term of [scales[half]! * step * dot, scales[half + 2]! * step * sum]) {
        value += term;
        size += Math.abs(term);
      }
    }
  });
  return { value, size };
}

for (const name of Object.keys(HALVES) as (keyof typeof GGUF_TYPE)[]) {
  const type = GGUF_TYPE[name] as number as TensorType;

  test(`${name}: GEMV, GEMM and the reference agree, and are near exact arithmetic`, () => {
    const draw = draws(31 + type);
    const form = exports.formOf(type);
    for (const [nCols, nRows, extreme] of [
      [256, 8, undefined],
      [768, 19, undefined],
      [512, 8, 0],
      [512, 8, 255],
    ] as const) {
      const rows = rowsOf(name, nCols * nRows, draw, extreme);
      const nTiles = Math.ceil(nRows / 8);
      const tileBytes = exports.tileBytes(form, nCols);
      const tiles = instance.output(nTiles * tileBytes);
      exports.packRows(tiles.address, instance.input(rows).address, type, nRows, nCols, 0);
      const linear = linearRecord(instance, tiles.address, form, nRows, nCols);
      const x = bells(nCols * TOKENS, draw);
      const activations = quantized(instance, x, form);
      const xStride = activations.u8.length / TOKENS;
      const gemm = instance.output(TOKENS * nTiles * 32);
      for (let tile = 0; tile < nTiles; ++tile) {
        const [to, data] = [gemm.address + tile * 32, tiles.address + tile * tileBytes];
        exports.gemmQuantized(to, nTiles * 32, activations.address, xStride, linear, data);
      }
      for (let t = 0; t < TOKENS; ++t) {
        const [op, ref] = [instance.output(nTiles * 32), instance.output(nTiles * 32)];
        const from = activations.address + t * xStride;
        exports.gemvQuantized(op.address, from, tiles.address, nTiles, nCols / 32, form);
        exports.gemvQuantizedRef(ref.address, from, tiles.address, nTiles, nCols / 32, form);
        const what = `${name}, ${nRows} x ${nCols}, token ${t}`;
        sameBits(op.f32, ref.f32, what);
        sameBits(copyOf(gemm).slice(t * nTiles * 8, (t + 1) * nTiles * 8), copyOf(op), `${what}, GEMM`);
        const blocks = activationBlocks(x.slice(t * nCols, (t + 1) * nCols));
        const sums = Array.from({ length: nRows }, (_, row) => {
          const bytes = rows.slice((row * rows.length) / nRows, ((row + 1) * rows.length) / nRows);
          return exactly(bytes, type, blocks);
        });
        const bound = (row: number): number => (nCols / 8 + 2) * UNIT * sums[row]!.size + 2 ** -149;
        const exact = sums.map(({ value }) => value);
        within(copyOf(op).slice(0, nRows), exact, bound, what);
      }
      instance.reset();
    }
  });
}

test.run();
