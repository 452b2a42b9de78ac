/**
 * Keys or values of a page in few bits: integer codes, and f16 scales (and minima) for each token and group of 32 or 64
 * dims, the last group taking what is left.
 *
 *   Q8: x = scale * code, code within +-top          scale = f16(absmax / top), top 63 of keys, 127 of values
 *   Q4: x = scale * code + minimum, code 0..15       minimum = f16(min), scale = f16((max - minimum) / 15)
 *   Q3: the same with codes 0..7
 *
 *   Q8_PLANES: the codes and scales of Q8, as nibbles (sections/planes.ts)
 *   Q4_CHANNELS, Q3_CHANNELS: the codes of Q4 and Q3 with other scales (sections/channels.ts)
 *
 *   | blocks of 8 x 4 codes | f16 scales [groups][32 slots] | Q4, Q3: f16 minima [groups][32 slots] |
 *
 * A block of keys is 8 slots x 4 dims (slots in eights outer, dims in fours inner), one of values 8 dims x 4 slots (dims in
 * eights outer, slots in fours inner); dims are padded to 16 with zeros. So four neighbours are what an integer dot adds up:
 * dims for a score, slots for a value. Entry i = 0..7, member e = 0..3, j = 4 i + e:
 *
 *   Q8, 32 bytes: byte j; of values signed, of keys code + 64 (a dot of bytes takes signed ones times 0..127)
 *   Q4, 16 bytes: byte j mod 16, low nibble for j < 16
 *   Q8_PLANES: all blocks as in Q4 with code + 64 >> 4, then all with (code + 64) & 15
 *   Q3, 12 bytes: low two bits in byte j mod 8 from bit 2 (j / 8); third bit in byte 8 + j / 8, bit j mod 8
 */
import { KvForm, Part, Size } from "../memory/status";
import { channelBytes } from "../sections/channels";

/** How the codes of a form lie. */
// @ts-ignore: decorator
@inline
export function codesForm(form: KvForm): KvForm {
  return form == KvForm.Q4_CHANNELS ? KvForm.Q4 : form == KvForm.Q3_CHANNELS ? KvForm.Q3 : form;
}

/** Fewer than 8 bits. */
// @ts-ignore: decorator
@inline
export function isFew(form: KvForm): bool {
  return form > KvForm.Q8 && form != KvForm.Q8_PLANES;
}

// @ts-ignore: decorator
@inline
export function hasChannels(form: KvForm): bool {
  return form == KvForm.Q4_CHANNELS || form == KvForm.Q3_CHANNELS;
}

/** Groups of dims with a scale of their own. */
// @ts-ignore: decorator
@inline
export function groupsOf(dim: u32, group: u32): u32 {
  return (dim + group - 1) / group;
}

/** Bytes of a block of 32 codes. */
// @ts-ignore: decorator
@inline
export function blockBytes(form: KvForm): u32 {
  const codes = codesForm(form);
  return codes == KvForm.Q4 ? 16 : codes == KvForm.Q3 ? 12 : 32;
}

/** A minimum for each token and group. */
// @ts-ignore: decorator
@inline
export function hasMinima(form: KvForm): bool {
  return form == KvForm.Q4 || form == KvForm.Q3;
}

/** Bytes of the codes of 32 slots. */
// @ts-ignore: decorator
@inline
export function codesBytes(form: KvForm, dim: u32): u32 {
  return ((dim + 15) & ~15) * blockBytes(form);
}

/** Bytes of one group's scales: f16 for 32 slots. */
export const SCALES_BYTES: u32 = 64;

export function packedBytes(form: KvForm, dim: u32, group: u32): u32 {
  if (hasChannels(form)) return codesBytes(form, dim) + channelBytes(dim);
  return codesBytes(form, dim) + (groupsOf(dim, group) * SCALES_BYTES << <u32>hasMinima(form));
}

