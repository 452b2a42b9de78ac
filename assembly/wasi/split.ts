/**
 * Cuts text into words by automata that the host has made of a pre-tokenizer's patterns (host/wasi/pattern-table.ts), so that
 * no pattern is interpreted here: one look-up a character, no going back, time linear in what is looked at.
 *
 *   step:  | u32 states | u32 classes | u32 runs | runs: u32 first code point << 8 | class, ascending from 0 |
 *          | table [states][classes + 1] u16: next state, and Automaton.MATCH where a match ends before this character |
 *
 * State 0 is the end of the walk, 1 its beginning; class `classes` is the end of the piece. What a pattern leaves out stays a
 * piece of its own, and each step cuts the pieces of the one before.
 */
import { Automaton } from "./format";
import { codePointAt, lengthOf } from "./utf8";

const START: u32 = 1;
const MOST_STATES: u32 = 0x7fff;
const MOST_CLASSES: u32 = 255;
const MOST_RUNS: u32 = 1 << 20;

/** Words of a step that is sound and no longer than `room` words; 0: it is not. */
export function checkStep(step: usize, room: u32): u32 {
  if (room < 3) return 0;
  const nStates = load<u32>(step);
  const nClasses = load<u32>(step, 4);
  const nRuns = load<u32>(step, 8);
  if (nStates < 2 || nStates > MOST_STATES || nClasses == 0 || nClasses > MOST_CLASSES || nRuns == 0 || nRuns > MOST_RUNS) return 0;
  const entries = nStates * (nClasses + 1);
  const words: u32 = 3 + nRuns + ((entries + 1) >> 1);
  if (words > room) return 0;
  for (let i: u32 = 0; i < nRuns; ++i) {
    const run = load<u32>(step + 12 + (i << 2));
    if ((run & 255) >= nClasses) return 0;
    if (i == 0 ? run >> 8 != 0 : run >> 8 <= load<u32>(step + 8 + (i << 2)) >> 8) return 0;
  }
  const table = step + 12 + (nRuns << 2);
  for (let i: u32 = 0; i < entries; ++i) if ((<u32>load<u16>(table + (i << 1)) & Automaton.STATE) >= nStates) return 0;
  return words;
}

/** Class of a code point: the last run that begins at or before it. */
function classOf(step: usize, codePoint: u32): u32 {
  let low: u32 = 0;
  let high = load<u32>(step, 8);
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (load<u32>(step + 12 + (middle << 2)) >> 8 <= codePoint) low = middle;
    else high = middle;
  }
  return load<u32>(step + 12 + (low << 2)) & 255;
}

/** End of the match that begins at `from`, or `from`. */
function match(step: usize, from: usize, end: usize): usize {
  const nClasses = load<u32>(step, 4);
  const table = step + 12 + (load<u32>(step, 8) << 2);
  let last = from;
  let state = START;
  for (let at = from; state != 0 && at <= end; at += at < end ? lengthOf(load<u8>(at)) : 1) {
    const kind = at < end ? classOf(step, codePointAt(at)) : nClasses;
    const entry = <u32>load<u16>(table + ((state * (nClasses + 1) + kind) << 1));
    if (entry & Automaton.MATCH) last = at;
    state = entry & Automaton.STATE;
  }
  return last;
}

/** Cuts every piece of a text of n bytes once more; cuts [n] u8: 1 where a piece begins behind another one. */
export function cutWords(step: usize, text: usize, n: u32, cuts: usize): void {
  for (let start: u32 = 0; start < n; ) {
    let end = start + 1;
    while (end < n && load<u8>(cuts + end) == 0) ++end;
    for (let at = start; at < end; ) {
      const stop = <u32>(match(step, text + at, text + end) - text);
      if (stop == at) {
        at += lengthOf(load<u8>(text + at));
        continue;
      }
      store<u8>(cuts + at, 1);
      if (stop < end) store<u8>(cuts + stop, 1);
      at = stop;
    }
    start = end;
  }
}
