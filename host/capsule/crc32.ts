/**
 * CRC-32 (the one of zip and PNG: polynomial 0xedb88320, reflected) over little-endian words, 8 bytes a step. It tells
 * which page of a capsule is damaged; against someone who means harm stand the chunks' tags (seal.ts).
 * @module
 */

/** [8][256]: entry [k][b] is the CRC of byte b with k zero bytes behind it. */
const TABLES = makeTables();

function makeTables(): Uint32Array {
  const tables = new Uint32Array(8 * 256);
  for (let b = 0; b < 256; ++b) {
    let c = b;
    for (let i = 0; i < 8; ++i) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
    tables[b] = c;
  }
  for (let i = 256; i < tables.length; ++i) {
    const c = tables[i - 256]!;
    tables[i] = (c >>> 8) ^ tables[c & 255]!;
  }
  return tables;
}

/** The CRC of all words given, in order; lists are taken as one sequence. */
export function crc32(...lists: readonly ArrayLike<number>[]): number {
  let crc = 0xffffffff;
  for (const words of lists) crc = update(crc, words);
  return ~crc >>> 0;
}

function update(start: number, words: ArrayLike<number>): number {
  const t = TABLES;
  let crc = start;
  const pairs = words.length & ~1;
  for (let i = 0; i < pairs; i += 2) {
    const a = words[i]! ^ crc;
    const b = words[i + 1]!;
    crc =
      t[1792 + (a & 255)]! ^
      t[1536 + ((a >>> 8) & 255)]! ^
      t[1280 + ((a >>> 16) & 255)]! ^
      t[1024 + (a >>> 24)]! ^
      t[768 + (b & 255)]! ^
      t[512 + ((b >>> 8) & 255)]! ^
      t[256 + ((b >>> 16) & 255)]! ^
      t[b >>> 24]!;
  }
  if (pairs < words.length) {
    const a = words[pairs]! ^ crc;
    crc = t[768 + (a & 255)]! ^ t[512 + ((a >>> 8) & 255)]! ^ t[256 + ((a >>> 16) & 255)]! ^ t[a >>> 24]!;
  }
  return crc;
}
