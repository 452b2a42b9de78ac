/**
 * The keys of a head where attention has them. Where a session evicts, queries see what is left side by side, at cache-relative
 * positions (kernels/turn-query.ts), and so do the policies: compared with queries, whose positions are those of the sequence,
 * keys come nearer; among themselves they take their places in the cache.
 *
 *   page whose last token, of position p, is in slot j, behind which s = j - p - lead positions are missing:
 *   q R(-s) . k = q . R(s) k;   places: R(-(p - j)) k;   neither below 0
 */
import { firstPosition } from "../cache/page";
import { gapsOf } from "../cache/slots";
import { hadamard } from "../kernels/hadamard";
import { rope } from "../kernels/rope";
import { turnAngles } from "../kernels/turn-angles";
import { AttendTask, Engine, HeadView, Layer, RopeTable, Session } from "../memory/records";
import { Part, Size } from "../memory/status";
import { readAt, readHead } from "./slots";

/** Cosines and sines of the rotation by `shift` positions, or back. */
function anglesOf(e: Engine, layer: Layer, shift: u32, back: bool): usize {
  const d = e.ropeDim;
  const angles = changetype<AttendTask>(e.attention).scratch;
  turnAngles(angles, changetype<RopeTable>(layer.rope), shift, d, angles + (d << 2));
  if (!back) for (let i = d >> 1; i < d; ++i) store<f32>(angles + (i << 2), -load<f32>(angles + (i << 2)));
  return angles;
}

/** All keys of a head into policyKeys, f32 [length][keyDim], turned page by page, and rotated as they are stored. */
function readTurned(e: Engine, session: Session, layer: Layer, head: HeadView, placed: bool): void {
  readHead(e, head, Part.KEYS);
  if (session.relative == 0 || head.lead == 0 || layer.rope == 0) return;
  const dim = e.keyDim;
  for (let p: u32 = 0; p < head.nPages; ++p) {
    const first = p * Size.PAGE_SLOTS;
    const page: usize = load<u32>(head.pages + (<usize>p << 2));
    const missing = firstPosition(page) + gapsOf(page) - first;
    const shift = max<i32>(placed ? missing : -missing - head.lead, 0);
    if (shift == 0) continue;
    const angles = anglesOf(e, layer, shift, placed);
    for (let j = first; j < min<u32>(head.length, first + Size.PAGE_SLOTS); ++j) {
      const key = readAt(e, j, dim);
      if (e.rotateKeys != 0) hadamard(key, dim);
      rope(key, angles, e.ropeDim);
      if (e.rotateKeys != 0) hadamard(key, dim);
    }
  }
}

/** The keys as the newest queries see them. */
export function readSeenKeys(e: Engine, session: Session, layer: Layer, head: HeadView): void {
  readTurned(e, session, layer, head, false);
}

/** The keys at their places in the cache. */
export function readPlacedKeys(e: Engine, session: Session, layer: Layer, head: HeadView): void {
  readTurned(e, session, layer, head, true);
}
