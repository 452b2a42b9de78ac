/**
 * The size of a head's keys, for layers that share query heads out by it (model/key-driven.ts): the sum of squares of all
 * keys so far, f64, slots ascending, dims ascending within a slot. Rotation does not change it.
 */
import { Engine, HeadView, layerAt, Session } from "../memory/records";
import { Option, Size } from "../memory/status";
import { keyOffset, keysOf, pageAt } from "./page";

/** The squares of one key f32 [keyDim], `stride` bytes apart. */
export function keySquare(key: usize, keyDim: u32, stride: u32): f64 {
  let sum: f64 = 0;
  for (let d: u32 = 0; d < keyDim; ++d, key += stride) {
    const k = <f64>load<f32>(key);
    sum += k * k;
  }
  return sum;
}

/** Adds slots [first, end) of a head; their pages hold f32. */
function addSlots(head: HeadView, keyDim: u32, first: u32, end: u32): void {
  for (let slot = first; slot < end; ++slot) {
    const key = keysOf(pageAt(head, slot)) + keyOffset(slot % Size.PAGE_SLOTS, keyDim);
    head.keySquares += keySquare(key, keyDim, 64);
  }
}

/** The keys of a head are in closed pages up to here: what `measureOpen` begins with. */
// @ts-ignore: decorator
@inline
export function closeSquares(head: HeadView): void {
  if (head.length % Size.PAGE_SLOTS == 0) head.closedSquares = head.keySquares;
}

/** Measures the keys of every KEY_DRIVEN layer again, after slots were dropped; all pages are f32 and start at slot 0. */
export function measureKeys(e: Engine, session: Session): void {
  measure(e, session, false);
}

/** The same where only slots of the open pages were dropped. */
export function measureOpen(e: Engine, session: Session): void {
  measure(e, session, true);
}

function measure(e: Engine, session: Session, openOnly: bool): void {
  for (let i: u32 = 0; i < e.nLayers; ++i) {
    const layer = layerAt(e, i);
    if (!(layer.options & Option.KEY_DRIVEN)) continue;
    for (let h: u32 = 0; h < layer.nKvHeads; ++h) {
      const head = changetype<HeadView>(session.heads + <usize>(layer.firstHead + h) * offsetof<HeadView>());
      const closed = head.length - (head.length % Size.PAGE_SLOTS);
      if (openOnly) head.keySquares = head.closedSquares;
      else {
        head.keySquares = 0;
        addSlots(head, layer.keyDim, 0, closed);
        head.closedSquares = head.keySquares;
      }
      addSlots(head, layer.keyDim, closed, head.length);
    }
  }
}
