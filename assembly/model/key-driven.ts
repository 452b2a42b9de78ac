/**
 * Key-driven head sharing: each token's query heads are dealt to the KV heads by the norms of all keys so far, its own
 * included. https://arxiv.org/abs/2408.08454 (KDGQA), f64:
 *
 *   n_g = |keys of head g|;  a_g = round-half-even((n_g - min n) * nHeads / sum over h of (n_h - min n))
 *   while sum(a) > nHeads: the largest a_g (first of equals) loses one; while sum(a) < nHeads: the smallest (first) gains one
 *
 * (The paper divides n_g - min n by max n - min n first; that cancels, and would not in arithmetic where norms are near.)
 * Query heads go in order: the first a_0 to head 0, and so on. Equal norms share evenly, the first heads taking what is
 * left over. The paper takes the norms over a whole input; over the keys so far is the form that decoding can have.
 */
import { headOf } from "../cache/heads";
import { Layer, Session } from "../memory/records";

/** Shares u32 [nKvHeads] of a layer's query heads, in head order. */
export function keyDrivenShares(shares: usize, session: Session, layer: Layer): void {
  const nKvHeads = layer.nKvHeads;
  let least: f64 = Infinity;
  for (let g: u32 = 0; g < nKvHeads; ++g) least = min<f64>(least, normOf(session, layer, g));
  let sum: f64 = 0;
  for (let g: u32 = 0; g < nKvHeads; ++g) sum += normOf(session, layer, g) - least;
  const isEven = !(sum > 0);
  let dealt: i32 = 0;
  for (let g: u32 = 0; g < nKvHeads; ++g) {
    const above = normOf(session, layer, g) - least;
    const share = isEven ? layer.nHeads / nKvHeads : <u32>nearest<f64>((above * <f64>layer.nHeads) / sum);
    store<u32>(shares + (g << 2), share);
    dealt += share;
  }
  for (; dealt > <i32>layer.nHeads; --dealt) change(shares, extreme(shares, nKvHeads, true), -1);
  for (; dealt < <i32>layer.nHeads; ++dealt) change(shares, extreme(shares, nKvHeads, false), 1);
}

// @ts-ignore: decorator
@inline
function normOf(session: Session, layer: Layer, g: u32): f64 {
  return sqrt<f64>(headOf(session, layer.firstHead + g).keySquares);
}

/** The first of the largest, or of the smallest, shares. */
function extreme(shares: usize, n: u32, largest: bool): u32 {
  let best: u32 = 0;
  for (let g: u32 = 1; g < n; ++g) {
    const a = load<u32>(shares + (g << 2));
    const b = load<u32>(shares + (best << 2));
    if (largest ? a > b : a < b) best = g;
  }
  return best;
}

function change(shares: usize, g: u32, by: i32): void {
  store<u32>(shares + (g << 2), load<u32>(shares + (g << 2)) + by);
}
