/**
 * The size of a head's keys, for layers that share query heads out by it (model/key-driven.ts): the sum of squares of all
 * keys so far, f64, slots ascending, dims ascending within a slot. Rotation does not change it.
 */
import { Engine, HeadView, layerAt, Session } from "../memory/records";
import { Option, Size } from "../memory/status";
import { keyOffset, pageAt } from "./page";

/** The squares of one key f32 [keyDim], `stride` bytes apart. */
export function keySquare(key: usize, keyDim: u32, stride: u32): f64 {
  let sum: f64 = 0;
  for (let d: u32 = 0; d < keyDim; ++d, key += stride) {
    const k = <f64>load<f32>(key);
    sum += k * k;
  }
  return sum;
}

/** Measures the keys of every KEY_DRIVEN layer again, after slots were dropped; these heads hold their pages from slot 0. */
export function measureKeys(e: Engine, session: Session): void {
  for (let i: u32 = 0; i < e.nLayers; ++i) {
    const layer = layerAt(e, i);
    if (!(layer.options & Option.KEY_DRIVEN)) continue;
    for (let h: u32 = 0; h < layer.nKvHeads; ++h) {
      const head = changetype<HeadView>(session.heads + <usize>(layer.firstHead + h) * offsetof<HeadView>());
      head.keySquares = 0;
      for (let slot: u32 = 0; slot < head.length; ++slot) {
        const key = pageAt(head, slot) + keyOffset(slot % Size.PAGE_SLOTS, layer.keyDim);
        head.keySquares += keySquare(key, layer.keyDim, 64);
      }
    }
  }
}
