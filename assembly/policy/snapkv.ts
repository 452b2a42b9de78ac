/**
 * SnapKV: what a prompt's last queries look at, smoothed over neighbours. https://arxiv.org/abs/2404.14469
 *
 *   a_j = mean over the last w queries and the heads of the group of their attention to slot j (j before those queries)
 *   score_j = sum of a_{j - kernel/2 .. j + kernel/2} / kernel;   the last w slots always stay
 *
 * w is the number of rows observed; as kvpress has it, neighbours beyond the ends count as 0.
 */
import { Engine, HeadView, Layer, Session } from "../memory/records";
import { readSeenKeys } from "./seen-keys";
import { addWindow, slotsBefore } from "./window-attention";

export function scoreSnapKv(e: Engine, session: Session, layer: Layer, head: HeadView, kv: u32, rows: u32, kernel: u32, out: usize): void {
  const group = layer.nHeads / layer.nKvHeads;
  const n = slotsBefore(e, session, head, rows);
  readSeenKeys(e, session, layer, head);
  memory.fill(out, 0, head.length << 2);
  addWindow(e, session, layer, head, kv, rows, false, out);
  const factor: f32 = <f32>1 / <f32>(group * rows * kernel);
  memory.copy(e.policyWeights, out, n << 2);
  const reach = kernel / 2;
  for (let j: u32 = 0; j < n; ++j) {
    let sum: f32 = 0;
    const from: u32 = j < reach ? 0 : j - reach;
    for (let i = from; i < min<u32>(n, j + reach + 1); ++i) sum += load<f32>(e.policyWeights + (i << 2));
    store<f32>(out + (j << 2), sum * factor);
  }
  for (let j = n; j < head.length; ++j) store<f32>(out + (j << 2), Infinity);
}
