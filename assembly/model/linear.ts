/**
 * y = W x for any packed form: the only dispatch on the form of weights. The input is engine.h; quantized forms share one
 * quantization of it, made at the first need and dropped by `newInput`.
 */
import { gemmFloat, gemvFloat } from "../kernels/gemm-float";
import { GEMM_TOKENS, gemmQ4, gemmQ4Min, gemmQ8 } from "../kernels/gemm-quantized";
import { gemvQ4, gemvQ4Min, gemvQ8 } from "../kernels/gemv-quantized";
import { tileBytes } from "../kernels/pack";
import { quantizeActivations } from "../kernels/quantize-activations";
import { engine, Linear } from "../memory/records";
import { Form, Size } from "../memory/status";

/** Tokens that run through a tile of weights while it is in the first-level cache. */
const CHUNK: u32 = 64;

/** Says that engine.h changed. */
export function newInput(): void {
  engine().activationsReady = 0;
}

function quantizeInput(x: usize, nTokens: u32, nCols: u32): void {
  const e = engine();
  if (e.activationsReady) return;
  e.activationsReady = 1;
  const nBlocks = nCols / Size.BLOCK;
  for (let t: u32 = 0; t < nTokens; ++t) {
    quantizeActivations(e.activations + <usize>t * nBlocks * Size.ACTIVATION_BLOCK, x + ((<usize>t * nCols) << 2), nBlocks);
  }
}

/** out [nTokens][8 nTiles] = W engine.h, [nTokens][nCols]. */
export function linear(out: usize, weights: Linear, nTokens: u32): void {
  linearFrom(out, weights, engine().h, nTokens);
}

/** The same from another input buffer; quantized forms still go through engine.activations. */
export function linearFrom(out: usize, weights: Linear, x: usize, nTokens: u32): void {
  const outStride = weights.nTiles << 5;
  if (weights.form <= <u32>Form.BF16) {
    let t: u32 = 0;
    const xStride: usize = weights.nCols << 2;
    for (; t + 4 <= nTokens; t += 4) gemmFloat(out + <usize>t * outStride, outStride, x + t * xStride, weights);
    for (; t < nTokens; ++t) gemvFloat(out + <usize>t * outStride, x + t * xStride, weights);
    return;
  }
  quantizeInput(x, nTokens, weights.nCols);
  for (let first: u32 = 0; first < nTokens; first += CHUNK) {
    quantizedChunk(out, outStride, weights, first, min<u32>(first + CHUNK, nTokens));
  }
}

/** Tile of weights outer, tokens [first, last) inner, four at a time. */
function quantizedChunk(out: usize, outStride: u32, weights: Linear, first: u32, last: u32): void {
  const nBlocks = weights.nCols / Size.BLOCK;
  const form = weights.form;
  const rowBytes = nBlocks * Size.ACTIVATION_BLOCK;
  const activations = engine().activations;
  if (last - first < GEMM_TOKENS) {
    for (let t = first; t < last; ++t) {
      gemv(out + <usize>t * outStride, activations + <usize>t * rowBytes, weights.data, form, weights.nTiles, nBlocks);
    }
    return;
  }
  let data = weights.data;
  const end = data + weights.nTiles * tileBytes(form, weights.nCols);
  for (; data < end; data += tileBytes(form, weights.nCols), out += 32) {
    let t = first;
    for (; t + GEMM_TOKENS <= last; t += GEMM_TOKENS) {
      const to = out + <usize>t * outStride;
      const x = activations + <usize>t * rowBytes;
      if (form == Form.Q4) gemmQ4(to, outStride, x, rowBytes, data, nBlocks);
      else if (form == Form.Q4_MIN) gemmQ4Min(to, outStride, x, rowBytes, data, nBlocks);
      else gemmQ8(to, outStride, x, rowBytes, data, nBlocks);
    }
    for (; t < last; ++t) gemv(out + <usize>t * outStride, activations + <usize>t * rowBytes, data, form, 1, nBlocks);
  }
}

function gemv(out: usize, x: usize, data: usize, form: u32, nTiles: u32, nBlocks: u32): void {
  if (form == Form.Q4) gemvQ4(out, x, data, nTiles, nBlocks);
  else if (form == Form.Q4_MIN) gemvQ4Min(out, x, data, nTiles, nBlocks);
  else gemvQ8(out, x, data, nTiles, nBlocks);
}
