/**
 * Key-driven head sharing: each token's query heads are dealt to the KV heads by the norms of all keys so far, its own
 * included. https://arxiv.org/abs/2408.08454 (KDGQA), f64:
 *
 *   n_g = |keys of head g|;  s_g = (n_g - min n) / (max n - min n);  a_g = round-half-even(s_g / sum(s) * nHeads)
 *   while sum(a) > nHeads: the largest a_g (first of equals) loses one; while sum(a) < nHeads: the smallest (first) gains one
 *
 * Query heads go in order: the first a_0 to head 0, and so on. Equal norms share evenly, the first heads taking what is
 * left over. The paper takes the norms over a whole input; over the keys so far is the form that decoding can have.
 */
import { headOf } from "../cache/session";
import { Layer, Session } from "../memory/records";

/** Shares u32 [nKvHeads] of a layer's query heads, in head order. */
export function keyDrivenShares(shares: usize, session: Session, layer: Layer): void {
  const nKvHeads = layer.nKvHeads;
  let least: f64 = Infinity;
  let most: f64 = -Infinity;
  let total: f64 = 0;
  for (let g: u32 = 0; g < nKvHeads; ++g) {
    const norm = sqrt<f64>(headOf(session, layer.firstHead + g).keySquares);
    least = min<f64>(least, norm);
    most = max<f64>(most, norm);
    total += norm;
  }
  const isEven = !(most > least);
  const sum = isEven ? <f64>nKvHeads : (total - <f64>nKvHeads * least) / (most - least);
  let dealt: i32 = 0;
  for (let g: u32 = 0; g < nKvHeads; ++g) {
    const norm = sqrt<f64>(headOf(session, layer.firstHead + g).keySquares);
    const part = isEven ? 1 : (norm - least) / (most - least);
    const share = isEven ? layer.nHeads / nKvHeads : <u32>nearest<f64>((part / sum) * <f64>layer.nHeads);
    store<u32>(shares + (g << 2), share);
    dealt += share;
  }
  for (; dealt > <i32>layer.nHeads; --dealt) change(shares, extreme(shares, nKvHeads, true), -1);
  for (; dealt < <i32>layer.nHeads; ++dealt) change(shares, extreme(shares, nKvHeads, false), 1);
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
