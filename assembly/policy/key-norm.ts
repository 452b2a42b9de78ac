/**
 * Key norm: keys of small norm draw attention. https://arxiv.org/abs/2406.11430 (A simple and effective L2 norm based strategy)
 *
 *   score_j = -|k_j|
 */
import { Engine, HeadView } from "../memory/records";
import { Part } from "../memory/status";
import { dotF32, readAt, readHead } from "./slots";

export function scoreKeyNorm(e: Engine, head: HeadView, out: usize): void {
  readHead(e, head, Part.KEYS);
  for (let j: u32 = 0; j < head.length; ++j) {
    const k = readAt(e, j, e.keyDim);
    store<f32>(out + (j << 2), -sqrt<f32>(dotF32(k, k, e.keyDim)));
  }
}
