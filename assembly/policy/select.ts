/**
 * Which slots stay: those of the highest scores, ties to the later slot (and the later head), found by their bits, byte by
 * byte from the highest: no sorting.
 */
import { Engine } from "../memory/records";
import { scoresOf } from "./slots";

const COUNTS: usize = memory.data(256 * 4, 16);

/** f32 as an integer of the same order; NaN is below everything. */
// @ts-ignore: decorator
@inline
function ordered(score: f32): u32 {
  if (score != score) return 0;
  const bits = reinterpret<u32>(score);
  return bits ^ (<u32>(<i32>bits >> 31) | 0x80000000);
}

/** Slots of heads [first, end) whose bits above `shift` + 8 are those of `prefix`, counted by their next 8 bits. */
function count(e: Engine, first: u32, end: u32, n: u32, prefix: u32, shift: u32): void {
  memory.fill(COUNTS, 0, 1024);
  for (let kv = first; kv < end; ++kv) {
    const scores = scoresOf(e, kv);
    for (let j: u32 = 0; j < n; ++j) {
      const key = ordered(load<f32>(scores + (j << 2)));
      if (shift < 24 && key >> (shift + 8) != prefix >> (shift + 8)) continue;
      const at = COUNTS + (((key >> shift) & 255) << 2);
      store<u32>(at, load<u32>(at) + 1);
    }
  }
}

/** keepMap of heads [first, end), n slots each: 1 for the `k` highest scores of all of them. */
export function keepHighest(e: Engine, first: u32, end: u32, n: u32, k: u32): void {
  let prefix: u32 = 0;
  let left = min<u32>(k, (end - first) * n); // slots still to be found at or below the prefix
  for (let shift: i32 = 24; shift >= 0; shift -= 8) {
    count(e, first, end, n, prefix, shift);
    let digit: u32 = 255;
    while (digit > 0 && load<u32>(COUNTS + (digit << 2)) < left) {
      left -= load<u32>(COUNTS + (digit << 2));
      digit -= 1;
    }
    prefix |= digit << <u32>shift;
  }
  for (let kv: i32 = end - 1; kv >= <i32>first; --kv) {
    const scores = scoresOf(e, kv);
    const keep = e.keepMap + <usize>kv * e.policySlots;
    for (let j: i32 = n - 1; j >= 0; --j) {
      const key = ordered(load<f32>(scores + (j << 2)));
      const ties = key == prefix && left > 0;
      if (ties) left -= 1;
      store<u8>(keep + j, key > prefix || ties ? 1 : 0);
    }
  }
}
