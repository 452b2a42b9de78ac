/**
 * TOVA: what the newest query looks at, as the mean over all heads of the layer. https://arxiv.org/abs/2401.06104
 *
 *   score_j = mean over heads h of softmax_j (q_h . k_j);   the last slot always stays
 *
 * At a prompt's end, as kvpress has it: the paper evicts one slot a step.
 */
import { headOf } from "../cache/heads";
import { Engine, Layer, Session } from "../memory/records";
import { readSeenKeys } from "./seen-keys";
import { scoresOf } from "./slots";
import { windowAttention } from "./window-attention";

/** Scores of all KV heads of a layer, which have equally many slots. */
export function scoreTova(e: Engine, session: Session, layer: Layer, rows: u32): void {
  const group = layer.nHeads / layer.nKvHeads;
  const out = scoresOf(e, 0);
  const length = headOf(session, layer.firstHead).length;
  memory.fill(out, 0, length << 2);
  for (let kv: u32 = 0; kv < layer.nKvHeads; ++kv) {
    const head = headOf(session, layer.firstHead + kv);
    readSeenKeys(e, session, layer, head);
    for (let h = kv * group; h < (kv + 1) * group; ++h) {
      windowAttention(e, session, layer, head, h, rows - 1, rows);
      for (let j: u32 = 0; j + 1 < length; ++j) {
        const at = out + (j << 2);
        store<f32>(at, load<f32>(at) + load<f32>(e.policyWeights + (j << 2)));
      }
    }
  }
  store<f32>(out + ((length - 1) << 2), Infinity);
  for (let kv: u32 = 1; kv < layer.nKvHeads; ++kv) memory.copy(scoresOf(e, kv), out, length << 2);
}
