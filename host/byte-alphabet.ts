/**
 * How vocabularies spell bytes: byte-level ones with one printable character each, the others with a token per byte.
 * @module
 */

/** The character that stands for each byte in a byte-level vocabulary: itself where printable, else U+0100 upwards. */
export const BYTE_CHARACTERS: readonly string[] = (() => {
  const printable = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 255 && byte !== 173);
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++));
})();

export const hex = (byte: number) => byte.toString(16).toUpperCase().padStart(2, "0");

/** The name of a byte's token in vocabularies that are not byte-level. */
export const byteTokenName = (byte: number) => `<0x${hex(byte)}>`;

export const isByteCharacter = (text: string) => text.length === 1 && BYTE_CHARACTERS.includes(text);
