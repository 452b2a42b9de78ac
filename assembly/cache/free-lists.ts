/**
 * Where the free lists begin, for the audit of test/cache/audit.ts, which walks them from outside; in the `test` build
 * only. A free page's first word is the address of the next one, a free region's is in `Session.nextFree`; 0 ends both.
 */
import { engine } from "../memory/records";

export function firstFreePage(isWide: bool, head: u32): usize {
  const lists = isWide ? engine().widePages : engine().freePages;
  return lists == 0 ? 0 : load<u32>(lists + (<usize>head << 2));
}

export function firstFreeSession(): usize {
  return engine().freeSessions;
}
