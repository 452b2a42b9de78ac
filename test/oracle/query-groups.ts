/**
 * Which query heads share which KV head: evenly (https://arxiv.org/abs/2305.13245), or by the norms of the keys (KDGQA,
 * https://arxiv.org/abs/2408.08454), in f64 from the paper's formulas.
 * @module
 */

/** The nearest integer; of two equally near ones the even one. */
export function roundHalfEven(x: number): number {
  const below = Math.floor(x);
  const over = x - below;
  if (over !== 0.5) return over < 0.5 ? below : below + 1;
  return below % 2 === 0 ? below : below + 1;
}

/**
 * What each KV head would get if query heads could be split: min-max normalised norms over their sum, times the query heads.
 * The range of the norms cancels out, which makes integer norms exact. Undefined where all norms are equal.
 */
export function fairParts(norms: readonly number[], nHeads: number): number[] | undefined {
  const least = Math.min(...norms);
  const sum = norms.reduce((total, norm) => total + (norm - least), 0);
  return sum > 0 ? norms.map((norm) => ((norm - least) * nHeads) / sum) : undefined;
}

/**
 * Number of query heads of each KV head. Rounding may deal too many or too few: the largest share, the first of equals,
 * then loses one at a time, or the smallest, the first of equals, gains one. Equal norms: even shares, what is left over to
 * the first heads.
 */
export function keyDrivenShares(norms: readonly number[], nHeads: number): number[] {
  const shares = fairParts(norms, nHeads)?.map(roundHalfEven);
  if (shares === undefined) {
    return norms.map((_, g) => Math.floor(nHeads / norms.length) + (g < nHeads % norms.length ? 1 : 0));
  }
  for (;;) {
    const dealt = shares.reduce((sum, share) => sum + share, 0);
    if (dealt === nHeads) return shares;
    if (dealt > nHeads) shares[shares.indexOf(Math.max(...shares))]! -= 1;
    else shares[shares.indexOf(Math.min(...shares))]! += 1;
  }
}

/** L2 norms of each KV head's keys up to and with each token; keys [token][KV head][dim]. */
export function keyNorms(keys: readonly (readonly (readonly number[])[])[]): number[][] {
  const squares = keys[0]!.map(() => 0);
  return keys.map((heads) => {
    heads.forEach((key, g) => {
      squares[g]! += key.reduce((sum, x) => sum + x * x, 0);
    });
    return squares.map(Math.sqrt);
  });
}

/** The KV head of each query head: the first `shares[0]` query heads take KV head 0, and so on. */
export function groupsOf(shares: readonly number[]): number[] {
  return shares.flatMap((share, g) => Array<number>(share).fill(g));
}
