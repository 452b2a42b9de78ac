/**
 * The bump arena over `memory.grow`; its only caller. Regions are aligned to 64 bytes and followed by at least 64 that a
 * vector load may touch. Nothing is freed: sessions and pages come back through free lists of equal pieces.
 */

import { Engine, engine } from "./records";
import { Size } from "./status";

/** Bytes left under the 4 GiB of a 32-bit memory, so that an end address never wraps. */
const LIMIT: u64 = 0xffff0000;

/** Bytes a region really takes. */
// @ts-ignore: decorator
@inline
export function regionBytes(bytes: u64): u64 {
  return (bytes + 2 * Size.ALIGN - 1) & ~(<u64>Size.ALIGN - 1);
}

/** Clears the engine; called once, before anything else. */
export function arenaStart(): void {
  const e = engine();
  memory.fill(changetype<usize>(e), 0, offsetof<Engine>());
  e.top = changetype<usize>(e) + <usize>regionBytes(offsetof<Engine>() + Size.DECODED + 16);
}

/** A zeroed region of `bytes`, or 0 when memory cannot grow that far. Contents of fresh memory are zero by definition. */
export function arenaAlloc(bytes: u64): usize {
  const e = engine();
  const start = <u64>e.top;
  const end = start + regionBytes(bytes);
  const have = <u64>memory.size() << 16;
  if (end < start || end > LIMIT || (end > have && memory.grow(<i32>((end - have + 0xffff) >> 16)) < 0)) {
    e.exhausted = 1;
    return 0;
  }
  e.top = <usize>end;
  return <usize>start;
}

/** Writes every 4 KiB of a region once, so that the system maps it now and not inside a token. */
export function arenaTouch(start: usize, bytes: usize): void {
  for (let at = start; at < start + bytes; at += 4096) store<u8>(at, 0);
}

/** Bytes of the arena in use, static data included. */
export function arenaBytes(): usize {
  return engine().top;
}
