/**
 * From logits to a token: steps 3 to 7 of host/sampler.ts (greedy, top-k, top-p, min-p, draw), in the same order and the same
 * arithmetic, so that the same seed gives the same tokens. Where the host keeps a heap of k and floors, this pops tokens off
 * one heap of all candidates, best first: the same list.
 */
import { log64 } from "../kernels/double";
import { expWeights } from "../kernels/log-sum-exp";
import { engine } from "../memory/records";
import { need } from "./io";
import { nextRandom } from "./random";

export const enum Sampled {
  /** No token is possible. */
  NONE = -1,
  /** A logit is NaN or Infinity: the file is damaged. */
  BROKEN = -2,
}

/** As host/sampling-options.ts has them. */
@unmanaged
export class Sampling {
  temperature: f64;
  topP: f64;
  minP: f64;
  /** 0: all. */
  topK: u32;
}

/** The heap of candidates, and those chosen, u32 [vocabulary] each. */
let heap: usize = 0;
let heapSize: u32 = 0;
let chosen: usize = 0;
let logits: usize = 0;
let minGap: f64 = 0;

/** Once, before anything is sampled of n logits. */
export function openSampler(options: Sampling, n: u32): void {
  if (options.topK >= n) options.topK = 0;
  heap = need(<u64>n << 2);
  chosen = need(<u64>n << 2);
  minGap = options.minP == 0 ? -Infinity : log64(options.minP);
}

// @ts-ignore: decorator
@inline
function logit(id: u32): f32 {
  return load<f32>(logits + (<usize>id << 2));
}

// @ts-ignore: decorator
@inline
function isBetter(a: u32, b: u32): bool {
  return logit(a) > logit(b) || (logit(a) == logit(b) && a < b);
}

// @ts-ignore: decorator
@inline
function heapAt(index: u32): u32 {
  return load<u32>(heap + (<usize>index << 2));
}

function siftDown(from: u32): void {
  const id = heapAt(from);
  let at = from;
  for (let child = at * 2 + 1; child < heapSize; child = at * 2 + 1) {
    if (child + 1 < heapSize && isBetter(heapAt(child + 1), heapAt(child))) ++child;
    if (!isBetter(heapAt(child), id)) break;
    store<u32>(heap + (<usize>at << 2), heapAt(child));
    at = child;
  }
  store<u32>(heap + (<usize>at << 2), id);
}

function popBest(): u32 {
  const best = heapAt(0);
  store<u32>(heap, heapAt(--heapSize));
  if (heapSize > 1) siftDown(0);
  return best;
}

function heapify(): void {
  for (let at = heapSize >> 1; at > 0; --at) siftDown(at - 1);
}

/** The next token by n logits. */
export function sample(options: Sampling, row: usize, n: u32): i32 {
  logits = row;
  let best: i32 = Sampled.NONE;
  let max: f32 = -Infinity;
  for (let id: u32 = 0; id < n; ++id) {
    const bits = load<u32>(row + (<usize>id << 2));
    if ((bits & 0x7f800000) == 0x7f800000 && bits != 0xff800000) return Sampled.BROKEN;
    if (logit(id) > max) {
      max = logit(id);
      best = id;
    }
  }
  if (best < 0 || options.temperature == 0) return best;
  return choose(options, n, max);
}

function choose(options: Sampling, n: u32, max: f32): i32 {
  const weights = engine().scratch;
  const inverse = <f32>(1 / options.temperature);
  if (options.topK == 0 && options.topP == 1 && options.minP == 0) {
    memory.copy(weights, logits, <usize>n << 2);
    return draw(n, max, inverse);
  }
  let m: u32 = 0;
  if (options.topK > 0) m = mostLikely(options, n, max);
  else if (options.topP < 1) m = nucleus(options, n, max);
  else for (let id: u32 = 0; id < n; ++id) if (<f64>logit(id) - <f64>max >= minGap) store<u32>(chosen + (<usize>(m++) << 2), id);
  gather(m);
  const place = draw(m, max, inverse);
  return place < 0 ? place : load<i32>(chosen + (<usize>place << 2));
}

/** Logits of the chosen ones into scratch. */
function gather(n: u32): void {
  const weights = engine().scratch;
  for (let i: usize = 0; i < <usize>n << 2; i += 4) store<f32>(weights + i, logit(load<u32>(chosen + i)));
}

/** Top-k, then top-p and min-p of what it left. */
function mostLikely(options: Sampling, n: u32, max: f32): u32 {
  heapSize = 0;
  for (let id: u32 = 0; id < n; ++id) if (logit(id) > -Infinity) store<u32>(heap + (<usize>(heapSize++) << 2), id);
  heapify();
  let m: u32 = 0;
  while (m < options.topK && heapSize > 0) store<u32>(chosen + (<usize>(m++) << 2), popBest());
  if (options.topP < 1) {
    const weights = engine().scratch;
    gather(m);
    const enough = options.topP * expWeights(weights, m, max, 1);
    let sum = <f64>load<f32>(weights);
    let kept: u32 = 1;
    while (kept < m && sum < enough) sum += <f64>load<f32>(weights + (<usize>(kept++) << 2));
    m = kept;
  }
  while (m > 1 && <f64>logit(load<u32>(chosen + (<usize>(m - 1) << 2))) - <f64>max < minGap) --m;
  return m;
}

/** Top-p and min-p over all tokens. */
function nucleus(options: Sampling, n: u32, max: f32): u32 {
  const weights = engine().scratch;
  memory.copy(weights, logits, <usize>n << 2);
  const enough = options.topP * expWeights(weights, n, max, 1);
  heapSize = 0;
  for (let id: u32 = 0; id < n; ++id) {
    if (load<f32>(weights + (<usize>id << 2)) > 0 && <f64>logit(id) - <f64>max >= minGap) store<u32>(heap + (<usize>(heapSize++) << 2), id);
  }
  heapify();
  let m: u32 = 0;
  for (let sum: f64 = 0; heapSize > 0 && (m == 0 || sum < enough); ) {
    const id = popBest();
    store<u32>(chosen + (<usize>(m++) << 2), id);
    sum += <f64>load<f32>(weights + (<usize>id << 2));
  }
  return m;
}

/** The place of the drawn one among the first n values of scratch, which are logits. */
function draw(n: u32, max: f32, inverse: f32): i32 {
  const weights = engine().scratch;
  const target = nextRandom() * expWeights(weights, n, max, inverse);
  let sum: f64 = 0;
  for (let i: u32 = 0; i < n; ++i) {
    sum += <f64>load<f32>(weights + (<usize>i << 2));
    if (sum > target) return i;
  }
  return Sampled.BROKEN;
}
