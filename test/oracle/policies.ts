/**
 * The policies' formulas in f64, from keys, values and queries of one layer; kvpress is the reference. Higher is kept.
 * @module
 */

import { rotate } from "./decoder.ts";
import { firstEigenvector64 } from "./eigenvectors.ts";
import { ropeAngle64 } from "./elementwise.ts";

export type Rows = readonly (readonly number[])[];

const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, x, i) => sum + x * b[i]!, 0);
const norm = (a: readonly number[]): number => Math.sqrt(dot(a, a));
const mean = (a: readonly number[]): number => a.reduce((sum, x) => sum + x, 0) / a.length;

export const keyNorm64 = (keys: Rows): number[] => keys.map((key) => -norm(key));

/** @param unit - false: the anchor is the mean of the keys themselves, which KeyDiff does not take */
export function keyDiff64(keys: Rows, unit = true): number[] {
  const anchor = keys[0]!.map((_, d) => mean(keys.map((key) => key[d]! / (unit ? norm(key) : 1))));
  return keys.map((key) => -dot(key, anchor) / (norm(key) * norm(anchor)));
}

/** Attention of the last rows' queries (of one head) to all keys, causal: [rows][keys]. */
export function windowAttention64(queries: Rows, keys: Rows): number[][] {
  return queries.map((q, r) => {
    const end = keys.length - (queries.length - 1 - r);
    const scores = keys.slice(0, end).map((key) => dot(q, key) / Math.sqrt(q.length));
    const highest = Math.max(...scores);
    const weights = scores.map((score) => Math.exp(score - highest));
    const sum = weights.reduce((a, b) => a + b, 0);
    return keys.map((_, j) => (j < end ? weights[j]! / sum : 0));
  });
}

/** What all queries give each key: the mean over those that see it and the heads, or the sum. Queries of each head. */
export function observed64(heads: readonly Rows[], keys: Rows, isMean = true): number[] {
  const attention = heads.flatMap((queries) => windowAttention64(queries, keys));
  return keys.map((_, j) => {
    const sum = attention.reduce((total, weights) => total + weights[j]!, 0);
    return isMean ? sum / ((keys.length - j) * heads.length) : sum;
  });
}

/** @param heads - queries of each head of the group */
export function snapKv64(heads: readonly Rows[], keys: Rows, kernel: number): number[] {
  const rows = heads[0]!.length;
  const n = keys.length - rows;
  const attention = heads.flatMap((queries) => windowAttention64(queries, keys));
  const summed = keys.map((_, j) => (j < n ? mean(attention.map((weights) => weights[j]!)) : 0));
  return keys.map((_, j) => {
    if (j >= n) return Number.POSITIVE_INFINITY;
    let sum = 0;
    for (let i = j - Math.floor(kernel / 2); i <= j + Math.floor(kernel / 2); ++i)
      sum += i >= 0 && i < n ? summed[i]! : 0;
    return sum / kernel;
  });
}

/** @param groups - newest query of each head, by KV head; keys by KV head */
export function tova64(groups: readonly Rows[], keys: readonly Rows[]): number[] {
  const attention = groups.flatMap((queries, kv) => queries.map((q) => windowAttention64([q], keys[kv]!)[0]!));
  const last = keys[0]!.length - 1;
  return keys[0]!.map((_, j) =>
    j === last ? Number.POSITIVE_INFINITY : mean(attention.map((weights) => weights[j]!)),
  );
}

export function lagKv64(keys: Rows, values: Rows, sinks: number, lag: number): number[] {
  const n = keys.length;
  if (n < sinks + 2 * lag) return keys.map((_, j) => (j < sinks ? 2 : (j - sinks) / (n - sinks)));
  const scores: number[] = keys.map((_, j) => (j < sinks ? 2 : 1));
  const partitions = Math.floor((n - sinks) / lag);
  for (let p = 0; p + 1 < partitions; ++p) {
    const first = sinks + p * lag;
    const parts = [keys, values].map((rows) => {
      const next = rows.slice(first + lag, first + 2 * lag);
      const [low, high] = [Math.min, Math.max].map((pick) =>
        next[0]!.map((_, d) => pick(...next.map((row) => row[d]!))),
      );
      const deviations = rows.slice(first, first + lag).map((row) => {
        const y = row.map((x, d) => (x - low![d]!) / (high![d]! - low![d]!));
        return Math.sqrt(y.reduce((sum, x) => sum + (x - mean(y)) ** 2, 0) / (y.length - 1));
      });
      const exps = deviations.map(Math.exp);
      return exps.map((x) => x / exps.reduce((a, b) => a + b, 0));
    });
    const both = parts[0]!.map((x, j) => (x + parts[1]![j]!) / 2);
    both.forEach((x, j) => {
      scores[first + j] = both.filter((y, i) => y < x || (y === x && i < j)).length / lag;
    });
  }
  return scores;
}

