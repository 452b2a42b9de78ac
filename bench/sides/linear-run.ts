/**
 * Linear kernels over weights of ordinary size: scales around 2^-8, integers of every value, activations around 1. Nothing
 * is subnormal, which would slow some processors down.
 *
 * Only a first stretch of weights is packed from GGUF rows, then copied: a packed matrix is a row of group blocks, so the
 * packed rows of one width, cut anew, are those of another. So forms with blocks of 256 run at 576 columns too.
 * @module
 */
import { Form, Size, TensorType } from "../../assembly/memory/status.ts";
import { tensorType } from "../../host/tensor-type.ts";
import { Instance } from "../../test/kernel/instance.ts";
import { linearRecord, quantized } from "../../test/kernel/quantized.ts";
import { bells, type Draw, draws, integer } from "../../test/kernel/values.ts";
import type { Request } from "../lib/interleave.ts";
import type { Run } from "./run.ts";

/** A type that gives each form, and where the f16 fields of its blocks are. */
const FORMS: Readonly<Record<string, readonly [form: Form, type: TensorType, halves: readonly number[]]>> = {
  Q4: [Form.Q4, TensorType.Q4_0, [0]],
  Q4_MIN: [Form.Q4_MIN, TensorType.Q4_1, [0, 2]],
  Q8: [Form.Q8, TensorType.Q8_0, [0]],
  Q8_MIN: [Form.Q8_MIN, TensorType.Q5_1, [0, 2]],
  Q8_WIDE: [Form.Q8_WIDE, TensorType.IQ4_XS, [0]],
  Q4_MIN_WIDE: [Form.Q4_MIN_WIDE, TensorType.Q4_K, [0, 2]],
  Q8_MIN_WIDE: [Form.Q8_MIN_WIDE, TensorType.Q5_K, [0, 2]],
  Q4_WIDE_16: [Form.Q4_WIDE_16, TensorType.Q3_K, [108]],
  Q8_WIDE_16: [Form.Q8_WIDE_16, TensorType.Q6_K, [208]],
  Q4_MIN_WIDE_16: [Form.Q4_MIN_WIDE_16, TensorType.Q2_K, [80, 82]],
};

/** Rows of 256 columns that are packed before copying. */
const PACKED_ROWS = 1024;
/** Tokens that pass a tile while it is in the first-level cache, and those of one GEMM call (assembly/model/linear.ts). */
const CHUNK = 64;
const GEMM_TOKENS = 4;

/** The instance of the largest matrix so far; a case that needs more takes a new one. */
let instance: Instance | undefined;
let slabBytes = 0;

export function linearRun({ kernel, form: name, rows, columns, tokens: n = 1 }: Request): Run {
  const [form, type, halves] = FORMS[String(name)] ?? [];
  if (form === undefined) throw new Error(`no form ${name}`);
  const [nRows, nCols, nTokens] = [Number(rows), Number(columns), Number(n)];
  const bytes = weightBytes(form, nRows, nCols);
  const memory = instanceFor(2 * bytes + nTokens * (nRows + 2 * nCols) * 4 + (1 << 23));
  const { exports } = memory;
  const data = packedWeights(memory, type!, halves!, form, bytes);
  const x = memory.input(bells(nTokens * nCols, draws(2)));
  const activations = quantized(memory, x.f32.slice(), form);
  const out = memory.output(nTokens * nRows * 4);
  const record = linearRecord(memory, data, form, nRows, nCols);
  const [nTiles, nBlocks, tile] = [nRows / Size.TILE_ROWS, nCols / Size.BLOCK, exports.tileBytes(form, nCols)];
  const [xStride, outStride] = [nBlocks * exports.activationBytes(form), nRows * 4];
  const { gemmQuantized, gemvQuantized } = exports;
  const isPairs = exports.activationBytes(form) === Size.ACTIVATION_BLOCK;
  const quantize = isPairs ? exports.quantizeActivations : exports.quantizeBytes;
  /** As assembly/model/linear.ts: tile outer, tokens inner; the calls from here cost about 1%. */
  const multiply = (): void => {
    for (let first = 0; first < nTokens; first += CHUNK) {
      const last = Math.min(first + CHUNK, nTokens);
      for (let i = 0; i < nTiles; ++i) {
        for (let t = first; t < last; t += GEMM_TOKENS) {
          const to = out.address + t * outStride + i * 32;
          gemmQuantized(to, outStride, activations.address + t * xStride, xStride, record, data + i * tile);
        }
      }
    }
  };
  const call =
    nTokens === 1 ? () => gemvQuantized(out.address, activations.address, data, nTiles, nBlocks, form) : multiply;
  const withQuantization = (): void => {
    quantize(activations.address, x.address, nTokens * nBlocks);
    call();
  };
  return { macs: nTokens * nRows * nCols, call: kernel === "linear" ? withQuantization : call };
}

function instanceFor(bytes: number): Instance {
  if (instance === undefined || bytes > slabBytes) {
    instance = new Instance(bytes);
    slabBytes = bytes;
  }
  instance.forget();
  return instance;
}

function weightBytes(form: Form, nRows: number, nCols: number): number {
  return (nRows / Size.TILE_ROWS) * instanceFor(0).exports.tileBytes(form, nCols);
}

/** Address of `bytes` of packed weights, whole group blocks. */
function packedWeights(
  memory: Instance,
  type: TensorType,
  halves: readonly number[],
  form: Form,
  bytes: number,
): number {
  const { packRows, tileBytes } = memory.exports;
  const source = memory.input(ggufRows(type, PACKED_ROWS * 256, halves, draws(1)));
  const some = (PACKED_ROWS / Size.TILE_ROWS) * tileBytes(form, 256);
  const tiles = memory.output(Math.max(bytes, some));
  if (!packRows(tiles.address, source.address, type, PACKED_ROWS, 256, 0)) throw new Error("packRows refused the rows");
  const all = tiles.u8;
  for (let have = some; have < bytes; have *= 2) all.copyWithin(have, 0, Math.min(have, bytes - have));
  return tiles.address;
}

/** `n` weights: random bytes, the f16 fields between 2^-9 and 2^-7. */
function ggufRows(type: TensorType, n: number, halves: readonly number[], draw: Draw): Uint8Array {
  const { blockLength, blockBytes } = tensorType(type)!;
  const out = Uint8Array.from({ length: (n / blockLength) * blockBytes }, () => integer(draw, 256));
  const view = new DataView(out.buffer);
  for (let at = 0; at < out.length; at += blockBytes) {
    for (const half of halves) view.setUint16(at + half, 0x1800 + integer(draw, 0x800), true);
  }
  return out;
}
