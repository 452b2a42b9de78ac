/** A query's attention to rows of keys: bits of the scalar reference, and near f64. */
import * as assert from "uvu/assert";
import { windowAttention64 } from "../oracle/policies.ts";
import { checkedSuite, copyOf, Instance } from "./instance.ts";
import { bells, draws } from "./values.ts";

const instance = new Instance(1 << 20);
const test = checkedSuite("attention to rows", instance);
const { scoreRows, scoreRowsRef, softmaxRow, softmaxRowRef } = instance.exports;

const same = (a: Float32Array, b: Float32Array): boolean => Buffer.compare(bytesOf(a), bytesOf(b)) === 0;
const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array) => Buffer.from(buffer, byteOffset, byteLength);

test("scores and weights have the bits of the references, and are near f64", () => {
  const draw = draws(3);
  for (const dim of [4, 8, 20, 64, 128]) {
    for (const n of [1, 3, 4, 5, 31, 32, 33, 127]) {
      const [query, rows] = [bells(dim, draw, 2), bells(n * dim, draw)];
      const [q, keys] = [instance.input(query), instance.input(rows)];
      const [actual, expected] = [instance.output(4 * n), instance.output(4 * n)];
      const scale = 1 / Math.sqrt(dim);
      scoreRows(actual.address, q.address, keys.address, n, dim, scale);
      scoreRowsRef(expected.address, q.address, keys.address, n, dim, scale);
      assert.ok(same(copyOf(actual), copyOf(expected)), `scores, ${n} rows of ${dim}`);
      softmaxRow(actual.address, n);
      softmaxRowRef(expected.address, n);
      assert.ok(same(copyOf(actual), copyOf(expected)), `weights, ${n} rows of ${dim}`);
      const keys64 = Array.from({ length: n }, (_, j) => Array.from(rows.subarray(j * dim, (j + 1) * dim)));
      const exact = windowAttention64([Array.from(query)], keys64)[0]!;
      const error = Math.max(...exact.map((w, j) => Math.abs(w - actual.f32[j]!)));
      assert.ok(error <= 2e-6, `${n} rows of ${dim}: ${error}`);
      instance.reset();
    }
  }
});

test("rows that are not seen weigh nothing; what is no number shows in all", () => {
  for (const n of [5, 8, 11]) {
    for (const [at, value] of [
      [2, Number.NEGATIVE_INFINITY],
      [n - 1, Number.NEGATIVE_INFINITY],
    ] as const) {
      const x = Float32Array.from({ length: n }, (_, j) => (j === at ? value : j / n));
      const [actual, expected] = [instance.floats(x), instance.floats(x)];
      softmaxRow(actual.address, n);
      softmaxRowRef(expected.address, n);
      assert.ok(same(copyOf(actual), copyOf(expected)), `${n}, ${at}`);
      assert.is(actual.f32[at], 0);
    }
    const bad = instance.floats(Float32Array.from({ length: n }, (_, j) => (j === 1 ? Number.NaN : 1)));
    const reference = instance.floats(copyOf(bad));
    softmaxRow(bad.address, n);
    softmaxRowRef(reference.address, n);
    assert.equal(Array.from(bad.f32), Array.from(reference.f32), "as the reference has it");
  }
});

test.run();
