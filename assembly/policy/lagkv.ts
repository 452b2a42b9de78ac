/**
 * LagKV: what the tokens that follow cannot stand for. https://arxiv.org/abs/2504.04704
 *
 *   after `sinks` slots, partitions of `lag` slots; a slot of partition p, for keys and for values x:
 *   y_d = (x_d - min_d) / (max_d - min_d), min and max of channel d over partition p + 1
 *   s = softmax over the partition of std over d of y (of n - 1);   score = its rank in the partition of (s_key + s_value) / 2
 *   ranks as fractions of lag; the last whole partition and what follows it have 1, which no rank reaches, and sinks 2
 *
 * Scores tie: later slots stay first here, where the reference leaves it open; sinks before all, without which the rest is
 * worth little where less than what follows the last partition may stay. Channels are those of the cache, Hadamard-rotated where it is.
 */
import { exp64 } from "../kernels/double";
import { Engine, HeadView, Layer, Session } from "../memory/records";
import { Part } from "../memory/status";
import { readPlacedKeys } from "./seen-keys";
import { readAt, readHead } from "./slots";

/** Smallest or largest value of channel d over slots [first, end). */
function bound(e: Engine, first: u32, end: u32, dim: u32, d: u32, largest: bool): f32 {
  let best = load<f32>(readAt(e, first, dim) + (d << 2));
  for (let j = first + 1; j < end; ++j) {
    const x = load<f32>(readAt(e, j, dim) + (d << 2));
    best = largest ? max<f32>(best, x) : min<f32>(best, x);
  }
  return best;
}

/** Above all that is no sink. */
const SINK: f32 = 2;

/** Adds half the softmax of a partition's standard deviations to `out`. */
function addPartition(e: Engine, out: usize, first: u32, lag: u32, dim: u32): void {
  const low = e.policyWeights;
  const range = low + (dim << 2);
  for (let d: u32 = 0; d < dim; ++d) {
    const least = bound(e, first + lag, first + 2 * lag, dim, d, false);
    store<f32>(low + (d << 2), least);
    store<f32>(range + (d << 2), bound(e, first + lag, first + 2 * lag, dim, d, true) - least);
  }
  let total: f64 = 0;
  const deviations = range + (dim << 2);
  for (let j: u32 = 0; j < lag; ++j) {
    const x = readAt(e, first + j, dim);
    let sum: f64 = 0;
    let squares: f64 = 0;
    for (let d: u32 = 0; d < dim; ++d) {
      const y = <f64>((load<f32>(x + (d << 2)) - load<f32>(low + (d << 2))) / load<f32>(range + (d << 2)));
      sum += y;
      squares += y * y;
    }
    const variance = (squares - (sum * sum) / <f64>dim) / <f64>(dim - 1);
    const weight = exp64(min<f64>(sqrt<f64>(max<f64>(variance, 0)), 600));
    store<f64>(deviations + (j << 3), weight);
    total += weight;
  }
  for (let j: u32 = 0; j < lag; ++j) {
    const at = out + ((first + j) << 2);
    store<f32>(at, load<f32>(at) + <f32>((0.5 * load<f64>(deviations + (j << 3))) / total));
  }
}

/** Scores of slots [first, first + lag) become their ranks / lag. */
function rank(out: usize, copy: usize, first: u32, lag: u32): void {
  memory.copy(copy, out + (first << 2), lag << 2);
  for (let j: u32 = 0; j < lag; ++j) {
    const score = load<f32>(copy + (j << 2));
    let below: u32 = 0;
    for (let i: u32 = 0; i < lag; ++i) {
      const other = load<f32>(copy + (i << 2));
      if (other < score || (other == score && i < j)) below += 1;
    }
    store<f32>(out + ((first + j) << 2), <f32>below / <f32>lag);
  }
}

export function scoreLagKv(e: Engine, session: Session, layer: Layer, head: HeadView, sinks: u32, lag: u32, out: usize): void {
  const n = head.length;
  for (let j: u32 = 0; j < n; ++j) store<f32>(out + (j << 2), j < sinks ? SINK : 1);
  if (n < sinks + 2 * lag) {
    for (let j = sinks; j < n; ++j) store<f32>(out + (j << 2), <f32>(j - sinks) / <f32>(n - sinks));
    return;
  }
  const partitions = (n - sinks) / lag;
  memory.fill(out + (sinks << 2), 0, ((partitions - 1) * lag) << 2);
  for (let part: i32 = Part.KEYS; part <= Part.VALUES; ++part) {
    if (part == Part.KEYS) readPlacedKeys(e, session, layer, head);
    else readHead(e, head, part);
    const dim = part == Part.KEYS ? e.keyDim : e.valueDim;
    for (let p: u32 = 0; p + 1 < partitions; ++p) addPartition(e, out, sinks + p * lag, lag, dim);
  }
  for (let p: u32 = 0; p + 1 < partitions; ++p) rank(out, e.policyWeights, sinks + p * lag, lag);
}
