/** The command's arguments as WASI gives them, and values in them: counts, decimals, words. */
import { answer, fail, need } from "./io";
import { args_get, args_sizes_get } from "./preview1";

const MOST_ARGUMENTS: u32 = 1 << 16;
const MOST_BYTES: u32 = 1 << 26;

let addresses: usize = 0;
let count: u32 = 0;

export function openArguments(): void {
  if (args_sizes_get(answer(), answer() + 4) != 0) fail("the arguments could not be read");
  count = load<u32>(answer());
  const bytes = load<u32>(answer(), 4);
  if (count > MOST_ARGUMENTS || bytes > MOST_BYTES) fail("there are too many arguments");
  addresses = need((<u64>count << 2) + 4);
  const texts = need(<u64>bytes + 1);
  if (count > 0 && args_get(addresses, texts) != 0) fail("the arguments could not be read");
}

export function argumentCount(): u32 {
  return count;
}

export function argument(index: u32): usize {
  return load<usize>(addresses + (index << 2));
}

/** Bytes before the zero. */
export function lengthOfArgument(at: usize): u32 {
  let n: u32 = 0;
  while (load<u8>(at + n) != 0) ++n;
  return n;
}

/** Whether n bytes are a text of ASCII. */
export function isText(at: usize, n: u32, text: string): bool {
  if (<u32>text.length != n) return false;
  for (let i: u32 = 0; i < n; ++i) if (load<u8>(at + i) != <u8>text.charCodeAt(i)) return false;
  return true;
}

/** A count below 2^53, or -1. */
export function readCount(at: usize, n: u32): i64 {
  let value: i64 = 0;
  let i: u32 = n > 0 && load<u8>(at) == 43 ? 1 : 0;
  if (i == n) return -1;
  for (; i < n; ++i) {
    const digit = <i64>load<u8>(at + i) - 48;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
    if (value > 9007199254740991) return -1;
  }
  return value;
}

/** 10^k for k = 0 .. 22 is exact in f64. */
function powerOf10(k: u32): f64 {
  let power: f64 = 1;
  for (; k > 0; --k) power *= 10;
  return power;
}

/**
 * A decimal such as 0.7, .5 or 12; NaN where it is none. At most 15 digits that count and 22 behind the point: then both
 * parts of digits / 10^k are exact, and the one division rounds as every other reader of decimals does (Clinger 1990).
 */
export function readDecimal(at: usize, n: u32): f64 {
  let digits: u64 = 0;
  let nDigits: u32 = 0;
  let behind: u32 = 0;
  let hasPoint = false;
  let any = false;
  for (let i: u32 = 0; i < n; ++i) {
    const byte: u32 = load<u8>(at + i);
    if (byte == 46 && !hasPoint) {
      hasPoint = true;
      continue;
    }
    if (byte < 48 || byte > 57) return NaN;
    any = true;
    digits = digits * 10 + (byte - 48);
    if (digits != 0 && ++nDigits > 15) return NaN;
    if (hasPoint && ++behind > 22) return NaN;
  }
  return any ? <f64>digits / powerOf10(behind) : NaN;
}
