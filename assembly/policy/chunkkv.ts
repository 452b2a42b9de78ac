/**
 * ChunkKV: whole chunks of neighbours stay or go, so that what belongs together stays together. https://arxiv.org/abs/2502.00299
 *
 *   score of a chunk = mean over its slots of the sum over the layer's KV heads of SnapKV's score (snapkv.ts); all heads
 *   keep the same chunks: of c chunks, the last one shorter where it must be, the floor(c * share) of highest score
 *
 * Slots that stay in any case take of the budget: then chunks are taken as long as all together are no more than that.
 *
 * As kvpress has it. SnapKV's window has the largest score of the layer, and 1, so that its chunks stay first.
 */
import { headOf } from "../cache/heads";
import { Engine, HeadView, Layer, Session } from "../memory/records";
import { isProtected } from "./protect";
import { isUsed, scoresOf } from "./slots";
import { scoreSnapKv } from "./snapkv";
import { slotsBefore } from "./window-attention";

/** Slots of [first, end) that hold a token and do not stay anyway. */
function addedSlots(e: Engine, session: Session, head: HeadView, first: u32, end: u32, sinks: u32, window: u32): u32 {
  let slots: u32 = 0;
  for (let j = first; j < end; ++j) slots += <u32>(isUsed(head, j) && !isProtected(e, session, head, j, sinks, window));
  return slots;
}

/** Slots become Infinity in chunks that stay, -Infinity elsewhere; of heads with equally many slots. */
export function scoreChunkKv(
  e: Engine, session: Session, layer: Layer, rows: u32, kernel: u32, chunk: u32, budget: u32, sinks: u32, window: u32,
): void {
  const n = headOf(session, layer.firstHead).length;
  const before = slotsBefore(e, session, headOf(session, layer.firstHead), rows);
  let highest: f32 = 0;
  for (let kv: u32 = 0; kv < layer.nKvHeads; ++kv) {
    const scores = scoresOf(e, kv);
    scoreSnapKv(e, session, layer, headOf(session, layer.firstHead + kv), kv, rows, kernel, scores);
    for (let j: u32 = 0; j < before; ++j) highest = max<f32>(highest, load<f32>(scores + (j << 2)));
  }
  const chunks = (n + chunk - 1) / chunk;
  const means = e.policyKeys; // f32 [chunks]: SnapKV has done with the keys
  for (let c: u32 = 0; c < chunks; ++c) {
    const end = min<u32>(n, (c + 1) * chunk);
    let sum: f32 = 0;
    for (let kv: u32 = 0; kv < layer.nKvHeads; ++kv) {
      for (let j = c * chunk; j < end; ++j) sum += min<f32>(load<f32>(scoresOf(e, kv) + (j << 2)), highest + 1);
    }
    store<f32>(means + (c << 2), sum / <f32>(end - c * chunk));
  }
  for (let kv: u32 = 0; kv < layer.nKvHeads; ++kv) {
    for (let j: u32 = 0; j < n; ++j) store<f32>(scoresOf(e, kv) + (j << 2), -Infinity);
  }
  const head = headOf(session, layer.firstHead);
  const free = addedSlots(e, session, head, 0, n, sinks, window);
  let kept: u32 = 0;
  for (let j: u32 = 0; j < n; ++j) kept += <u32>isUsed(head, j);
  kept -= free;
  const isBounded = kept != 0;
  const stay: u32 = isBounded ? chunks : max<u32>(1, <u32>((<u64>chunks * budget) / n));
  for (let i: u32 = 0; i < stay; ++i) {
    let best: u32 = 0;
    for (let c: u32 = 1; c < chunks; ++c) {
      if (load<f32>(means + (c << 2)) >= load<f32>(means + (best << 2))) best = c;
    }
    store<f32>(means + (best << 2), -Infinity);
    kept += addedSlots(e, session, head, best * chunk, min<u32>(n, (best + 1) * chunk), sinks, window);
    if (isBounded && kept > budget) break;
    for (let kv: u32 = 0; kv < layer.nKvHeads; ++kv) {
      for (let j = best * chunk; j < min<u32>(n, (best + 1) * chunk); ++j) store<f32>(scoresOf(e, kv) + (j << 2), Infinity);
    }
  }
}
