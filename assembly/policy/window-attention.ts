/**
 * The attention that a prompt's last queries pay to the slots, for policies that keep what those look at.
 *
 *   a_rj = softmax over j <= r of (q_r . k_j) * scale
 */
import { observedPosition, queryAt } from "../cache/observation";
import { usedSlots } from "../cache/slots";
import { scoreRows, softmaxRow } from "../kernels/row-attention";
import { AttendTask, Engine, HeadView, Layer, Session } from "../memory/records";
import { Size } from "../memory/status";
import { readAt, slotFrom } from "./slots";

/** Slots of a head before the newest `rows` rows. */
export function slotsBefore(e: Engine, session: Session, head: HeadView, rows: u32): u32 {
  return slotFrom(e, head, observedPosition(session, 0, rows));
}

/** Slots of page `p` that are empty are not seen. */
// @ts-ignore: decorator
@inline
function hideEmpty(head: HeadView, p: u32, end: u32, scores: usize): void {
  const first = p * Size.PAGE_SLOTS;
  const used = first + usedSlots(load<u32>(head.pages + (<usize>p << 2)));
  for (let j = used; j < min<u32>(end, first + Size.PAGE_SLOTS); ++j) store<f32>(scores + (j << 2), -Infinity);
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
  scoreRows(weights, q, readAt(e, 0, dim), end, dim, scale);
  for (let p: u32 = 0; p < head.nPages; ++p) hideEmpty(head, p, end, weights);
  softmaxRow(weights, end);
  for (let j = end; j < head.length; ++j) store<f32>(weights + (j << 2), 0);
}

/** out_j += x_j * factor, j below n. */
function addRow(out: usize, x: usize, n: u32, factor: f32): void {
  const end = out + (n << 2);
  const factors = f32x4.splat(factor);
  for (; out + 16 <= end; out += 16, x += 16) v128.store(out, f32x4.add(v128.load(out), f32x4.mul(v128.load(x), factors)));
  for (; out < end; out += 4, x += 4) store<f32>(out, load<f32>(out) + load<f32>(x) * factor);
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
      addRow(out, e.policyWeights, n, factor);
    }
  }
}