/** @param counted - false: each query counts the same, which FINCH does not do */
export function finch64(heads: readonly Rows[], keys: Rows, counted = true): number[] {
  const rows = heads[0]!.length;
  const n = keys.length - rows;
  const attention = heads.map((queries) => windowAttention64(queries, keys));
  return keys.map((_, j) => {
    if (j >= n) return Number.POSITIVE_INFINITY;
    return attention
      .flatMap((weights) => weights.map((row, r) => row[j]! * (counted ? n + r : 1)))
      .reduce((a, b) => a + b, 0);
  });
}

/** Slots of the chunks that stay, from SnapKV's scores of a layer's KV heads; -1 where a slot goes, 1 where it stays. */
export function chunkKv64(scores: readonly (readonly number[])[], chunk: number, share: number): number[] {
  const n = scores[0]!.length;
  const top = Math.max(...scores.flatMap((of) => of.filter(Number.isFinite))) + 1;
  const means = Array.from({ length: Math.ceil(n / chunk) }, (_, c) => {
    const slots = Array.from({ length: Math.min(chunk, n - c * chunk) }, (_, i) => c * chunk + i);
    return mean(slots.map((j) => scores.reduce((sum, of) => sum + Math.min(of[j]!, top), 0)));
  });
  const order = means.map((_, c) => c).sort((a, b) => means[b]! - means[a]!);
  const stays = new Set(order.slice(0, Math.max(1, Math.floor(means.length * share))));
  return scores[0]!.map((_, j) => (stays.has(Math.floor(j / chunk)) ? 1 : -1));
}

/** Area under the cumulated attention of the mean query to the mean key at 500 positions; queries and keys before RoPE. */
export function duoScore64(heads: readonly Rows[], keys: Rows): number {
  const average = (rows: Rows): number[] => rows[0]!.map((_, d) => mean(rows.map((row) => row[d]!)));
  const placed = Array.from({ length: 500 }, (_, p) => rotate(average(keys), p));
  return mean(
    heads.map((queries) => {
      const weights = windowAttention64([rotate(average(queries), 499)], placed)[0]!;
      return mean(weights.map((_, j) => weights.slice(0, j + 1).reduce((a, b) => a + b, 0)));
    }),
  );
}

/** Attention to places of the same token, or to what came after those; of a sequence of `period` tokens over and over. */
export function lookScores64(
  heads: readonly Rows[],
  keys: Rows,
  period: number,
  which: "both" | "echo" | "induction",
): number {
  const scores = heads.map((queries) => {
    const rows = windowAttention64(queries, keys).slice(period);
    const look = (ahead: number): number =>
      mean(
        rows.map((row, r) => {
          const isLooked = (j: number): boolean => j >= ahead && j < r + period && (r + ahead - j) % period === 0;
          return row.reduce((sum, weight, j) => sum + (isLooked(j) ? weight : 0), 0);
        }),
      );
    const [echo, induction] = [look(0), look(1)];
    return which === "both" ? Math.max(echo, induction) : which === "echo" ? echo : induction;
  });
  return Math.max(...scores);
}

/** Numbers that look random, as assembly/policy/leverage.ts has them: [dim][c]. */
export function sketch64(dim: number, c: number): number[][] {
  const mix = (x: number): number => {
    let bits = Math.imul(x ^ (x >>> 16), 0x7feb352d);
    bits = Math.imul(bits ^ (bits >>> 15), 0x846ca68b);
    return (bits ^ (bits >>> 16)) >>> 0;
  };
  const entry = (i: number): number => {
    let sum = 0;
    for (let part = 0; part < 6; ++part) {
      const bits = mix((i * 6 + part + 0x9e3779b9) >>> 0);
      sum += (bits & 0xffff) + (bits >>> 16);
    }
    return (sum / 65536 - 6) / Math.sqrt(c);
  };
  return Array.from({ length: dim }, (_, d) => Array.from({ length: c }, (_, i) => entry(d * c + i)));
}

/** Solves a symmetric system by elimination. */
function solve(matrix: Rows, right: readonly number[]): number[] {
  const rows = matrix.map((row, i) => [...row, right[i]!]);
  rows.forEach((pivot, i) => {
    for (const row of rows.slice(i + 1)) {
      const factor = row[i]! / pivot[i]!;
      for (let k = i; k < row.length; ++k) row[k]! -= factor * pivot[k]!;
    }
  });
  const x = new Array<number>(rows.length).fill(0);
  for (let i = rows.length - 1; i >= 0; --i) {
    const known = x.reduce((sum, value, k) => sum + value * rows[i]![k]!, 0);
    x[i] = (rows[i]!.at(-1)! - known) / rows[i]![i]!;
  }
  return x;
}

