/**
 * Expected attention: what queries to come would look at if they were drawn as the prompt's were. https://arxiv.org/abs/2510.00636
 *
 *   of a query head's queries before RoPE: mean m, covariance C;  R = mean of the rotations of the next `future` positions
 *   s_j = (R m) . k_j * scale + k_j' (R C R') k_j * scale^2 / 2;   a = softmax over j of s
 *   score_j = mean over the heads of the group of a_j;   with `vnorm`: (score_j + epsilon) * |v_j|
 *
 * As kvpress has it; the first `sinks` positions count neither as queries nor as keys, and always stay. R of a pair of dims
 * is [c -s; s c], c + i s = e^(i (p + (n - 1) w / 2)) sin(n w / 2) / (n sin(w / 2)) for n positions from p on.
 *
 *   policyScratch:  | f64 [2] | f64 [keyDim] c | f64 [keyDim] s, minus in the first half | f32 [keyDim] R m | f32 [keyDim][keyDim] R C R' |
 */
import { countedRows, querySums } from "../cache/query-statistics";
import { positionOf } from "../cache/slots";
import { productRow } from "../kernels/add-products";
import { cosSin64 } from "../kernels/double";
import { exp1 } from "../kernels/exp";
import { hadamard } from "../kernels/hadamard";
import { AttendTask, Engine, HeadView, Layer, RopeTable, Session } from "../memory/records";
import { Part, Size } from "../memory/status";
import { readSeenKeys } from "./seen-keys";
import { dotF32, isUsed, readAt, readHead } from "./slots";

// @ts-ignore: decorator
@inline
function cosines(e: Engine): usize {
  return e.policyScratch + 16;
}

// @ts-ignore: decorator
@inline
function sines(e: Engine): usize {
  return cosines(e) + (e.keyDim << 3);
}

// @ts-ignore: decorator
@inline
function meanQuery(e: Engine): usize {
  return sines(e) + (e.keyDim << 3);
}

// @ts-ignore: decorator
@inline
function spread(e: Engine): usize {
  return meanQuery(e) + (e.keyDim << 2);
}

/** The mean rotation over `n` positions from `first` on. */
export function averageRotation(e: Engine, layer: Layer, first: u32, n: u32): void {
  const half = e.ropeDim >> 1;
  for (let i: u32 = 0; i < e.keyDim; ++i) {
    store<f64>(cosines(e) + (i << 3), 1);
    store<f64>(sines(e) + (i << 3), 0);
  }
  if (layer.rope == 0) return;
  const table = changetype<RopeTable>(layer.rope);
  const pair = e.policyScratch;
  for (let i: u32 = 0; i < half; ++i) {
    const frequency = load<f64>(table.frequencies + (i << 3));
    cosSin64(pair, <f64>n * frequency * 0.5);
    let size = load<f64>(pair, 8);
    cosSin64(pair, frequency * 0.5);
    size = (table.magnitude * size) / (<f64>n * load<f64>(pair, 8));
    cosSin64(pair, (<f64>first + <f64>(n - 1) * 0.5) * frequency);
    const c = load<f64>(pair) * size;
    const s = load<f64>(pair, 8) * size;
    store<f64>(cosines(e) + (i << 3), c);
    store<f64>(cosines(e) + ((i + half) << 3), c);
    store<f64>(sines(e) + (i << 3), -s);
    store<f64>(sines(e) + ((i + half) << 3), s);
  }
}

/** The dim that dim i is rotated with. */
// @ts-ignore: decorator
@inline
function partner(e: Engine, i: u32): u32 {
  const half = e.ropeDim >> 1;
  if (i >= e.ropeDim) return i;
  return i < half ? i + half : i - half;
}

// @ts-ignore: decorator
@inline
function at64(x: usize, i: u32): f64 {
  return load<f64>(x + (<usize>i << 3));
}

/** C_ij of a head with these sums over `rows` queries. */
function covariance(e: Engine, sums: usize, rows: f64, i: u32, j: u32): f64 {
  const products = sums + (e.keyDim << 3);
  const product = i >= j ? at64(products, productRow(i) + j) : at64(products, productRow(j) + i);
  return product / rows - (at64(sums, i) / rows) * (at64(sums, j) / rows);
}

