/**
 * Weighted sums of values over the slots of a span, f32 pages, slots ascending, one lane per dim. `layout` is the offset of
 * the first dim in a page (high word) and the bytes of a slot's value (low word).
 */
import { pageAt } from "../cache/page";
import { HeadView } from "../memory/records";
import { Size } from "../memory/status";
import { SCORES_BYTES } from "./scores-f32";

/** o[dim .. dim + 4 vectors) of one head over the span's slots [first, first + n). */
// @ts-ignore: decorator
@inline
function values1(out: usize, weights: usize, head: HeadView, first: u32, n: u32, layout: u64, vectors: u32): void {
  const offset = <usize>(layout >> 32);
  const step: usize = vectors << 4;
  let a0 = f32x4.splat(0);
  let a1 = a0;
  let a2 = a0;
  let a3 = a0;
  for (let done: u32 = 0; done < n; done += Size.PAGE_SLOTS) {
    let v = pageAt(head, first + done) + offset;
    const count = min<u32>(Size.PAGE_SLOTS, n - done);
    for (let end = weights + (count << 2); weights < end; weights += 4, v += step) {
      const w = v128.load32_splat(weights);
      a0 = f32x4.add(a0, f32x4.mul(v128.load(v), w));
      if (vectors == 4) {
        a1 = f32x4.add(a1, f32x4.mul(v128.load(v, 16), w));
        a2 = f32x4.add(a2, f32x4.mul(v128.load(v, 32), w));
        a3 = f32x4.add(a3, f32x4.mul(v128.load(v, 48), w));
      }
    }
  }
  v128.store(out, a0);
  if (vectors == 4) {
    v128.store(out, a1, 16);
    v128.store(out, a2, 32);
    v128.store(out, a3, 48);
  }
}

export function values16(out: usize, weights: usize, head: HeadView, first: u32, n: u32, layout: u64): void {
  values1(out, weights, head, first, n, layout, 4);
}

export function values4(out: usize, weights: usize, head: HeadView, first: u32, n: u32, layout: u64): void {
  values1(out, weights, head, first, n, layout, 1);
}

/** The same for three heads and 16 dims; outputs `step` bytes (valueDim f32) apart. */
export function values16x3(out: usize, weights: usize, head: HeadView, first: u32, n: u32, layout: u64): void {
  const offset = <usize>(layout >> 32);
  const step = <usize>(layout & 0xffffffff);
  let a0 = f32x4.splat(0);
  let a1 = a0;
  let a2 = a0;
  let a3 = a0;
  let b0 = a0;
  let b1 = a0;
  let b2 = a0;
  let b3 = a0;
  let c0 = a0;
  let c1 = a0;
  let c2 = a0;
  let c3 = a0;
  for (let done: u32 = 0; done < n; done += Size.PAGE_SLOTS) {
    let v = pageAt(head, first + done) + offset;
    const count = min<u32>(Size.PAGE_SLOTS, n - done);
    for (let end = weights + (count << 2); weights < end; weights += 4, v += 64) {
      const wa = v128.load32_splat(weights);
      const wb = v128.load32_splat(weights, SCORES_BYTES);
      const wc = v128.load32_splat(weights, 2 * SCORES_BYTES);
      let value = v128.load(v);
      a0 = f32x4.add(a0, f32x4.mul(value, wa));
      b0 = f32x4.add(b0, f32x4.mul(value, wb));
      c0 = f32x4.add(c0, f32x4.mul(value, wc));
      value = v128.load(v, 16);
      a1 = f32x4.add(a1, f32x4.mul(value, wa));
      b1 = f32x4.add(b1, f32x4.mul(value, wb));
      c1 = f32x4.add(c1, f32x4.mul(value, wc));
      value = v128.load(v, 32);
      a2 = f32x4.add(a2, f32x4.mul(value, wa));
      b2 = f32x4.add(b2, f32x4.mul(value, wb));
      c2 = f32x4.add(c2, f32x4.mul(value, wc));
      value = v128.load(v, 48);
      a3 = f32x4.add(a3, f32x4.mul(value, wa));
      b3 = f32x4.add(b3, f32x4.mul(value, wb));
      c3 = f32x4.add(c3, f32x4.mul(value, wc));
    }
  }
  v128.store(out, a0);
  v128.store(out, a1, 16);
  v128.store(out, a2, 32);
  v128.store(out, a3, 48);
  v128.store(out + step, b0);
  v128.store(out + step, b1, 16);
  v128.store(out + step, b2, 32);
  v128.store(out + step, b3, 48);
  v128.store(out + 2 * step, c0);
  v128.store(out + 2 * step, c1, 16);
  v128.store(out + 2 * step, c2, 32);
  v128.store(out + 2 * step, c3, 48);
}
