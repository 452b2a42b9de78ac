/**
 * Leverage: how far a key, before RoPE, lies out of what the others span. https://arxiv.org/abs/2507.08143 (Compactor)
 *
 *   x_j = (k_j - mean k) P,   P [keyDim][c] of nearly normal numbers / sqrt(c), the same for all heads
 *   score_j = x_j' (X'X + 0.01)^-1 x_j
 *
 * by L L' = X'X + 0.01 (Cholesky) and |L^-1 x_j|^2, as kvpress has it, whose P is drawn anew for each head. Each number of P is
 * the sum of 12 evenly spread ones, from a hash of its place. Where RoPE has a magnitude keys keep its square.
 *
 * Scratch: f32 P [keyDim][c] | f64 X'X, then L [c][c] | f64 mean [keyDim], then a row [c] | f32 angles [keyDim] | two f64
 */
import { hadamard } from "../kernels/hadamard";
import { rope, ropeAngles } from "../kernels/rope";
import { Engine, HeadView, Layer, RopeTable } from "../memory/records";
import { Part } from "../memory/status";
import { isWithin, readAt, readHead, slotAt } from "./slots";

const RIDGE: f64 = 0.01;

/** Bytes of the scratch; c is at most keyDim. */
export function sketchBytes(keyDim: u32, c: u32): u64 {
  return (<u64>c * keyDim << 2) + (<u64>c * c << 3) + (<u64>keyDim << 3) + (<u64>keyDim << 2) + 16;
}

/** 32 bits that look random. */
function mix(x: u32): u32 {
  x = (x ^ (x >> 16)) * 0x7feb352d;
  x = (x ^ (x >> 15)) * 0x846ca68b;
  return x ^ (x >> 16);
}

function fillSketch(at: usize, n: u32, c: u32): void {
  const factor = 1 / sqrt<f64>(<f64>c);
  for (let i: u32 = 0; i < n; ++i, at += 4) {
    let sum: i32 = 0;
    for (let part: u32 = 0; part < 6; ++part) {
      const bits = mix(i * 6 + part + 0x9e3779b9);
      sum += (bits & 0xffff) + (bits >> 16);
    }
    store<f32>(at, <f32>((<f64>sum / 65536 - 6) * factor));
  }
}

/** Turns a key back to before RoPE, in place. */
function turnBack(e: Engine, layer: Layer, key: usize, position: u32, angles: usize): void {
  if (e.rotateKeys != 0) hadamard(key, e.keyDim);
  if (layer.rope == 0) return;
  ropeAngles(angles, changetype<RopeTable>(layer.rope), position, e.ropeDim, angles + (e.keyDim << 2));
  for (let i = e.ropeDim >> 1; i < e.ropeDim; ++i) store<f32>(angles + (i << 2), -load<f32>(angles + (i << 2)));
  rope(key, angles, e.ropeDim);
}

// @ts-ignore: decorator
@inline
function matrixAt(matrix: usize, c: u32, row: u32, column: u32): usize {
  return matrix + ((<usize>row * c + column) << 3);
}

/** Lower triangle of X'X + ridge becomes L. */
function cholesky(m: usize, c: u32): void {
  for (let j: u32 = 0; j < c; ++j) {
    for (let i = j; i < c; ++i) {
      let sum = load<f64>(matrixAt(m, c, i, j)) + (i == j ? RIDGE : 0);
      for (let k: u32 = 0; k < j; ++k) sum -= load<f64>(matrixAt(m, c, i, k)) * load<f64>(matrixAt(m, c, j, k));
      store<f64>(matrixAt(m, c, i, j), i == j ? sqrt<f64>(sum) : sum / load<f64>(matrixAt(m, c, j, j)));
    }
  }
}

/** Scores of the slots of positions [low, high). */
export function scoreLeverage(e: Engine, layer: Layer, head: HeadView, low: u32, high: u32, out: usize): void {
  const dim = e.keyDim;
  const c = min<u32>(e.sketch, dim);
  const sketch = e.sketched;
  const matrix = sketch + ((c * dim) << 2);
  const row = matrix + ((c * c) << 3);
  const n = head.length;
  fillSketch(sketch, c * dim, c);
  readHead(e, head, Part.KEYS);
  memory.fill(row, 0, dim << 3);
  let count: u32 = 0;
  for (let j: u32 = 0; j < n; ++j) {
    if (!isWithin(e, head, j, low, high)) continue;
    count += 1;
    const key = readAt(e, j, dim);
    turnBack(e, layer, key, slotAt(e, head, j), row + (dim << 3));
    for (let d: u32 = 0; d < dim; ++d) store<f64>(row + (d << 3), load<f64>(row + (d << 3)) + <f64>load<f32>(key + (d << 2)));
  }
  for (let d: u32 = 0; d < dim; ++d) {
    const mean = <f32>(load<f64>(row + (d << 3)) / <f64>count);
    for (let j: u32 = 0; j < n; ++j) {
      const at = readAt(e, j, dim) + (d << 2);
      store<f32>(at, load<f32>(at) - mean);
    }
  }
  memory.fill(matrix, 0, (c * c) << 3);
  for (let j: u32 = 0; j < n; ++j) {
    if (isWithin(e, head, j, low, high)) addSketched(readAt(e, j, dim), sketch, matrix, row, dim, c);
  }
  cholesky(matrix, c);
  for (let j: u32 = 0; j < n; ++j) {
    if (isWithin(e, head, j, low, high)) store<f32>(out + (j << 2), leverageOf(readAt(e, j, dim), matrix, row, c));
  }
}

/** A centred key becomes x, in its first c places; x x' goes to the matrix. */
function addSketched(x: usize, sketch: usize, matrix: usize, row: usize, dim: u32, c: u32): void {
  memory.fill(row, 0, c << 3);
  for (let d: u32 = 0; d < dim; ++d) {
    const value = <f64>load<f32>(x + (d << 2));
    for (let i: u32 = 0; i < c; ++i) {
      const at = row + (i << 3);
      store<f64>(at, load<f64>(at) + value * <f64>load<f32>(sketch + ((d * c + i) << 2)));
    }
  }
  for (let i: u32 = 0; i < c; ++i) {
    const value = <f32>load<f64>(row + (i << 3));
    store<f32>(x + (i << 2), value);
    for (let k: u32 = 0; k <= i; ++k) {
      const at = matrixAt(matrix, c, i, k);
      store<f64>(at, load<f64>(at) + <f64>value * <f64>load<f32>(x + (k << 2)));
    }
  }
}

/** |L^-1 x|^2. */
function leverageOf(x: usize, matrix: usize, row: usize, c: u32): f32 {
  let score: f64 = 0;
  for (let i: u32 = 0; i < c; ++i) {
    let y = <f64>load<f32>(x + (i << 2));
    for (let k: u32 = 0; k < i; ++k) y -= load<f64>(matrixAt(matrix, c, i, k)) * load<f64>(row + (k << 3));
    y /= load<f64>(matrixAt(matrix, c, i, i));
    store<f64>(row + (i << 3), y);
    score += y * y;
  }
  return <f32>score;
}
