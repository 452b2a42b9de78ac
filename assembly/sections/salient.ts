/**
 * The s slots of a page that matter most at more bits: 4 bits besides the page's own, of what their codes lack.
 * https://arxiv.org/abs/2405.14256 (ZipCache: salient tokens at more bits), https://arxiv.org/abs/2403.04643 (QAQ)
 *
 *   slots: the s whose codes lack most, sum_d rest^2; of equal ones the first; keys and values have slots of their own
 *   scale = f16(absmax / 7), code = nearest-even(rest / scale) within +-7, a scale for each group of dims
 *   score_j += (f32(sum_d code c_d) * scale) * factor, groups ascending          c: the query's codes (quantize-query.ts)
 *   out_d += (w_j * scale) * code_d, slots in the order they were chosen
 *
 *   | nibbles [s][dim, whole sixteens] | f16 scale [s][groups] | u8 slot [s] |      byte i of 8: dims i (low), 8 + i; code + 8
 *
 * Not as in ZipCache: a token's salience is there its normalized attention score, which a page does not know when it closes.
 * `salienceOf` is the one place that says what salience is.
 */
import { groupsOf } from "../cache/packed-page";
import { halfToFloat, roundToHalf } from "../kernels/f16";
import { QUERY_CODES } from "../kernels/quantize-query";
import { Size } from "../memory/status";

const EIGHT: i16 = 8;

/** Bytes of one slot's nibbles. */
// @ts-ignore: decorator
@inline
function rowBytes(dim: u32): u32 {
  return ((dim + 15) & ~15) >> 1;
}

// @ts-ignore: decorator
@inline
export function salientBytes(s: u32, dim: u32, group: u32): u32 {
  return s * (rowBytes(dim) + 2 * groupsOf(dim, group) + 1);
}

// @ts-ignore: decorator
@inline
function scalesOf(section: usize, s: u32, i: u32, dim: u32, group: u32): usize {
  return section + s * rowBytes(dim) + 2 * i * groupsOf(dim, group);
}

// @ts-ignore: decorator
@inline
function slotAt(section: usize, s: u32, dim: u32, group: u32): usize {
  return section + s * (rowBytes(dim) + 2 * groupsOf(dim, group));
}

/** How much a slot matters: higher is kept. rest f32 [dim]: what its codes lack. */
function salienceOf(rest: usize, dim: u32): f32 {
  let sum: f32 = 0;
  for (let d: u32 = 0; d < dim; ++d) {
    const x = load<f32>(rest + (d << 2));
    sum = sum + x * x;
  }
  return sum;
}

/** Chooses the slots and keeps what they lack, rest f32 [32][dim]. */
export function putSalient(section: usize, s: u32, rest: usize, dim: u32, group: u32): void {
  const slots = slotAt(section, s, dim, group);
  let taken: u32 = 0;
  for (let i: u32 = 0; i < s; ++i) {
    let best: u32 = 0;
    let most: f32 = -1;
    for (let slot: u32 = 0; slot < <u32>Size.PAGE_SLOTS; ++slot) {
      if ((taken >> slot) & 1) continue;
      const salience = salienceOf(rest + ((slot * dim) << 2), dim);
      if (!(salience > most)) continue;
      best = slot;
      most = salience;
    }
    if (most < 0) while ((taken >> best) & 1) best += 1; // nothing is a number: any slot, the page is broken
    taken |= <u32>1 << best;
    store<u8>(slots + i, <u8>best);
    putRow(section + i * rowBytes(dim), scalesOf(section, s, i, dim, group), rest + ((best * dim) << 2), dim, group);
  }
}

function putRow(row: usize, scales: usize, rest: usize, dim: u32, group: u32): void {
  memory.fill(row, 0x88, rowBytes(dim));
  for (let g: u32 = 0; g < groupsOf(dim, group); ++g) {
    const end = min<u32>((g + 1) * group, dim);
    let absmax: f32 = 0;
    for (let d = g * group; d < end; ++d) absmax = max<f32>(absmax, abs<f32>(load<f32>(rest + (d << 2))));
    const bits = roundToHalf(absmax / 7);
    const scale = halfToFloat(bits);
    const inverse: f32 = scale > 0 ? <f32>1 / scale : 0;
    store<u16>(scales + 2 * g, <u16>bits);
    for (let d = g * group; d < end; ++d) {
      const code = <i32>min<f32>(max<f32>(nearest<f32>(load<f32>(rest + (d << 2)) * inverse), -7), 7) + 8;
      const at = row + ((d >> 4) << 3) + (d & 7);
      const bits = <u32>load<u8>(at);
      store<u8>(at, <u8>((d & 8) != 0 ? (bits & 15) | (code << 4) : (bits & 0xf0) | code));
    }
  }
}

// @ts-ignore: decorator
@inline
function codeAt(row: usize, d: u32): i32 {
  const bits = <i32>load<u8>(row + ((d >> 4) << 3) + (d & 7));
  return ((d & 8) != 0 ? bits >> 4 : bits & 15) - 8;
}

