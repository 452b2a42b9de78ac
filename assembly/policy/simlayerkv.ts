/**
 * SimLayerKV: a layer is lazy where the newest queries look at little but the first and the newest tokens, and keeps only
 * those; other layers keep all. https://arxiv.org/abs/2410.13846
 *
 *   a_j = mean over the last w queries and all heads of the layer of their attention to slot j, j before those queries
 *   lazy: sum of a_j over the first `sinks` slots and the newest `budget - sinks + w` of those before > threshold
 *
 * As kvpress has it, where a budget is sinks + recent - w.
 */
import { headOf } from "../cache/heads";
import { Engine, Layer, Session } from "../memory/records";
import { readSeenKeys } from "./seen-keys";
import { slotsBefore, windowAttention } from "./window-attention";

/** `rows` queries were observed; of them the last `w` count. */
export function isLazy(e: Engine, session: Session, layer: Layer, rows: u32, w: u32, sinks: u32, budget: u32, threshold: f32): bool {
  const last = min<u32>(rows, w);
  const group = layer.nHeads / layer.nKvHeads;
  let sum: f32 = 0;
  for (let kv: u32 = 0; kv < layer.nKvHeads; ++kv) {
    const head = headOf(session, layer.firstHead + kv);
    const end = slotsBefore(e, session, head, last);
    const recent = budget > sinks ? budget - sinks + last : last;
    const first = max<u32>(sinks, end > recent ? end - recent : 0);
    readSeenKeys(e, session, layer, head);
    for (let h = kv * group; h < (kv + 1) * group; ++h) {
      for (let r = rows - last; r < rows; ++r) {
        windowAttention(e, session, layer, head, h, r, rows);
        for (let j: u32 = 0; j < min<u32>(sinks, end); ++j) sum += load<f32>(e.policyWeights + (j << 2));
        for (let j = first; j < end; ++j) sum += load<f32>(e.policyWeights + (j << 2));
      }
    }
  }
  return sum > threshold * <f32>(layer.nHeads * last);
}
