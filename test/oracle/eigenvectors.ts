/**
 * Eigenvectors of a symmetric matrix in f64 by Jacobi's rotations: https://en.wikipedia.org/wiki/Jacobi_eigenvalue_algorithm
 * @module
 */

/** The unit eigenvector of the largest eigenvalue; its sign is arbitrary. */
export function firstEigenvector64(matrix: readonly (readonly number[])[]): number[] {
  const n = matrix.length;
  const a = matrix.map((row) => [...row]);
  const vectors = a.map((_, i) => a.map((__, j) => (i === j ? 1 : 0)));
  for (let sweep = 0; sweep < 30; ++sweep) {
    for (let p = 0; p < n; ++p) {
      for (let q = p + 1; q < n; ++q) {
        if (a[p]![q] === 0) continue;
        const angle = Math.atan2(2 * a[p]![q]!, a[q]![q]! - a[p]![p]!) / 2;
        const [c, s] = [Math.cos(angle), Math.sin(angle)];
        const turn = (x: number[], y: number[], i: number, j: number): void => {
          const [u, v] = [x[i]!, y[j]!];
          x[i] = c * u - s * v;
          y[j] = s * u + c * v;
        };
        for (let i = 0; i < n; ++i) turn(a[i]!, a[i]!, p, q);
        for (let i = 0; i < n; ++i) turn(a[p]!, a[q]!, i, i);
        for (let i = 0; i < n; ++i) turn(vectors[i]!, vectors[i]!, p, q);
      }
    }
  }
  const largest = a.reduce((best, row, i) => (row[i]! > a[best]![best]! ? i : best), 0);
  return vectors.map((row) => row[largest]!);
}