/** What is added to the code of a key in bytes. */
export const KEY_ZERO: i32 = 64;

/** Number of the block that holds dim d of a slot. */
// @ts-ignore: decorator
@inline
function blockOf(part: Part, slot: u32, d: u32, dim: u32): u32 {
  return part == Part.KEYS ? (slot >> 3) * keyQuads(dim) + (d >> 2) : (d >> 3) * 8 + (slot >> 2);
}

/** Fours of a key's dims, with what pads them. */
// @ts-ignore: decorator
@inline
export function keyQuads(dim: u32): u32 {
  return ((dim + 15) & ~15) >> 2;
}

/** A code's place in its block: 4 i + e. */
// @ts-ignore: decorator
@inline
function placeOf(part: Part, slot: u32, d: u32): u32 {
  return part == Part.KEYS ? ((slot & 7) << 2) + (d & 3) : ((d & 7) << 2) + (slot & 3);
}

/** Code of dim d of a slot; `codes` begins the part. */
export function codeAt(codes: usize, form: KvForm, part: Part, slot: u32, d: u32, dim: u32): i32 {
  if (form == KvForm.Q8_PLANES) {
    const low = codes + (codesBytes(form, dim) >> 1);
    return 16 * codeAt(codes, KvForm.Q4, part, slot, d, dim) + codeAt(low, KvForm.Q4, part, slot, d, dim) - KEY_ZERO;
  }
  form = codesForm(form);
  const block = codes + blockOf(part, slot, d, dim) * blockBytes(form);
  const j = placeOf(part, slot, d);
  if (form == KvForm.Q8) return part == Part.KEYS ? <i32>load<u8>(block + j) - KEY_ZERO : <i32>load<i8>(block + j);
  if (form == KvForm.Q4) return (load<u8>(block + (j & 15)) >> <u8>((j >> 4) << 2)) & 15;
  return ((load<u8>(block + (j & 7)) >> <u8>(2 * (j >> 3))) & 3) | (((load<u8>(block + 8 + (j >> 3)) >> <u8>(j & 7)) & 1) << 2);
}

/** Adds a code to a block whose place for it is zero; bytes are overwritten. */
export function putCode(codes: usize, form: KvForm, part: Part, slot: u32, d: u32, dim: u32, code: i32): void {
  if (form == KvForm.Q8_PLANES) {
    putCode(codes, KvForm.Q4, part, slot, d, dim, (code + KEY_ZERO) >> 4);
    putCode(codes + (codesBytes(form, dim) >> 1), KvForm.Q4, part, slot, d, dim, (code + KEY_ZERO) & 15);
    return;
  }
  form = codesForm(form);
  const block = codes + blockOf(part, slot, d, dim) * blockBytes(form);
  const j = placeOf(part, slot, d);
  if (form == KvForm.Q8) store<u8>(block + j, <u8>(part == Part.KEYS ? code + KEY_ZERO : code));
  else if (form == KvForm.Q4) {
    const at = block + (j & 15);
    store<u8>(at, <u8>(<i32>load<u8>(at) | (code << ((j >> 4) << 2))));
  } else {
    const low = block + (j & 7);
    const high = block + 8 + (j >> 3);
    store<u8>(low, <u8>(load<u8>(low) | ((code & 3) << (2 * (j >> 3)))));
    store<u8>(high, <u8>(load<u8>(high) | ((code >> 2) << (j & 7))));
  }
}

/** Address of the scale of a slot's group; its minimum lies `minimumOffset` further on. */
// @ts-ignore: decorator
@inline
export function scaleAt(codes: usize, form: KvForm, slot: u32, g: u32, dim: u32): usize {
  return codes + codesBytes(form, dim) + g * SCALES_BYTES + (slot << 1);
}

// @ts-ignore: decorator
@inline
export function minimumOffset(dim: u32, group: u32): usize {
  return groupsOf(dim, group) * SCALES_BYTES;
}
