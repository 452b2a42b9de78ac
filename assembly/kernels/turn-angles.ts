/**
 * The rotation by a shift of fewer than 2^24 positions, from the rotations by its digits: a head that was compacted needs one for
 * each of its pages, where cosines and sines of their own would cost more than the page's attention.
 *
 *   shift = d_0 + 64 d_1 + 64^2 d_2 + 64^3 d_3
 *   r_l = cos + i sin of (64^l d_l) * frequency;   r = ((r_3 r_2) r_1) r_0 in f64:
 *   (c + i s)(c' + i s') = (c c' - s s') + i (s c' + c s')
 *
 * Turns of a RopeTable: [4 levels][64 digits], each d/2 cosines, then d/2 sines, f64. Without them the digits' rotations are
 * computed anew: the same bits. d (the rotated dims) is a multiple of 8.
 */
import { RopeTable } from "../memory/records";
import { cosSin64 } from "./double";

const DIGIT_BITS: u32 = 6;
const DIGITS: u32 = 1 << DIGIT_BITS;
const LEVELS: u32 = 4;

/** Bytes of a table's turns. */
export function turnsBytes(d: u32): usize {
  return (<usize>LEVELS * DIGITS * d) << 3;
}

/** Fills `table.turns`; `scratch` holds two f64. */
export function fillTurns(table: RopeTable, d: u32, scratch: usize): void {
  let out = table.turns;
  for (let level: u32 = 0; level < LEVELS; ++level) {
    for (let digit: u32 = 0; digit < DIGITS; ++digit, out += <usize>d << 3) {
      const positions = <f64>(digit << (DIGIT_BITS * level));
      for (let i: u32 = 0; i < d >> 1; ++i) {
        cosSin64(scratch, positions * load<f64>(table.frequencies + (i << 3)));
        store<f64>(out + (i << 3), load<f64>(scratch));
        store<f64>(out + (((d >> 1) + i) << 3), load<f64>(scratch, 8));
      }
    }
  }
}

/** Where the turns have digit `level` of a shift. */
// @ts-ignore: decorator
@inline
function digitAt(turns: usize, shift: u32, level: u32, d: u32): usize {
  return turns + ((<usize>(level * DIGITS + ((shift >> (DIGIT_BITS * level)) & (DIGITS - 1))) * d) << 3);
}

/** d/2 cosines of shift * frequency, then minus its sines, f32 each rounded once; `scratch` holds two f64. */
export function turnAngles(out: usize, table: RopeTable, shift: u32, d: u32, scratch: usize): void {
  if (table.turns == 0) return turnAnglesRef(out, table, shift, d, scratch);
  const half = <usize>d << 2;
  let low = digitAt(table.turns, shift, 0, d);
  let second = digitAt(table.turns, shift, 1, d);
  let third = digitAt(table.turns, shift, 2, d);
  let high = digitAt(table.turns, shift, 3, d);
  for (const end = low + half; low < end; low += 16, second += 16, third += 16, high += 16, out += 8) {
    let c = v128.load(high);
    let s = v128.load(high + half);
    let c1 = v128.load(third);
    let s1 = v128.load(third + half);
    let next = f64x2.sub(f64x2.mul(c, c1), f64x2.mul(s, s1));
    s = f64x2.add(f64x2.mul(s, c1), f64x2.mul(c, s1));
    c = next;
    c1 = v128.load(second);
    s1 = v128.load(second + half);
    next = f64x2.sub(f64x2.mul(c, c1), f64x2.mul(s, s1));
    s = f64x2.add(f64x2.mul(s, c1), f64x2.mul(c, s1));
    c = next;
    c1 = v128.load(low);
    s1 = v128.load(low + half);
    next = f64x2.sub(f64x2.mul(c, c1), f64x2.mul(s, s1));
    s = f64x2.add(f64x2.mul(s, c1), f64x2.mul(c, s1));
    v128.store64_lane(out, f32x4.demote_f64x2_zero(next), 0);
    v128.store64_lane(out + (half >> 1), f32x4.neg(f32x4.demote_f64x2_zero(s)), 0);
  }
}

export function turnAnglesRef(out: usize, table: RopeTable, shift: u32, d: u32, scratch: usize): void {
  for (let i: u32 = 0; i < d >> 1; ++i) {
    const frequency = load<f64>(table.frequencies + (i << 3));
    let c: f64 = 1;
    let s: f64 = 0;
    for (let level: i32 = LEVELS - 1; level >= 0; --level) {
      const bits = DIGIT_BITS * level;
      cosSin64(scratch, <f64>(((shift >> bits) & (DIGITS - 1)) << bits) * frequency);
      const c1 = load<f64>(scratch);
      const s1 = load<f64>(scratch, 8);
      const next = c * c1 - s * s1;
      s = s * c1 + c * s1;
      c = next;
    }
    store<f32>(out + (i << 2), <f32>c);
    store<f32>(out + (((d >> 1) + i) << 2), -(<f32>s));
  }
}
