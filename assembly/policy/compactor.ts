/**
 * Compactor: keys that others cannot stand for, and slots that the text around them looks at. https://arxiv.org/abs/2507.08143
 *
 *   score = wl z(leverage) + wa z(mean of three neighbours of A_j |v_j|)
 *   leverage: leverage.ts;   A: mean over the heads of the group of the attention within chunks (chunk-attention.ts)
 *   z: minus the mean, over the deviation (of n - 1), of all heads of the layer
 *   the first `sinks` positions and the newest `recent` always stay
 *
 * As kvpress has it, with wl the share that goes and wa 1; each of the two alone is a policy as well. Slots that an earlier turn
 * has kept have no attention of this one: it counts as average.
 */
import { headOf } from "../cache/heads";
import { sumsOf } from "../cache/observation";
import { Engine, HeadView, Layer, Session } from "../memory/records";
import { Part } from "../memory/status";
import { firstChunk, lastChunk } from "./chunk-attention";
import { scoreLeverage } from "./leverage";
import { dotF32, isWithin, readAt, readHead, scoresOf } from "./slots";

/** As kvpress has it: smaller deviations count as this. */
const TINY: f64 = 1e-6;

/** A_j |v_j| of positions [low, high) in place of the sums, then the mean of three neighbours; beyond the ends is 0. */
function weighSums(e: Engine, head: HeadView, sums: usize, group: u32, low: u32, high: u32): void {
  readHead(e, head, Part.VALUES);
  let before: f32 = 0;
  let next: u32 = 0;
  while (next < head.length && !isWithin(e, head, next, low, high)) next += 1;
  const first = next;
  for (; next < head.length && isWithin(e, head, next, low, high); ++next) {
    const v = readAt(e, next, e.valueDim);
    const at = sums + (next << 2);
    store<f32>(at, (load<f32>(at) / <f32>group) * sqrt<f32>(dotF32(v, v, e.valueDim)));
  }
  for (let j = first; j < next; ++j) {
    const at = sums + (j << 2);
    const own = load<f32>(at);
    const after: f32 = j + 1 < next ? load<f32>(at, 4) : 0;
    store<f32>(at, (before + own + after) / 3);
    before = own;
  }
}

/** The scores of positions [low, high) of a layer's heads += weight * z of what is at `from` + kv * stride. */
function addStandard(e: Engine, session: Session, layer: Layer, from: usize, weight: f32, low: u32, high: u32): void {
  const stride = <usize>e.policySlots << 2;
  let count: u32 = 0;
  let sum: f64 = 0;
  let squares: f64 = 0;
  for (let kv: u32 = 0; kv < layer.nKvHeads; ++kv) {
    const head = headOf(session, layer.firstHead + kv);
    for (let j: u32 = 0; j < head.length; ++j) {
      if (!isWithin(e, head, j, low, high)) continue;
      const x = <f64>load<f32>(from + kv * stride + (j << 2));
      count += 1;
      sum += x;
      squares += x * x;
    }
  }
  const isOwn = from == scoresOf(e, 0);
  if (count < 2) return;
  const mean = sum / <f64>count;
  const variance = (squares - sum * mean) / <f64>(count - 1);
  const deviation = max<f64>(sqrt<f64>(max<f64>(variance, 0)), TINY);
  for (let kv: u32 = 0; kv < layer.nKvHeads; ++kv) {
    const head = headOf(session, layer.firstHead + kv);
    for (let j: u32 = 0; j < head.length; ++j) {
      if (!isWithin(e, head, j, low, high)) continue;
      const z = <f32>((<f64>load<f32>(from + kv * stride + (j << 2)) - mean) / deviation);
      const at = scoresOf(e, kv) + (j << 2);
      store<f32>(at, isOwn ? weight * z : load<f32>(at) + weight * z);
    }
  }
}

/** All heads of a layer; those that hold fewer than two slots in between keep them. */
export function scoreCompactor(e: Engine, session: Session, layer: Layer, sinks: u32, recent: u32, leverage: f32, attention: f32): void {
  const high = session.nextPosition - min<u32>(recent, session.nextPosition);
  const group = layer.nHeads / layer.nKvHeads;
  for (let kv: u32 = 0; kv < layer.nKvHeads; ++kv) {
    const head = headOf(session, layer.firstHead + kv);
    const out = scoresOf(e, kv);
    for (let j: u32 = 0; j < head.length; ++j) store<f32>(out + (j << 2), isWithin(e, head, j, sinks, high) ? 0 : Infinity);
    if (leverage != 0) scoreLeverage(e, layer, head, sinks, high, out);
  }
  if (leverage != 0) addStandard(e, session, layer, scoresOf(e, 0), leverage, sinks, high);
  if (attention == 0) return;
  lastChunk(e, session, layer);
  const low = firstChunk(e, session);
  for (let kv: u32 = 0; kv < layer.nKvHeads; ++kv) {
    weighSums(e, headOf(session, layer.firstHead + kv), sumsOf(e, session, layer.firstHead + kv), group, low, high);
  }
  addStandard(e, session, layer, sumsOf(e, session, layer.firstHead), attention, low, high);
}
