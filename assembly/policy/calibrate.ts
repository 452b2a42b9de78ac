/**
 * What calibrations of heads read (host/calibrate-heads.ts): queries and keys as attention has them, the angles they were
 * turned by, and the attention that observed rows pay.
 */
import { ropeAngles } from "../kernels/rope";
import { engine, layerAt, RopeTable, Session } from "../memory/records";
import { Part } from "../memory/status";
import { headOf } from "../cache/heads";
import { observedCount, observedPosition, queryAt } from "../cache/observation";
import { smallScratch } from "../model/layout";
import { readHead } from "./slots";
import { windowAttention } from "./window-attention";

/** f32 [nHeads][keyDim]: a layer's queries of observed row `r`. */
export function queriesAddress(address: usize, layer: u32, r: u32): usize {
  const e = engine();
  const session = changetype<Session>(address);
  return queryAt(e, session, layerAt(e, layer), observedPosition(session, r, observedCount(e, session)));
}

/** f32 [slots][keyDim]: the keys of a head; good until another head is read, or a prompt ends. */
export function headKeys(address: usize, head: u32): usize {
  const e = engine();
  readHead(e, headOf(changetype<Session>(address), head), Part.KEYS);
  return e.policyKeys;
}

/** f32 [slots]: the attention of query head `h` of a layer in observed row `r`; the keys of its KV head have been read. */
export function rowAttention(address: usize, index: u32, h: u32, r: u32): usize {
  const e = engine();
  const session = changetype<Session>(address);
  const layer = layerAt(e, index);
  const head = headOf(session, layer.firstHead + (h * layer.nKvHeads) / layer.nHeads);
  windowAttention(e, session, layer, head, h, r, observedCount(e, session));
  return e.policyWeights;
}

/** f32 cosines [ropeDim / 2], then sines, of a layer's rotation at a position; 0: it has none. */
export function layerAngles(index: u32, position: u32): usize {
  const e = engine();
  const layer = layerAt(e, index);
  if (layer.rope == 0) return 0;
  const table = changetype<RopeTable>(layer.rope);
  ropeAngles(table.angles, table, position, e.ropeDim, smallScratch(e));
  return table.angles;
}
