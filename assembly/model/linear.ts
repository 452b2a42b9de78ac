/**
 * y = W x [+ bias] for any packed form: the only dispatch on the form of weights. The input is engine.h; quantized forms share one
 * quantization of it, made at the first need and dropped by `newInput`.
 */
import { addRow } from "../kernels/add";
import { gemmFloat, gemvFloat } from "../kernels/gemm-float";
import { GEMM_TOKENS, gemmQuantized } from "../kernels/gemm-quantized";
import { gemvQuantized } from "../kernels/gemv-quantized";
import { isQuantized, tileBytes } from "../kernels/pack";
import { activationBytes, quantizeActivations, quantizeBytes, usesBytes } from "../kernels/quantize-activations";
import { engine, Linear } from "../memory/records";
import { Form, Size } from "../memory/status";
import { parallel, parallelRows, partStart } from "../thread/pool";

/** Tokens that run through a tile of weights while it is in the first-level cache. */
const CHUNK: u32 = 64;

/** Says that engine.h changed. */
export function newInput(): void {
  engine().activationsReady = 0;
}

/** Quantizes the input for weights of a form, unless it lies there in their layout already. */
function quantizeInput(x: usize, nTokens: u32, nCols: u32, form: Form): void {
  const e = engine();
  const layout: u32 = usesBytes(form) ? 2 : 1;
  if (e.activationsReady == layout) return;
  e.activationsReady = layout;
  e.job = x;
  e.jobRows = nTokens;
  e.jobCols = nCols;
  e.jobForm = form;
  parallelRows(e, nTokens, quantizePart);
}

/** A share of the rows. */
function quantizePart(part: u32, parts: u32): void {
  const e = engine();
  const form = e.jobForm;
  const nBlocks = e.jobCols / Size.BLOCK;
  const rowBytes = nBlocks * activationBytes(form);
  const last = partStart(e.jobRows, part + 1, parts);
  for (let t: usize = partStart(e.jobRows, part, parts); t < last; ++t) {
    const row = e.job + ((t * e.jobCols) << 2);
    if (usesBytes(form)) quantizeBytes(e.activations + t * rowBytes, row, nBlocks);
    else quantizeActivations(e.activations + t * rowBytes, row, nBlocks);
  }
}

/** out [nTokens][8 nTiles] = W engine.h, [nTokens][nCols]. */
export function linear(out: usize, weights: Linear, nTokens: u32): void {
  linearFrom(out, weights, engine().h, nTokens);
}

/** The same from another input buffer; quantized forms still go through engine.activations. */
export function linearFrom(out: usize, weights: Linear, x: usize, nTokens: u32): void {
  multiply(out, weights, x, nTokens);
  if (weights.bias == 0) return;
  for (let t: u32 = 0; t < nTokens; ++t) addRow(out + ((<usize>t * weights.nTiles) << 5), weights.bias, weights.nTiles << 3);
}

function multiply(out: usize, weights: Linear, x: usize, nTokens: u32): void {
  const outStride = weights.nTiles << 5;
  if (!isQuantized(weights.form)) {
    let t: u32 = 0;
    const xStride: usize = weights.nCols << 2;
    for (; t + 4 <= nTokens; t += 4) gemmFloat(out + <usize>t * outStride, outStride, x + t * xStride, weights);
    for (; t < nTokens; ++t) gemvFloat(out + <usize>t * outStride, x + t * xStride, weights);
    return;
  }
  quantizeInput(x, nTokens, weights.nCols, weights.form);
  const e = engine();
  e.job = changetype<usize>(weights);
  e.jobRows = nTokens;
  e.jobOut = out;
  parallel(e, multiplyPart);
}

/** A share of the tiles, all tokens. */
function multiplyPart(part: u32, parts: u32): void {
  const e = engine();
  const weights = changetype<Linear>(e.job);
  const firstTile = partStart(weights.nTiles, part, parts);
  const lastTile = partStart(weights.nTiles, part + 1, parts);
  for (let first: u32 = 0; first < e.jobRows; first += CHUNK) {
    quantizedChunk(e.jobOut, weights, firstTile, lastTile, first, min<u32>(first + CHUNK, e.jobRows));
  }
}

/** Tiles of weights outer, tokens [first, last) inner, four at a time. */
function quantizedChunk(out: usize, weights: Linear, firstTile: u32, lastTile: u32, first: u32, last: u32): void {
  const outStride = weights.nTiles << 5;
  const nBlocks = weights.nCols / Size.BLOCK;
  const form = weights.form;
  const rowBytes = <u32>(nBlocks * activationBytes(form));
  const activations = engine().activations;
  const step = tileBytes(form, weights.nCols);
  let data = weights.data + <usize>firstTile * step;
  out += firstTile << 5;
  if (last - first < GEMM_TOKENS) {
    for (let t = first; t < last; ++t) {
      const x = activations + <usize>t * rowBytes;
      gemvQuantized(out + <usize>t * outStride, x, data, lastTile - firstTile, nBlocks, form);
    }
    return;
  }
  for (const end = data + <usize>(lastTile - firstTile) * step; data < end; data += step, out += 32) {
    let t = first;
    for (; t + GEMM_TOKENS <= last; t += GEMM_TOKENS) {
      gemmQuantized(out + <usize>t * outStride, outStride, activations + <usize>t * rowBytes, rowBytes, weights, data);
    }
    for (; t < last; ++t)
      gemvQuantized(out + <usize>t * outStride, activations + <usize>t * rowBytes, data, 1, nBlocks, form);
  }
}
