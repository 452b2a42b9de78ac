/**
 * Softmax weights of one span, in place: w = exp(s - max s) over the slots [first, n) of a span of scaled scores; 0 for
 * slots before `first`, which a window hides.
 *
 * Sum in four lanes (slot i in lane i mod 4), then (l0 + l1) + (l2 + l3). Hidden scores and those from n up to the next
 * multiple of 4 are masked out, so the maximum and the sum see visible slots only. result: f32 max, f32 sum.
 */
import { exp1, exp4 } from "./exp";
import { sumLanes } from "./simd";

const MASKED: f32 = -Infinity;

export function softmaxSpan(scores: usize, first: u32, n: u32, result: usize): void {
  const end = scores + (((n + 3) & ~3) << 2);
  for (let i: u32 = 0; i < first; ++i) store<f32>(scores + (i << 2), MASKED);
  for (let i = n; i < ((n + 3) & ~3); ++i) store<f32>(scores + (i << 2), MASKED);
  let top = f32x4.splat(MASKED);
  for (let at = scores; at < end; at += 16) top = f32x4.pmax(top, v128.load(at));
  const highest = max<f32>(
    max<f32>(f32x4.extract_lane(top, 0), f32x4.extract_lane(top, 1)),
    max<f32>(f32x4.extract_lane(top, 2), f32x4.extract_lane(top, 3)),
  );
  const vmax = f32x4.splat(highest);
  let sum = f32x4.splat(0);
  for (let at = scores; at < end; at += 16) {
    const w = exp4(f32x4.sub(v128.load(at), vmax));
    sum = f32x4.add(sum, w);
    v128.store(at, w);
  }
  store<f32>(result, highest);
  store<f32>(result, sumLanes(sum), 4);
}

export function softmaxSpanRef(scores: usize, first: u32, n: u32, result: usize): void {
  let highest: f32 = MASKED;
  for (let i = first; i < n; ++i) {
    const s = load<f32>(scores + (i << 2));
    if (s > highest) highest = s;
  }
  let l0: f32 = 0;
  let l1: f32 = 0;
  let l2: f32 = 0;
  let l3: f32 = 0;
  for (let i: u32 = 0; i < ((n + 3) & ~3); ++i) {
    const w: f32 = i >= first && i < n ? exp1(load<f32>(scores + (i << 2)) - highest) : 0;
    store<f32>(scores + (i << 2), w);
    const lane = i & 3;
    if (lane == 0) l0 += w;
    else if (lane == 1) l1 += w;
    else if (lane == 2) l2 += w;
    else l3 += w;
  }
  store<f32>(result, highest);
  store<f32>(result, l0 + l1 + (l2 + l3), 4);
}
