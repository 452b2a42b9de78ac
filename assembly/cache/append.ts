/**
 * Append: the key and value of one token go into a head's open page. Close: once the tokens of a full page have attended,
 * it ages (numeric contract, "Cache and time"): block b of 32 tokens sees page b as f32, the pages b-1 .. b - recentPages
 * and the first sinkPages at 8 bits, older ones in the cache's form, made from the 8-bit codes.
 *
 * Where the cache's form is f32 or 8 bits there is no second step: such pages go straight to the pool.
 */
import { Engine, engine, HeadView } from "../memory/records";
import { KvForm, Size } from "../memory/status";
import { convertPage } from "./convert";
import { isFew } from "./packed-page";
import { setFirstPosition, setForms, writeSlot } from "./page";
import { poolTake } from "./pool";
import { dropHidden } from "./window";

export function append(head: HeadView, key: usize, value: usize, keyDim: u32, valueDim: u32): void {
  if (head.window != 0) dropHidden(head);
  const slot = head.length % Size.PAGE_SLOTS;
  if (slot == 0) {
    setPage(head, head.nPages, head.open);
    setFirstPosition(head.open, head.length - head.lead);
    head.nPages += 1;
  }
  writeSlot(head.open, slot, key, value, keyDim, valueDim);
  head.length += 1;
}

// @ts-ignore: decorator
@inline
export function setPage(head: HeadView, index: u32, page: usize): void {
  store<u32>(head.pages + (<usize>index << 2), <u32>page);
}

/** A part's form while it is recent. */
// @ts-ignore: decorator
@inline
export function recentForm(form: KvForm): KvForm {
  return form == KvForm.F32 ? KvForm.F32 : KvForm.Q8;
}

/** Whether pages take a second step, from 8 bits to fewer. */
// @ts-ignore: decorator
@inline
export function agesTwice(e: Engine): bool {
  return isFew(e.keyForm) || isFew(e.valueForm);
}

/** Where page number `index` of a head lies while it is a sink or recent. */
// @ts-ignore: decorator
@inline
export function fixedPage(e: Engine, head: HeadView, index: u32): usize {
  const place = index < e.sinkPages ? index : e.sinkPages + ((index + head.removed - e.sinkPages) % e.recentPages);
  return head.fixed + <usize>place * e.recentBytes;
}

/** Gives an empty page the forms of recent ones, or of those that have aged. */
function setAge(e: Engine, page: usize, isRecent: bool): usize {
  setForms(page, isRecent ? recentForm(e.keyForm) : e.keyForm, isRecent ? recentForm(e.valueForm) : e.valueForm);
  return page;
}

/** An empty page of the pool in the head's form; the caller has reserved it. */
function agedPage(e: Engine, head: HeadView): usize {
  const page = poolTake(head);
  if (page == 0) unreachable(); // address 0 is the engine's: a trap is better than a page written there
  return setAge(e, page, head.wide != 0);
}

/** An empty page for place `index` of `pages`, in the form it has by its age. */
export function emptyPage(e: Engine, head: HeadView, index: u32, pages: u32): usize {
  if (!agesTwice(e) || (index >= e.sinkPages && index + e.recentPages < pages)) return agedPage(e, head);
  const page = fixedPage(e, head, index);
  memory.fill(page, 0, e.recentBytes);
  return setAge(e, page, true);
}

/** A page of the pool made from `from`. */
function aged(e: Engine, head: HeadView, from: usize): usize {
  const page = agedPage(e, head);
  convertPage(e, page, from);
  return page;
}

/** Ages the open page when its last slot is full; the caller has checked that the pool has pages (forward.ts, admit). */
export function closeFull(head: HeadView): void {
  if (head.length % Size.PAGE_SLOTS != 0) return;
  const e = engine();
  const last = head.length / Size.PAGE_SLOTS - 1;
  const first = head.base / Size.PAGE_SLOTS;
  if (!agesTwice(e)) {
    setPage(head, last - first, aged(e, head, head.open));
    return;
  }
  const page = fixedPage(e, head, last);
  if (last >= e.sinkPages + e.recentPages && last - e.recentPages >= first) {
    setPage(head, last - e.recentPages - first, aged(e, head, page)); // the page whose place it takes
  }
  convertPage(e, setAge(e, page, true), head.open);
  setPage(head, last - first, page);
}
