/**
 * Eviction: a session that may forget gives up whole pages, one when a page closes and the head has as many as it may hold.
 * https://arxiv.org/abs/2309.17453 (StreamingLLM: keep the first tokens, the sinks, and the newest ones)
 *
 *   pages of a head:  | sinks | ... may go, oldest first ... | window | open |
 *
 * A page goes as it is, so that any form of page may be evicted, pages shared with a fork stay with the fork, and what is
 * left needs no copying. Pages that touch a pinned range of positions stay. The page that goes is logged for the host:
 *
 *   record: | u32 head | u32 first position | u32 end | f32 score |         lowest score goes; streaming: its position
 *
 * Queries then see the pages that are left side by side, at cache-relative positions (kernels/turn-query.ts).
 */
import { Engine, engine, HeadView, Session } from "../memory/records";
import { Option, Size, Status } from "../memory/status";
import { headOf } from "./heads";
import { firstPosition } from "./page";
import { pageRelease } from "./pool";
import { lastPosition } from "./slots";
import { mostPages, pagesFor } from "./window";

/** Ranges a session can pin. */
export const MAX_PINS: u32 = 32;
const RECORD_BYTES: usize = 16;

/** Bytes of a session's pins and of its log: each head closes a page every 32 rows at most, and may evict one ahead of them. */
export function evictorBytes(e: Engine): u64 {
  return (MAX_PINS << 3) + <u64>(e.maxRows / Size.PAGE_SLOTS + 2) * e.nHeadViews * RECORD_BYTES;
}

/** Whether a page touches a pinned range. */
function isPinned(session: Session, page: usize): bool {
  const first = firstPosition(page);
  const last = lastPosition(engine(), page);
  for (let i: u32 = 0; i < session.nPins; ++i) {
    const pin = session.pins + (i << 3);
    if (first < load<u32>(pin, 4) && load<u32>(pin) <= last) return true;
  }
  return false;
}

/** Index of the page to go: the oldest that may. The host has seen to it that there is one (`sessionPin`). */
function oldest(session: Session, head: HeadView): u32 {
  const end = head.nPages - 1 - session.windowPages;
  for (let i = session.sinkPages; i < end; ++i) {
    if (!isPinned(session, load<u32>(head.pages + (<usize>i << 2)))) return i;
  }
  unreachable();
  return 0;
}

function logPage(e: Engine, session: Session, index: u32, page: usize): void {
  const record = session.log + session.nLogged * RECORD_BYTES;
  const first = firstPosition(page);
  store<u32>(record, index);
  store<u32>(record, first, 4);
  store<u32>(record, lastPosition(e, page) + 1, 8);
  store<f32>(record, <f32>first, 12);
  session.nLogged += 1;
}

/**
 * When the open page is full, before it ages: evicts one where the head would otherwise have no place for the next. Returns
 * the place that the page had, or -1.
 */
export function evictFull(session: Session, head: HeadView): i32 {
  if (session.maxPages == 0 || head.window != 0 || head.nPages < session.maxPages) return -1;
  return head.length % Size.PAGE_SLOTS == 0 ? evictOldest(session, head) : -1;
}

/**
 * Before rows are appended: evicts one where closed pages alone are as many as the head may hold, and the next would have no
 * place: after a turn that stopped at the end of the context, or where what stays of a prompt fills the context.
 */
export function evictAhead(session: Session): void {
  if (session.maxPages == 0) return;
  for (let i: u32 = 0; i < engine().nHeadViews; ++i) {
    const head = headOf(session, i);
    if (head.window == 0 && head.length / Size.PAGE_SLOTS >= session.maxPages) evictOldest(session, head);
  }
}

