/**
 * The attention that a prompt's last queries pay to the slots, for policies that keep what those look at.
 *
 *   a_rj = softmax over j <= r of (q_r . k_j) * scale
 */
import { exp1 } from "../kernels/exp";
import { observedPosition, queryAt } from "../cache/observation";
import { AttendTask, Engine, HeadView, Layer, Session } from "../memory/records";
import { dotF32, isUsed, readAt, slotFrom } from "./slots";

/** Slots of a head before the newest `rows` rows. */
export function slotsBefore(e: Engine, session: Session, head: HeadView, rows: u32): u32 {
  return slotFrom(e, head, observedPosition(session, 0, rows));
}

/**
 * policyWeights [length] = a_r of query head h (counted in the layer) for observed row r of `rows`; the head's keys have
 * been read. Slots that the row does not see get 0.
 */
export function windowAttention(e: Engine, session: Session, layer: Layer, head: HeadView, h: u32, r: u32, rows: u32): void {
  const dim = e.keyDim;
  const position = observedPosition(session, r, rows);
  const q = queryAt(e, session, layer, position) + ((h * dim) << 2);
  const scale = changetype<AttendTask>(e.attention).scale;
  const end = slotFrom(e, head, position + 1);
  const weights = e.policyWeights;
  let highest: f32 = -Infinity;
  for (let j: u32 = 0; j < end; ++j) {
    const score: f32 = isUsed(head, j) ? dotF32(q, readAt(e, j, dim), dim) * scale : -Infinity;
    store<f32>(weights + (j << 2), score);
    highest = max<f32>(highest, score);
  }
  let sum: f32 = 0;
  for (let j: u32 = 0; j < end; ++j) {
    const w = exp1(load<f32>(weights + (j << 2)) - highest);
    store<f32>(weights + (j << 2), w);
    sum += w;
  }
  const inverse: f32 = <f32>1 / sum;
  for (let j: u32 = 0; j < end; ++j) store<f32>(weights + (j << 2), load<f32>(weights + (j << 2)) * inverse);
  for (let j = end; j < head.length; ++j) store<f32>(weights + (j << 2), 0);
}

/**
 * out [length] += over the rows and the query heads of KV head kv, their attention to the slots before all of them; times
 * the number of slots before the row, where `counted`. The head's keys have been read.
 */
export function addWindow(e: Engine, session: Session, layer: Layer, head: HeadView, kv: u32, rows: u32, counted: bool, out: usize): void {
  const group = layer.nHeads / layer.nKvHeads;
  const n = slotsBefore(e, session, head, rows);
  for (let h = kv * group; h < (kv + 1) * group; ++h) {
    for (let r: u32 = 0; r < rows; ++r) {
      windowAttention(e, session, layer, head, h, r, rows);
      const factor: f32 = counted ? <f32>(n + r) : 1;
      for (let j: u32 = 0; j < n; ++j) {
        const at = out + (j << 2);
        store<f32>(at, load<f32>(at) + load<f32>(e.policyWeights + (j << 2)) * factor);
      }
    }
  }
}
