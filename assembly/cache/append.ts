/** Append: the key and value of one token go into a head's open page; a new page is taken when the last one is full. */
import { HeadView } from "../memory/records";
import { Size } from "../memory/status";
import { writeSlot } from "./page";
import { poolTake } from "./pool";
import { dropHidden } from "./window";

/** The caller has checked that a page is free (forward.ts, admit). */
export function append(head: HeadView, key: usize, value: usize, keyDim: u32, valueDim: u32): void {
  if (head.window != 0) dropHidden(head);
  const slot = head.length % Size.PAGE_SLOTS;
  if (slot == 0) {
    const page = poolTake();
    assert(page != 0);
    store<u32>(head.pages + ((<usize>head.nPages) << 2), <u32>page);
    head.nPages += 1;
  }
  writeSlot(load<u32>(head.pages + ((<usize>(head.nPages - 1)) << 2)), slot, key, value, keyDim, valueDim);
  head.length += 1;
}