/** R m, and R C R' where it is wanted. */
function rotateStatistics(e: Engine, sums: usize, rows: f64, withSpread: bool): void {
  const dim = e.keyDim;
  const c = cosines(e);
  const s = sines(e);
  for (let i: u32 = 0; i < dim; ++i) {
    const p = partner(e, i);
    store<f32>(meanQuery(e) + (i << 2), <f32>((at64(c, i) * at64(sums, i) + at64(s, i) * at64(sums, p)) / rows));
    if (!withSpread) continue;
    for (let j: u32 = 0; j <= i; ++j) {
      const q = partner(e, j);
      const upper = at64(c, j) * covariance(e, sums, rows, i, j) + at64(s, j) * covariance(e, sums, rows, i, q);
      const lower = at64(c, j) * covariance(e, sums, rows, p, j) + at64(s, j) * covariance(e, sums, rows, p, q);
      const value = <f32>(at64(c, i) * upper + at64(s, i) * lower);
      store<f32>(spread(e) + ((i * dim + j) << 2), value);
      store<f32>(spread(e) + ((j * dim + i) << 2), value);
    }
  }
}

/** k' (R C R') k. */
function spreadOf(e: Engine, k: usize): f32 {
  let sum: f32 = 0;
  for (let i: u32 = 0; i < e.keyDim; ++i) {
    sum += load<f32>(k + (i << 2)) * dotF32(spread(e) + ((i * e.keyDim) << 2), k, e.keyDim);
  }
  return sum;
}

/** Whether a slot takes part: it holds a token that is no sink. */
function takesPart(e: Engine, head: HeadView, j: u32, sinks: u32): bool {
  if (!isUsed(head, j)) return false;
  const page: usize = load<u32>(head.pages + (<usize>(j / Size.PAGE_SLOTS) << 2));
  return positionOf(e, page, j % Size.PAGE_SLOTS) >= sinks;
}

export function scoreExpected(
  e: Engine, session: Session, layer: Layer, head: HeadView, kv: u32, sinks: u32, future: u32, withSpread: bool, out: usize,
): void {
  const n = head.length;
  const group = layer.nHeads / layer.nKvHeads;
  const scale = changetype<AttendTask>(e.attention).scale;
  const half: f32 = scale * scale * 0.5;
  const rows = <f64>countedRows(e, session);
  const weights = e.policyWeights;
  averageRotation(e, layer, session.nextPosition, future);
  readSeenKeys(e, session, layer, head);
  if (e.rotateKeys != 0) for (let j: u32 = 0; j < n; ++j) hadamard(readAt(e, j, e.keyDim), e.keyDim);
  memory.fill(out, 0, n << 2);
  for (let h = kv * group; h < (kv + 1) * group; ++h) {
    rotateStatistics(e, querySums(e, session, layer, h), rows, withSpread);
    let highest: f32 = -Infinity;
    for (let j: u32 = 0; j < n; ++j) {
      let score: f32 = -Infinity;
      if (takesPart(e, head, j, sinks)) {
        const k = readAt(e, j, e.keyDim);
        score = dotF32(meanQuery(e), k, e.keyDim) * scale;
        if (withSpread) score += spreadOf(e, k) * half;
      }
      store<f32>(weights + (j << 2), score);
      highest = max<f32>(highest, score);
    }
    let sum: f32 = 0;
    for (let j: u32 = 0; j < n; ++j) {
      const w = exp1(load<f32>(weights + (j << 2)) - highest);
      store<f32>(weights + (j << 2), w);
      sum += w;
    }
    const inverse: f32 = <f32>1 / (sum * <f32>group);
    for (let j: u32 = 0; j < n; ++j) {
      const at = out + (j << 2);
      store<f32>(at, load<f32>(at) + load<f32>(weights + (j << 2)) * inverse);
    }
  }
}

/** Scores become (score + epsilon) * |v|. */
export function timesValueNorm(e: Engine, head: HeadView, epsilon: f32, out: usize): void {
  readHead(e, head, Part.VALUES);
  for (let j: u32 = 0; j < head.length; ++j) {
    const v = readAt(e, j, e.valueDim);
    store<f32>(out + (j << 2), (load<f32>(out + (j << 2)) + epsilon) * sqrt<f32>(dotF32(v, v, e.valueDim)));
  }
}
