/**
 * Sections: what keys or values of fewer than 8 bits keep beside their codes and scales. Each is a file of its own here; a
 * word says which are on (KvSection), the same for all pages of a cache. Pages at 8 bits or f32 have none.
 *
 *   keys:   | codes and scales | mean | outliers | salient | .. 16 |
 *   values: | codes and scales | factors | salient | .. 16 |
 *
 * One more takes: a bit or a number in KvSection; a file with its bytes, with what it takes from a page before codes are made
 * or keeps of what they lack (pack.ts), and with what it adds to 32 scores or to an output (add.ts), twice: as a kernel and
 * as its reference; and its name and bytes in host/kv-format.ts. A section works on a whole page, so that such caches cannot
 * move single slots (cache/compact.ts).
 */
import { isFew } from "../cache/packed-page";
import { KvForm, KvSection, Part } from "../memory/status";
import { factorBytes } from "./factors";
import { meanBytes } from "./mean";
import { outlierBytes } from "./outliers";
import { salientBytes } from "./salient";

// @ts-ignore: decorator
@inline
export function outliersOf(sections: u32): u32 {
  return (sections >> KvSection.OUTLIERS_SHIFT) & 255;
}

// @ts-ignore: decorator
@inline
export function salientOf(sections: u32): u32 {
  return (sections >> KvSection.SALIENT_SHIFT) & 255;
}

/** Bytes of the sections behind a part's codes and scales. */
export function sectionBytes(sections: u32, form: KvForm, part: Part, dim: u32, group: u32): u32 {
  if (sections == 0 || !isFew(form)) return 0;
  let bytes = salientBytes(salientOf(sections), dim, group);
  if (part == Part.KEYS) {
    bytes += outlierBytes(outliersOf(sections));
    if (sections & KvSection.MEAN) bytes += meanBytes(dim);
  } else if (sections & KvSection.FACTORS) bytes += factorBytes(dim);
  return (bytes + 15) & ~15;
}
