/**
 * UTF-8: checking and reading text that comes in, and writing text that tokens bring in pieces. Bytes that are no UTF-8 become
 * U+FFFD, one for each longest beginning of a character, as the WHATWG decoder has it (https://encoding.spec.whatwg.org).
 */

/** Bytes of the character that begins with this byte; 0: none does. */
// @ts-ignore: decorator
@inline
export function lengthOf(lead: u32): u32 {
  if (lead < 0x80) return 1;
  if (lead < 0xc2) return 0;
  if (lead < 0xe0) return 2;
  if (lead < 0xf0) return 3;
  return lead < 0xf5 ? 4 : 0;
}

/** Whether `byte` may be byte `index` (1 ..) of a character that begins with `lead`: no surrogates, nothing too long. */
// @ts-ignore: decorator
@inline
function mayFollow(lead: u32, index: u32, byte: u32): bool {
  if (index == 1) {
    if (lead == 0xe0) return byte >= 0xa0 && byte < 0xc0;
    if (lead == 0xed) return byte >= 0x80 && byte < 0xa0;
    if (lead == 0xf0) return byte >= 0x90 && byte < 0xc0;
    if (lead == 0xf4) return byte >= 0x80 && byte < 0x90;
  }
  return (byte & 0xc0) == 0x80;
}

/** Bytes of the longest beginning of a character at `at`: the whole of it, or less where it is cut or wrong; at least 1. */
function beginning(at: usize, end: usize): u32 {
  const lead = load<u8>(at);
  const length = lengthOf(lead);
  let n: u32 = 1;
  while (n < length && at + n < end && mayFollow(lead, n, load<u8>(at + n))) ++n;
  return n;
}

/** The first byte of [at, end) that is no UTF-8, or `end`. */
export function firstInvalid(at: usize, end: usize): usize {
  while (at < end) {
    const n = beginning(at, end);
    if (n != lengthOf(load<u8>(at))) return at;
    at += n;
  }
  return end;
}

/** The code point at `at`, of text that is valid. */
export function codePointAt(at: usize): u32 {
  const lead: u32 = load<u8>(at);
  if (lead < 0x80) return lead;
  const second: u32 = load<u8>(at, 1) & 63;
  if (lead < 0xe0) return ((lead & 31) << 6) | second;
  const third: u32 = load<u8>(at, 2) & 63;
  if (lead < 0xf0) return ((lead & 15) << 12) | (second << 6) | third;
  return ((lead & 7) << 18) | (second << 12) | (third << 6) | (load<u8>(at, 3) & 63);
}

/**
 * Copies [from, end) to `to` with U+FFFD for what is no UTF-8 (up to 3 bytes for 1), and stops before a character that is cut
 * off, unless that is the `last` text. Returns the end of what was written; what was taken is at `taken`.
 */
export function repair(to: usize, from: usize, end: usize, last: bool, taken: usize): usize {
  let at = from;
  while (at < end) {
    const n = beginning(at, end);
    const whole = n == lengthOf(load<u8>(at));
    if (!whole && !last && at + n == end && lengthOf(load<u8>(at)) > n) break;
    if (whole) {
      memory.copy(to, at, n);
      to += n;
    } else {
      store<u16>(to, 0xbfef);
      store<u8>(to, 0xbd, 2);
      to += 3;
    }
    at += n;
  }
  store<usize>(taken, at);
  return to;
}