/** Returns the place that the page had. */
function evictOldest(session: Session, head: HeadView): u32 {
  const index = oldest(session, head);
  const at = head.pages + (<usize>index << 2);
  const page: usize = load<u32>(at);
  logPage(engine(), session, <u32>((changetype<usize>(head) - session.heads) / offsetof<HeadView>()), page);
  pageRelease(head, page);
  head.nPages -= 1;
  memory.copy(at, at + 4, <usize>(head.nPages - index) << 2);
  head.length -= Size.PAGE_SLOTS;
  head.lead -= Size.PAGE_SLOTS;
  head.removed += 1;
  return index;
}

/**
 * Pages that pins hold at most. Pages that were compacted may begin anywhere: a pin of n tokens touches the page of its first,
 * that of its last, the whole pages between and one that ends early.
 */
function pinnedPages(session: Session): u32 {
  const isPacked = engine().slotPositions != 0;
  let pages: u32 = 0;
  for (let i: u32 = 0; i < session.nPins; ++i) {
    const pin = session.pins + (i << 3);
    const tokens = load<u32>(pin, 4) - load<u32>(pin);
    if (isPacked) pages += tokens < 3 ? tokens : 3 + (tokens - 3) / Size.PAGE_SLOTS;
    else pages += (load<u32>(pin, 4) - 1) / Size.PAGE_SLOTS - load<u32>(pin) / Size.PAGE_SLOTS + 1;
  }
  return pages;
}

/** Whether a page can always be found to go: sinks, pins, window, the page that closes and one more. */
function hasRoom(session: Session): bool {
  return <u64>session.sinkPages + pinnedPages(session) + session.windowPages + 2 <= session.maxPages;
}

/**
 * From here on the session holds `maxPages` pages a head at most, and evicts; 0: it ends at its capacity again.
 * BAD_ARGUMENT where sinks, pins and window leave nothing to evict, where they are fewer than the pages kept at 8 bits, where
 * more pages than these are full already, or where layers have what eviction cannot serve: groups by key norms, or windows that are longer than the context.
 */
export function sessionEvict(address: usize, maxPages: u32, sinkPages: u32, windowPages: u32): Status {
  const e = engine();
  const session = changetype<Session>(address);
  if (maxPages != 0) {
    if (sinkPages < e.sinkPages || windowPages < e.recentPages || maxPages > e.contextLength / Size.PAGE_SLOTS) return Status.BAD_ARGUMENT;
    if (e.options & Option.KEY_DRIVEN) return Status.BAD_ARGUMENT;
    for (let i: u32 = 0; i < e.nHeadViews; ++i) {
      const head = headOf(session, i);
      if (head.window == 0 ? head.length / Size.PAGE_SLOTS > maxPages : mostPages(0x7fffffff, head.window) > pagesFor(e.contextLength)) return Status.BAD_ARGUMENT;
    }
  }
  const before = session.maxPages;
  session.maxPages = maxPages;
  session.sinkPages = sinkPages;
  session.windowPages = windowPages;
  if (maxPages != 0) session.relative = 1;
  if (maxPages == 0 || hasRoom(session)) return Status.OK;
  session.maxPages = before;
  return Status.BAD_ARGUMENT;
}

/** Pins positions [first, end); BAD_ARGUMENT where there are too many pins, or nothing would be left to evict. */
export function sessionPin(address: usize, first: u32, end: u32): Status {
  const session = changetype<Session>(address);
  if (first >= end || session.nPins == MAX_PINS) return Status.BAD_ARGUMENT;
  const pin = session.pins + (session.nPins << 3);
  store<u32>(pin, first);
  store<u32>(pin, end, 4);
  session.nPins += 1;
  if (session.maxPages == 0 || hasRoom(session)) return Status.OK;
  session.nPins -= 1;
  return Status.BAD_ARGUMENT;
}

/** Takes all pins away. */
export function sessionUnpin(address: usize): void {
  changetype<Session>(address).nPins = 0;
}

/** Records of the last forward call, and their number. */
export function evictedLog(address: usize): usize {
  return changetype<Session>(address).log;
}

export function evictedPages(address: usize): u32 {
  return changetype<Session>(address).nLogged;
}
