/**
 * An array of GGUF strings (a vocabulary of a hundred thousand) to JavaScript strings, with one decoding for all:
 * the strings' bytes are joined, decoded together, and cut where each one ends in UTF-16 units. A decoder call for each
 * string costs several times as much. Where some string is not valid UTF-8, each is decoded alone, and what is invalid
 * becomes U+FFFD.
 * @module
 */

/**
 * @param table `count` strings, each a little-endian u64 length in bytes and its UTF-8; lengths checked by the caller
 * @returns `count` strings; a U+FEFF is kept
 */
export function decodeStrings(table: Uint8Array, count: number): string[] {
  return decodeTogether(table, count) ?? decodeEach(table, count);
}

/**
 * Undefined when a string is not valid UTF-8. If all of the text is valid and no string begins with a continuation
 * byte, then every cut lies between two characters, and each string is valid alone.
 */
function decodeTogether(table: Uint8Array, count: number): string[] | undefined {
  const view = new DataView(table.buffer, table.byteOffset, table.byteLength);
  const joined = new Uint8Array(table.byteLength - 8 * count);
  const ends = new Uint32Array(count);
  let at = 0;
  let written = 0;
  let units = 0;
  for (let i = 0; i < count; i++) {
    const start = at + 8;
    at = start + view.getUint32(at, true);
    if (at > start && isContinuation(table[start]!)) return undefined;
    for (let position = start; position < at; position++) {
      const byte = table[position]!;
      joined[written++] = byte;
      // One unit for each character, two for those of four bytes.
      if (!isContinuation(byte)) units += byte >= 0xf0 ? 2 : 1;
    }
    ends[i] = units;
  }
  const text = decodeValid(joined);
  if (text === undefined) return undefined;
  const strings: string[] = [];
  for (let i = 0; i < count; i++) strings.push(text.slice(i === 0 ? 0 : ends[i - 1], ends[i]));
  return strings;
}

function decodeEach(table: Uint8Array, count: number): string[] {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const view = new DataView(table.buffer, table.byteOffset, table.byteLength);
  const strings: string[] = [];
  for (let i = 0, at = 0; i < count; i++) {
    const start = at + 8;
    at = start + view.getUint32(at, true);
    strings.push(decoder.decode(table.subarray(start, at)));
  }
  return strings;
}

function decodeValid(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    if (error instanceof TypeError) return undefined;
    throw error;
  }
}

function isContinuation(byte: number): boolean {
  return (byte & 0xc0) === 0x80;
}
