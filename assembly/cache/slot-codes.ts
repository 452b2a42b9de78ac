/**
 * Codes of one slot (drawing: packed-page.ts), several dims at once: what `codeAt` and `putCode` do one by one, which is the
 * reference. Of keys four dims of a slot are four bytes, or nibbles of them, side by side; of values a byte of each 32-bit word
 * is a slot's, so that a shift of the words moves or widens four dims.
 *
 *   keys:   Q8 u32 = dims 4q .. 4q + 3                values: Q8 byte of word i = dim i of eight
 *           Q4 the same u32, lower or upper nibbles           Q4 byte of word i = dim i and, in its upper nibble, dim i + 4
 */
import { KvForm, Part } from "../memory/status";
import { blockBytes, codeAt, codesBytes, KEY_ZERO, keyQuads, putCode } from "./packed-page";

const NIBBLES: u32 = 0x0f0f0f0f;

/** Address of the u32 that has four dims of a key, the first of them a multiple of 4; two slots share it in 4 bits. */
// @ts-ignore: decorator
@inline
function keyWord(codes: usize, form: KvForm, slot: u32, d: u32, dim: u32): usize {
  const block = codes + ((slot >> 3) * keyQuads(dim) + (d >> 2)) * blockBytes(form);
  return block + ((form == KvForm.Q8 ? slot & 7 : slot & 3) << 2);
}

/** How far up the nibbles of a slot's key are. */
// @ts-ignore: decorator
@inline
function keyShift(slot: u32): u32 {
  return slot & 4;
}

/** Address of the block that has eight dims of a value, the first of them a multiple of 8. */
// @ts-ignore: decorator
@inline
function valueBlock(codes: usize, form: KvForm, slot: u32, d: u32): usize {
  return codes + (d + (slot >> 2)) * blockBytes(form);
}

/** What is in a slot's byte of each word, in the word's highest byte. */
// @ts-ignore: decorator
@inline
function slotBytes(words: v128, slot: u32): v128 {
  return i32x4.shl(words, 24 - ((slot & 3) << 3));
}

/** Adds a slot's bytes of words at `from` to those at `to`, at another slot. */
// @ts-ignore: decorator
@inline
function moveBytes(to: usize, toSlot: u32, from: usize, slot: u32): void {
  const bytes = i32x4.shr_u(slotBytes(v128.load(from), slot), 24);
  v128.store(to, v128.or(v128.load(to), i32x4.shl(bytes, (toSlot & 3) << 3)));
}

/** Codes of a slot's key or value go to a slot of another page of the form, whose place for them is zero. */
export function copyCodes(to: usize, toSlot: u32, from: usize, slot: u32, form: KvForm, part: Part, dim: u32): void {
  if (form == KvForm.Q8_PLANES) {
    const low = codesBytes(form, dim) >> 1;
    copyCodes(to, toSlot, from, slot, KvForm.Q4, part, dim);
    copyCodes(to + low, toSlot, from + low, slot, KvForm.Q4, part, dim);
  } else if (form != KvForm.Q8 && form != KvForm.Q4) copyCodesRef(to, toSlot, from, slot, form, part, dim);
  else if (part == Part.VALUES) {
    for (let d: u32 = 0; d < dim; d += 8) {
      const into = valueBlock(to, form, toSlot, d);
      const block = valueBlock(from, form, slot, d);
      moveBytes(into, toSlot, block, slot);
      if (form == KvForm.Q8) moveBytes(into + 16, toSlot, block + 16, slot);
    }
  } else {
    for (let d: u32 = 0; d < dim; d += 4) {
      const into = keyWord(to, form, toSlot, d, dim);
      const codes = load<u32>(keyWord(from, form, slot, d, dim));
      if (form == KvForm.Q8) store<u32>(into, codes);
      else store<u32>(into, load<u32>(into) | (((codes >> keyShift(slot)) & NIBBLES) << keyShift(toSlot)));
    }
  }
}

export function copyCodesRef(to: usize, toSlot: u32, from: usize, slot: u32, form: KvForm, part: Part, dim: u32): void {
  for (let d: u32 = 0; d < dim; ++d) putCode(to, form, part, toSlot, d, dim, codeAt(from, form, part, slot, d, dim));
}

/** Four bytes as i32. */
// @ts-ignore: decorator
@inline
function widened(bytes: u32): v128 {
  return i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(i32x4.splat(bytes)));
}

// @ts-ignore: decorator
@inline
function keyNibbles(codes: usize, slot: u32, d: u32, dim: u32): u32 {
  return (load<u32>(keyWord(codes, KvForm.Q4, slot, d, dim)) >> keyShift(slot)) & NIBBLES;
}

// @ts-ignore: decorator
@inline
function storeScaled(out: usize, codes: v128, scale: f32, minimum: f32): void {
  v128.store(out, f32x4.add(f32x4.mul(f32x4.convert_i32x4_s(codes), f32x4.splat(scale)), f32x4.splat(minimum)));
}

/** out[d - first] = code * scale + minimum for dims [first, end) of a slot, first a multiple of 8. */
export function scaleCodes(
  out: usize, codes: usize, form: KvForm, part: Part, slot: u32, first: u32, end: u32, dim: u32, scale: f32, minimum: f32,
): void {
  let d = first;
  if (part == Part.KEYS && (form == KvForm.Q8 || form == KvForm.Q8_PLANES)) {
    const low = codes + (codesBytes(form, dim) >> 1);
    for (; d + 4 <= end; d += 4, out += 16) {
      const x = form == KvForm.Q8
        ? load<u32>(keyWord(codes, form, slot, d, dim))
        : (keyNibbles(codes, slot, d, dim) << 4) | keyNibbles(low, slot, d, dim);
      storeScaled(out, i32x4.sub(widened(x), i32x4.splat(KEY_ZERO)), scale, minimum);
    }
  } else if (part == Part.KEYS && form == KvForm.Q4) {
    for (; d + 4 <= end; d += 4, out += 16) storeScaled(out, widened(keyNibbles(codes, slot, d, dim)), scale, minimum);
  } else if (part == Part.VALUES && (form == KvForm.Q8 || form == KvForm.Q4)) {
    for (; d + 8 <= end; d += 8, out += 32) {
      const block = valueBlock(codes, form, slot, d);
      const bytes = slotBytes(v128.load(block), slot);
      if (form == KvForm.Q8) {
        storeScaled(out, i32x4.shr_s(bytes, 24), scale, minimum);
        storeScaled(out + 16, i32x4.shr_s(slotBytes(v128.load(block, 16), slot), 24), scale, minimum);
      } else {
        storeScaled(out, i32x4.shr_u(i32x4.shl(bytes, 4), 28), scale, minimum);
        storeScaled(out + 16, i32x4.shr_u(bytes, 28), scale, minimum);
      }
    }
  }
  scaleCodesRef(out, codes, form, part, slot, d, end, dim, scale, minimum);
}

export function scaleCodesRef(
  out: usize, codes: usize, form: KvForm, part: Part, slot: u32, first: u32, end: u32, dim: u32, scale: f32, minimum: f32,
): void {
  for (let d = first; d < end; ++d) {
    store<f32>(out + ((d - first) << 2), <f32>codeAt(codes, form, part, slot, d, dim) * scale + minimum);
  }
}
