/**
 * Q-Filters: how far a key reaches along the direction that queries have in common. https://arxiv.org/abs/2503.02812
 *
 *   score_j = k_j . f,   f [keyDim] of each layer and KV head, computed from other texts (host/calibration.ts)
 *
 * f points where the mean query does; kvpress keeps -f and takes it off.
 */
import { hadamard } from "../kernels/hadamard";
import { Engine, engine, HeadView, Layer, Session } from "../memory/records";
import { readPlacedKeys } from "./seen-keys";
import { dotF32, readAt } from "./slots";

export function scoreQFilter(e: Engine, session: Session, layer: Layer, head: HeadView, kv: u32, out: usize): void {
  const filter = e.policyWeights;
  memory.copy(filter, e.filters + ((<usize>(layer.firstHead + kv) * e.keyDim) << 2), e.keyDim << 2);
  if (e.rotateKeys != 0) hadamard(filter, e.keyDim);
  readPlacedKeys(e, session, layer, head);
  for (let j: u32 = 0; j < head.length; ++j) store<f32>(out + (j << 2), dotF32(readAt(e, j, e.keyDim), filter, e.keyDim));
}

/** f32 [layers][nKvHeads][keyDim], which the host writes once the weights are in; 0: no policy takes them. */
export function filtersAddress(): usize {
  return engine().filters;
}
