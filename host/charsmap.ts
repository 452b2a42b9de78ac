/**
 * The character map of a SentencePiece vocabulary (`tokenizer.ggml.precompiled_charsmap`): texts to replacements, the
 * longest text first.
 *
 *   u32 size of the index, little-endian | index: u32 each | replacements, each ended by a zero byte
 *
 * The index is a compact double array (Kanda 2018, string dictionaries): an entry has its label in bits 0-7, a flag
 * for "a text ends here" in bit 8, a flag for a far base in bit 9 and its base in bits 10-30; the child for byte b of the
 * entry with base B stands at (place ^ B) ^ b. Where a text ends, the entry at its base holds the place of its
 * replacement in bits 0-30. Nothing in it is trusted: what points outside is no match.
 * @module
 */

export interface Replacement {
  readonly text: string;
  /** UTF-16 units that it replaces. */
  readonly length: number;
}

/** The replacement of the longest known text at a place, if any. */
export type CharacterMap = (text: string, at: number) => Replacement | undefined;

/** In bytes; a longer match than any map has would be a cycle. */
const LONGEST = 256;

/** @returns undefined when the data is no such map */
export function createCharacterMap(data: Uint8Array): CharacterMap | undefined {
  if (data.length < 4) return undefined;
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const indexBytes = view.getUint32(0, true);
  if (indexBytes % 4 !== 0 || indexBytes + 4 >= data.length) return undefined;
  const replacements = data.subarray(4 + indexBytes);
  const nEntries = indexBytes / 4;
  const entry = (index: number) => (index < nEntries ? view.getUint32(4 + 4 * index, true) : 0);
  const baseOf = (packed: number) => ((packed >>> 10) << ((packed & 0x200) >>> 6)) >>> 0;
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const replacementAt = (start: number): string | undefined => {
    const end = replacements.indexOf(0, start);
    return start >= replacements.length || end < 0 ? undefined : decoder.decode(replacements.subarray(start, end));
  };

  return (text, start) => {
    let node = baseOf(entry(0));
    let found: Replacement | undefined;
    for (let at = start, nBytes = 0; at < text.length && nBytes < LONGEST; ) {
      const codePoint = text.codePointAt(at)!;
      at += codePoint > 0xffff ? 2 : 1;
      let ends = -1;
      for (const byte of utf8Of(codePoint)) {
        nBytes++;
        node = (node ^ byte) >>> 0;
        const packed = entry(node);
        if (byte === 0 || node >= nEntries || (packed & 0x800000ff) >>> 0 !== byte) return found;
        node = (node ^ baseOf(packed)) >>> 0;
        ends = (packed & 0x100) === 0 ? -1 : entry(node) & 0x7fffffff;
      }
      const replacement = ends < 0 ? undefined : replacementAt(ends);
      if (replacement !== undefined) found = { text: replacement, length: at - start };
    }
    return found;
  };
}

function utf8Of(c: number): readonly number[] {
  if (c < 0x80) return [c];
  const last = 0x80 | (c & 0x3f);
  if (c < 0x800) return [0xc0 | (c >> 6), last];
  const third = 0x80 | ((c >> 6) & 0x3f);
  return c < 0x10000 ? [0xe0 | (c >> 12), third, last] : [0xf0 | (c >> 18), 0x80 | ((c >> 12) & 0x3f), third, last];
}