/** Adds what the slots lacked to their scores; `query` as quantize-query.ts has it. */
export function addSalientScores(scores: usize, section: usize, s: u32, query: usize, dim: u32, group: u32): void {
  const slots = slotAt(section, s, dim, group);
  const mask = i16x8.splat(15);
  const eight = i16x8.splat(EIGHT);
  for (let i: u32 = 0; i < s; ++i) {
    const row = section + i * rowBytes(dim);
    const scales = scalesOf(section, s, i, dim, group);
    const at = scores + (<usize>load<u8>(slots + i) << 2);
    let score = load<f32>(at);
    for (let g: u32 = 0; g < groupsOf(dim, group); ++g) {
      let dots = i32x4.splat(0);
      for (let d = g * group; d < min<u32>((g + 1) * group, dim); d += 16) {
        const bytes = v128.load8x8_u(row + (d >> 1));
        const low = i16x8.sub(v128.and(bytes, mask), eight);
        const high = i16x8.sub(i16x8.shr_u(bytes, 4), eight);
        dots = i32x4.add(dots, i32x4.dot_i16x8_s(low, v128.load(query + (d << 1), QUERY_CODES)));
        dots = i32x4.add(dots, i32x4.dot_i16x8_s(high, v128.load(query + (d << 1), QUERY_CODES + 16)));
      }
      const low = i32x4.extract_lane(dots, 0) + i32x4.extract_lane(dots, 1);
      const dot = low + i32x4.extract_lane(dots, 2) + i32x4.extract_lane(dots, 3);
      const scaled: f32 = <f32>dot * halfToFloat(load<u16>(scales + 2 * g));
      const term: f32 = scaled * load<f32>(query);
      score = score + term;
    }
    store<f32>(at, score);
  }
}

export function addSalientScoresRef(scores: usize, section: usize, s: u32, query: usize, dim: u32, group: u32): void {
  const slots = slotAt(section, s, dim, group);
  for (let i: u32 = 0; i < s; ++i) {
    const row = section + i * rowBytes(dim);
    const at = scores + (<usize>load<u8>(slots + i) << 2);
    for (let g: u32 = 0; g < groupsOf(dim, group); ++g) {
      let dot: i32 = 0;
      for (let d = g * group; d < min<u32>((g + 1) * group, dim); ++d) dot += codeAt(row, d) * <i32>load<i16>(query + (d << 1), QUERY_CODES);
      const scaled: f32 = <f32>dot * halfToFloat(load<u16>(scalesOf(section, s, i, dim, group) + 2 * g));
      const term: f32 = scaled * load<f32>(query);
      store<f32>(at, load<f32>(at) + term);
    }
  }
}

/** out [whole sixteens of dims] += what the slots lacked, under `weights` f32 [32]. */
export function addSalientValues(out: usize, section: usize, s: u32, weights: usize, dim: u32, group: u32): void {
  const slots = slotAt(section, s, dim, group);
  const mask = i16x8.splat(15);
  const eight = i16x8.splat(EIGHT);
  for (let i: u32 = 0; i < s; ++i) {
    const row = section + i * rowBytes(dim);
    const scales = scalesOf(section, s, i, dim, group);
    const weight = load<f32>(weights + (<usize>load<u8>(slots + i) << 2));
    for (let d: u32 = 0; d < dim; d += 16) {
      const term = f32x4.splat(weight * halfToFloat(load<u16>(scales + 2 * (d / group))));
      const bytes = v128.load8x8_u(row + (d >> 1));
      const low = i16x8.sub(v128.and(bytes, mask), eight);
      const high = i16x8.sub(i16x8.shr_u(bytes, 4), eight);
      const at = out + (d << 2);
      v128.store(at, f32x4.add(v128.load(at), f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(low)), term)));
      v128.store(at, f32x4.add(v128.load(at, 16), f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(low)), term)), 16);
      v128.store(at, f32x4.add(v128.load(at, 32), f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(high)), term)), 32);
      v128.store(at, f32x4.add(v128.load(at, 48), f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(high)), term)), 48);
    }
  }
}

export function addSalientValuesRef(out: usize, section: usize, s: u32, weights: usize, dim: u32, group: u32): void {
  const slots = slotAt(section, s, dim, group);
  for (let i: u32 = 0; i < s; ++i) {
    const weight = load<f32>(weights + (<usize>load<u8>(slots + i) << 2));
    for (let d: u32 = 0; d < dim; ++d) {
      const term: f32 = weight * halfToFloat(load<u16>(scalesOf(section, s, i, dim, group) + 2 * (d / group)));
      const product: f32 = <f32>codeAt(section + i * rowBytes(dim), d) * term;
      store<f32>(out + (d << 2), load<f32>(out + (d << 2)) + product);
    }
  }
}
