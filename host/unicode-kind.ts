/**
 * One UTF-16 unit per code point, so that the pre-tokenizers' patterns can be plain regular expressions that count code
 * points: `collapse` keeps ASCII and replaces everything else by a stand-in for its general category; `widen` keeps the
 * characters themselves (those beyond the BMP become U+FFFF) for patterns that name characters.
 *
 * The categories are those of Unicode 15.1, whatever the engine knows, because llama.cpp's tables
 * (src/unicode-data.cpp) are: characters of versions 16 and 17 count as unassigned. An engine older than 15.1 or with
 * new characters of a version after 17 differs in those characters only. White space is Unicode's White_Space (with
 * U+0085, without U+FEFF and U+001C to U+001F); beyond ASCII all of it becomes U+000B.
 * @module
 */

/** Stand-ins beyond ASCII; `hanLetter` and `hanOther` come from `collapse(text, true)` only. */
export const Kind = {
  space: 0x0b,
  other: 0xd0,
  number: 0xd1,
  letter: 0xd2,
  punctuation: 0xd3,
  mark: 0xd4,
  symbol: 0xd5,
  hanLetter: 0xd6,
  hanOther: 0xd7,
} as const;

const CATEGORIES: readonly (readonly [number, RegExp])[] = [
  [Kind.letter, /^\p{L}/u],
  [Kind.space, /^\p{White_Space}/u],
  [Kind.mark, /^\p{M}/u],
  [Kind.punctuation, /^\p{P}/u],
  [Kind.symbol, /^\p{S}/u],
  [Kind.number, /^\p{N}/u],
];

/** Assigned after Unicode 15.1: first code point and number of further ones, base 36. */
const LATER =
  "1ov 1p3 2fw 2jg 5an-e 5b4-b 5e6-1 5fj 5mx-1 6gx 753-2 8ly 9us-1 x57-4 x5e x5g x5m-2 x69 1dqb-f 1e34-1 1e4o-6 1fpc-1f " +
  "1ge8-p 1h6o-11 1h7t-s 1h8u-1 1hhe-5 1hhs-8 1hiy-2 1if4-9 1iff 1ifi 1ifk-11 1ign-9 1igy 1ih1 1ih3-3 1ih8-9 1ihj-1 " +
  "1iht-1 1j2o-j 1jz4-7 1k1s-x 1k34-9 1kfk-17 1kgw-9 1kre 1oww-32y 1xq8-1l 205c-1l 20f4-o 20fv-o 20oi-4 25fc-7 26f3 " +
  "26fd-l 26io-36 2iv4-70 2j28-c3 2jei-m 2jfk-g 2nyo-16 2nzz 2o5c-u 2o68-l 2o72-1 2rbs 2rg7-3 2roy-9 2rpc-1 2rps-8 " +
  "2s0k-3 2s21-1 2s26-1 2s3i 2s3q 2s3s 2s3x 2s4c 2s4f 2s4p-1 2s4v 2saz-10 2sca 3tbu-5 3xya-b 4er4-3bd";

/** Kind by code point, filled as code points turn up; 0 is "not asked yet". */
let kinds: Uint8Array | undefined;

function kindOf(codePoint: number): number {
  kinds ??= createKinds();
  let kind = kinds[codePoint]!;
  if (kind === 0) {
    const character = String.fromCodePoint(codePoint);
    kind = CATEGORIES.find(([, pattern]) => pattern.test(character))?.[0] ?? Kind.other;
    kinds[codePoint] = kind;
  }
  return kind;
}

function createKinds(): Uint8Array {
  const table = new Uint8Array(0x110000);
  for (const range of LATER.split(" ")) {
    const [first, further = "0"] = range.split("-");
    const start = Number.parseInt(first!, 36);
    table.fill(Kind.other, start, start + Number.parseInt(further, 36) + 1);
  }
  return table;
}

export const isAscii = (text: string) => !/[^\0-\x7f]/.test(text);

/** @param han - give Chinese characters stand-ins of their own */
export function collapse(text: string, han = false): string {
  if (isAscii(text)) return text;
  return mapCodePoints(text, (codePoint) => {
    if (codePoint < 0x80) return codePoint;
    const kind = kindOf(codePoint);
    if (!han || !isHan(codePoint)) return kind;
    return kind === Kind.letter ? Kind.hanLetter : Kind.hanOther;
  });
}

/** @param astral - code points beyond the BMP that are to look like the letter "a", for a class that has them */
export function widen(text: string, astral?: (codePoint: number) => boolean): string {
  if (isAscii(text)) return text;
  return mapCodePoints(text, (codePoint) => {
    if (codePoint > 0xffff) return astral?.(codePoint) ? 0x61 : 0xffff;
    return codePoint >= 0x80 && kindOf(codePoint) === Kind.space ? Kind.space : codePoint;
  });
}

/** Ideographs as llama.cpp counts them: blocks with their unassigned code points. */
function isHan(c: number): boolean {
  return (
    (c >= 0x3400 && c <= 0x4dbf) ||
    (c >= 0x4e00 && c <= 0x9fff) ||
    (c >= 0xf900 && c <= 0xfaff) ||
    (c >= 0x20000 && c <= 0x2a6df) ||
    (c >= 0x2a700 && c <= 0x2ebef) ||
    (c >= 0x2f800 && c <= 0x2fa1f)
  );
}

const PIECE = 8192;

function mapCodePoints(text: string, unitOf: (codePoint: number) => number): string {
  const units = new Uint16Array(PIECE);
  const pieces: string[] = [];
  let filled = 0;
  for (let at = 0; at < text.length; at++) {
    const codePoint = text.codePointAt(at)!;
    if (codePoint > 0xffff) at++;
    units[filled++] = unitOf(codePoint);
    if (filled === PIECE) {
      pieces.push(String.fromCharCode(...units));
      filled = 0;
    }
  }
  pieces.push(String.fromCharCode(...units.subarray(0, filled)));
  return pieces.join("");
}
