/**
 * Queries at cache-relative positions. After pages were evicted, a query sees those that are left side by side: a page
 * behind which s positions are missing seems s positions nearer. Stored keys are not touched; the query is turned back by s
 * for every run of pages with the same s. https://arxiv.org/abs/2309.17453 (StreamingLLM: positions within the cache)
 *
 *   s(page) = (slot of its last key - its last position) - (slot of the query - position of the query)
 *
 * Tokens of a page that have lost some between them keep their distances from its last one: none comes to lie behind the query.
 * Below 0 there are more empty slots behind the page than positions are missing: it stays where it is.
 *   q' = R(-s) q, R of kernels/rope.ts without its magnitude; where heads are rotated by H (hadamard.ts): q' = H R(-s) H q
 *
 * Shapes: q and out [nHeads][keyDim] f32. Scratch: angles f32 [ropeDim], then two f64.
 */
import { firstPosition } from "../cache/page";
import { gapsOf } from "../cache/slots";
import { AttendTask, RopeTable } from "../memory/records";
import { hadamard, hadamardRef } from "./hadamard";
import { rope, ropeRef } from "./rope";
import { turnAngles } from "./turn-angles";

/** Bytes of the scratch. */
// @ts-ignore: decorator
@inline
export function turnScratch(keyDim: u32): usize {
  return (<usize>keyDim << 2) + 16;
}

/** Positions that are missing between the last token of the page that begins with slot `slot` and the query. */
// @ts-ignore: decorator
@inline
export function shiftOf(task: AttendTask, page: usize, slot: u32): u32 {
  return max<i32>(slot - firstPosition(page) - gapsOf(page) - task.head.lead, 0);
}

/** Kept from call to call. */
function prepareAngles(angles: usize, task: AttendTask, shift: u32): void {
  if (task.shift == shift && task.shiftRope == task.rope) return;
  turnAngles(angles, changetype<RopeTable>(task.rope), shift, task.ropeDim, angles + (task.ropeDim << 2));
  task.shift = shift;
  task.shiftRope = task.rope;
}

export function turnQueries(out: usize, q: usize, nHeads: u32, task: AttendTask, shift: u32, scratch: usize): void {
  const bytes = task.keyDim << 2;
  memory.copy(out, q, nHeads * bytes);
  if (shift == 0) return;
  prepareAngles(scratch, task, shift);
  for (let h: u32 = 0; h < nHeads; ++h, out += bytes) {
    if (task.rotated != 0) hadamard(out, task.keyDim);
    rope(out, scratch, task.ropeDim);
    if (task.rotated != 0) hadamard(out, task.keyDim);
  }
}

export function turnQueriesRef(out: usize, q: usize, nHeads: u32, task: AttendTask, shift: u32, scratch: usize): void {
  const keyDim = task.keyDim;
  memory.copy(out, q, nHeads * (keyDim << 2));
  if (shift == 0) return;
  prepareAngles(scratch, task, shift);
  for (let h: u32 = 0; h < nHeads; ++h) {
    const x = out + h * (keyDim << 2);
    if (task.rotated != 0) hadamardRef(x, keyDim);
    ropeRef(x, scratch, task.ropeDim);
    if (task.rotated != 0) hadamardRef(x, keyDim);
  }
}
