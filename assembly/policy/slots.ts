/**
 * What policies read of a head: keys and values as f32, slot after slot. Slots that are empty read as zeros and must not be
 * kept; `isUsed` tells.
 */
import { readSlot } from "../cache/quantize-group";
import { keyFormOf, keysOf, valueFormOf, valuesOf } from "../cache/page";
import { positionOf, usedSlots } from "../cache/slots";
import { Engine, HeadView } from "../memory/records";
import { Part, Size } from "../memory/status";

// @ts-ignore: decorator
@inline
function pageOf(head: HeadView, slot: u32): usize {
  return load<u32>(head.pages + (<usize>(slot / Size.PAGE_SLOTS) << 2));
}

/** Whether a slot holds a token. */
// @ts-ignore: decorator
@inline
export function isUsed(head: HeadView, slot: u32): bool {
  return slot % Size.PAGE_SLOTS < usedSlots(pageOf(head, slot));
}

/** Position of a slot that holds a token. */
export function slotAt(e: Engine, head: HeadView, slot: u32): u32 {
  return positionOf(e, pageOf(head, slot), slot % Size.PAGE_SLOTS);
}

/** Whether a slot holds a token of positions [low, high). */
export function isWithin(e: Engine, head: HeadView, slot: u32, low: u32, high: u32): bool {
  if (!isUsed(head, slot)) return false;
  const position = slotAt(e, head, slot);
  return position >= low && position < high;
}

/** First slot of a position from `position` on; `length` where there is none. Slots are in the order of their positions. */
export function slotFrom(e: Engine, head: HeadView, position: u32): u32 {
  for (let p: u32 = 0; p < head.nPages; ++p) {
    const first = p * Size.PAGE_SLOTS;
    const page: usize = load<u32>(head.pages + (<usize>p << 2));
    const end = min<u32>(first + usedSlots(page), head.length);
    if (end == first || slotAt(e, head, end - 1) < position) continue;
    for (let slot = first; slot < end; ++slot) if (slotAt(e, head, slot) >= position) return slot;
  }
  return head.length;
}

/** All keys or values of a head into policyKeys, f32 [length][dim]. */
export function readHead(e: Engine, head: HeadView, part: Part): void {
  const dim = part == Part.KEYS ? e.keyDim : e.valueDim;
  let to = e.policyKeys;
  for (let slot: u32 = 0; slot < head.length; ++slot, to += dim << 2) {
    const page = pageOf(head, slot);
    if (part == Part.KEYS) readSlot(to, keysOf(page), keyFormOf(page), part, slot % Size.PAGE_SLOTS, dim, e.kvGroup);
    else readSlot(to, valuesOf(page, e.keyDim, e.kvGroup, e.kvSections), valueFormOf(page), part, slot % Size.PAGE_SLOTS, dim, e.kvGroup);
  }
}

/** Address of slot `slot` in what `readHead` read. */
// @ts-ignore: decorator
@inline
export function readAt(e: Engine, slot: u32, dim: u32): usize {
  return e.policyKeys + ((<usize>slot * dim) << 2);
}

/** A layer's scores of KV head kv, f32 [policySlots]. */
// @ts-ignore: decorator
@inline
export function scoresOf(e: Engine, kv: u32): usize {
  return e.policyScores + ((<usize>kv * e.policySlots) << 2);
}

/** The sum of products of two f32 vectors, dim a multiple of 4. */
export function dotF32(a: usize, b: usize, dim: u32): f32 {
  let sum = f32x4.splat(0);
  for (const end = a + (dim << 2); a < end; a += 16, b += 16) sum = f32x4.add(sum, f32x4.mul(v128.load(a), v128.load(b)));
  const low: f32 = f32x4.extract_lane(sum, 0) + f32x4.extract_lane(sum, 1);
  const high: f32 = f32x4.extract_lane(sum, 2) + f32x4.extract_lane(sum, 3);
  return low + high;
}
