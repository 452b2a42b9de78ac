/**
 * Key difference: keys that are unlike the others say what the others do not. https://arxiv.org/abs/2504.15364 (KeyDiff)
 *
 *   anchor = mean over j of k_j / |k_j|;   score_j = -cos(k_j, anchor)
 */
import { Engine, HeadView, Layer, Session } from "../memory/records";
import { readPlacedKeys } from "./seen-keys";
import { dotF32, isUsed, readAt } from "./slots";

/** As kvpress has it: smaller norms count as this. */
const TINY: f32 = 1e-12;

export function scoreKeyDiff(e: Engine, session: Session, layer: Layer, head: HeadView, out: usize): void {
  const dim = e.keyDim;
  readPlacedKeys(e, session, layer, head);
  const anchor = e.policyWeights;
  memory.fill(anchor, 0, dim << 2);
  for (let j: u32 = 0; j < head.length; ++j) {
    if (!isUsed(head, j)) continue;
    const k = readAt(e, j, dim);
    const inverse: f32 = <f32>1 / max<f32>(sqrt<f32>(dotF32(k, k, dim)), TINY);
    for (let d: u32 = 0; d < dim; ++d) {
      const at = anchor + (d << 2);
      store<f32>(at, load<f32>(at) + load<f32>(k + (d << 2)) * inverse);
    }
  }
  const size = max<f32>(sqrt<f32>(dotF32(anchor, anchor, dim)), TINY);
  for (let j: u32 = 0; j < head.length; ++j) {
    const k = readAt(e, j, dim);
    const norm = max<f32>(sqrt<f32>(dotF32(k, k, dim)), TINY);
    store<f32>(out + (j << 2), -(dotF32(k, anchor, dim) / (norm * size)));
  }
}