/** Leverage of keys before RoPE, sketched. @param ridge - what is added to the diagonal */
export function leverage64(keys: Rows, c: number, ridge = 0.01): number[] {
  const dim = keys[0]!.length;
  const matrix = sketch64(dim, c);
  const centre = keys[0]!.map((_, d) => mean(keys.map((key) => key[d]!)));
  const rows = keys.map((key) => {
    return Array.from({ length: c }, (_, i) => key.reduce((sum, x, d) => sum + (x - centre[d]!) * matrix[d]![i]!, 0));
  });
  const squares = Array.from({ length: c }, (_, i) =>
    Array.from({ length: c }, (_, k) => rows.reduce((sum, row) => sum + row[i]! * row[k]!, 0) + (i === k ? ridge : 0)),
  );
  return rows.map((row) => dot(row, solve(squares, row)));
}

/** Attention within chunks, whoever comes first, times the norm of the value, smoothed over three. */
export function chunkAttention64(heads: readonly Rows[], keys: Rows, values: Rows, chunk: number): number[] {
  const sums = keys.map(() => 0);
  for (const queries of heads) {
    for (let first = 0; first < keys.length; first += chunk) {
      const part = keys.slice(first, first + chunk);
      for (const q of queries.slice(first, first + chunk)) {
        const scores = part.map((key) => dot(q, key));
        const weights = scores.map((score) => Math.exp(score - Math.max(...scores)));
        const sum = weights.reduce((a, b) => a + b, 0);
        weights.forEach((weight, j) => {
          sums[first + j]! += weight / sum / heads.length;
        });
      }
    }
  }
  const weighed = sums.map((sum, j) => sum * norm(values[j]!));
  return weighed.map((x, j) => ((weighed[j - 1] ?? 0) + x + (weighed[j + 1] ?? 0)) / 3);
}

/** Over all heads of a layer. */
export function standard64(scores: Rows): number[][] {
  const all = scores.flat();
  const deviation = Math.sqrt(all.reduce((sum, x) => sum + (x - mean(all)) ** 2, 0) / (all.length - 1));
  return scores.map((of) => of.map((x) => (x - mean(all)) / deviation));
}

/**
 * The most that slots [low, high) are given by the rows from `own` on, which see the first `sinks`, the span and themselves.
 * Queries of each head of the group, and keys, of the text and its repetition.
 */
export function repeated64(
  heads: readonly Rows[],
  keys: Rows,
  { sinks, low, high, own }: { sinks: number; low: number; high: number; own: number },
): number[] {
  const most = keys.map(() => 0);
  for (const queries of heads) {
    for (let r = own; r < keys.length; ++r) {
      const isSeen = (j: number): boolean => j <= r && (j < sinks || (j >= low && j < high) || j >= own);
      const scores = keys.map((key, j) => (isSeen(j) ? dot(queries[r]!, key) / Math.sqrt(key.length) : -Infinity));
      const highest = Math.max(...scores);
      const weights = scores.map((score) => Math.exp(score - highest));
      const sum = weights.reduce((a, b) => a + b, 0);
      for (let j = low; j < high; ++j) most[j] = Math.max(most[j]!, weights[j]! / sum);
    }
  }
  return most;
}

export interface Expectation {
  readonly sinks: number;
  /** Positions to come, counted from the number of keys on. */
  readonly future: number;
  readonly covariance: boolean;
  readonly vnorm: boolean;
  readonly epsilon: number;
  readonly ropeBase: number;
}

/**
 * Expected attention, as the logarithm of its score.
 *
 * @param heads - queries of each head of the group, before RoPE, whose pairs of dims are (2i, 2i + 1)
 */
export function expected64(heads: readonly Rows[], keys: Rows, values: Rows, by: Expectation): number[] {
  const { sinks, future, ropeBase } = by;
  const dim = keys[0]!.length;
  const angles = (i: number) =>
    Array.from({ length: future }, (_, t) => ropeAngle64(keys.length + t, i, dim, ropeBase));
  const rotation = Array.from({ length: dim }, (_, i) =>
    Array.from({ length: dim }, (_, j) => {
      if (i >> 1 !== j >> 1) return 0;
      if (i === j) return mean(angles(i >> 1).map(Math.cos));
      return mean(angles(i >> 1).map(Math.sin)) * (i % 2 === 0 ? -1 : 1);
    }),
  );
  const turn = (x: readonly number[]): number[] => rotation.map((row) => dot(row, x));
  const attention = heads.map((queries) => {
    const counted = queries.slice(sinks);
    const m = keys[0]!.map((_, d) => mean(counted.map((q) => q[d]!)));
    const turned = counted.map((q) => turn(q.map((x, d) => x - m[d]!)));
    const scores = keys.slice(sinks).map((key) => {
      const spread = by.covariance ? mean(turned.map((q) => dot(q, key) ** 2)) : 0;
      return dot(turn(m), key) / Math.sqrt(dim) + spread / (2 * dim);
    });
    const highest = Math.max(...scores);
    const weights = scores.map((score) => Math.exp(score - highest));
    const sum = weights.reduce((a, b) => a + b, 0);
    return weights.map((weight) => weight / sum);
  });
  return keys.map((_, j) => {
    if (j < sinks) return Number.POSITIVE_INFINITY;
    const score = mean(attention.map((weights) => weights[j - sinks]!));
    return Math.log(by.vnorm ? (score + by.epsilon) * norm(values[j]!) : score);
  });
}

/**
 * What a layer's newest queries pay to the first slots and to `recent` of those before themselves, the mean.
 *
 * @param groups - queries of each head, the last ones, by KV head; keys by KV head
 */
export function laziness64(
  groups: readonly (readonly Rows[])[],
  keys: readonly Rows[],
  sinks: number,
  recent: number,
): number {
  const sums = groups.flatMap((heads, kv) =>
    heads.flatMap((queries) => {
      const n = keys[kv]!.length - queries.length;
      return windowAttention64(queries, keys[kv]!).map((weights) =>
        weights.reduce((sum, a, j) => sum + (j < sinks || (j >= n - recent && j < n) ? a : 0), 0),
      );
    }),
  );
  return mean(sums);
}

/** The filter of a KV head: what the queries of each head of its group have most in common, the mean of it. */
export function qFilter64(heads: readonly Rows[]): number[] {
  const directions = heads.map((queries) => {
    const products = queries[0]!.map((_, i) =>
      queries[0]!.map((__, j) => queries.reduce((sum, q) => sum + q[i]! * q[j]!, 0)),
    );
    const v = firstEigenvector64(products);
    const sign = Math.sign(queries.reduce((sum, q) => sum + dot(q, v), 0));
    return v.map((x) => x * sign);
  });
  return directions[0]!.map((_, d) => mean(directions.map((v) => v[d]!)));
}

/** Scores by a filter. */
export const filtered64 = (keys: Rows, filter: readonly number[]): number[] => keys.map((key) => dot(key, filter));

/**
 * Mean over the heads of a group of |v Wo|_1, from a KV head's values and the output matrix [hiddenDim][heads * valueDim].
 */
export function outputNorms64(
  values: Rows,
  output: Float32Array,
  hiddenDim: number,
  heads: readonly number[],
): number[] {
  const columns = output.length / hiddenDim;
  return values.map((v) => {
    const norms = heads.map((h) => {
      let sum = 0;
      for (let r = 0; r < hiddenDim; ++r) {
        sum += Math.abs(v.reduce((dot, x, d) => dot + x * output[r * columns + h * v.length + d]!, 0));
      }
      return sum;
    });
    return mean(norms);
  });
}

/** Slots of each head of a layer whose budget is dealt by score, each at least `safe` of them. */
export function dealt64(scores: readonly (readonly number[])[], budget: number, safe: number): number[] {
  const all = scores.flatMap((of, kv) => {
    const order = of.map((_, j) => j).sort((a, b) => of[b]! - of[a]!);
    return order.map((j, rank) => ({ kv, score: rank < safe ? Number.POSITIVE_INFINITY : of[j]! }));
  });
  const chosen = all.sort((a, b) => (a.score === b.score ? 0 : b.score - a.score)).slice(0, budget * scores.length);
  return scores.map((_, kv) => chosen.filter((one) => one.kv === kv).length);
}

/** Slots that stay of a head by CriticalKV's two stages. */
export function criticalKv64(
  scores: readonly number[],
  norms: readonly number[],
  budget: number,
  first = 0.5,
  epsilon = 1e-4,
): number[] {
  const highest = (of: readonly number[], n: number) =>
    of
      .map((_, j) => j)
      .sort((a, b) => of[b]! - of[a]!)
      .slice(0, n);
  const lifted = new Set(highest(scores, Math.floor(budget * first)));
  const second = scores.map((score, j) => (lifted.has(j) ? Number.POSITIVE_INFINITY : (score + epsilon) * norms[j]!));
  return highest(second, budget).sort((a, b) => a - b);
}
