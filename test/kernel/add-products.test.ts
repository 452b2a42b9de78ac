/** Sums over vectors and their products: the op is the reference bit for bit, and f64 arithmetic on the host says the same. */
import * as assert from "uvu/assert";
import { sameBytes } from "./compare.ts";
import { checkedSuite, copyOf, Instance } from "./instance.ts";
import { bells, draws } from "./values.ts";

const instance = new Instance();
const { addProducts, addProductsRef, addVector } = instance.exports;
const test = checkedSuite("add-products", instance);

const f64 = (values: Float32Array): Float64Array => new Float64Array(values.buffer.slice(0));

test("products of every pair of dims, row after row of even length, in f64; sums beside them", () => {
  const draw = draws(51);
  for (const n of [2, 4, 8, 16, 64, 80]) {
    const [op, ref, sums, wide] = [n * (n + 2) * 4, n * (n + 2) * 4, n * 8, n * 8].map((bytes) =>
      instance.output(bytes),
    );
    for (const region of [op!, ref!, sums!]) region.f32.fill(0);
    const rows = Array.from({ length: 5 }, () => bells(n, draw, 3));
    for (const row of rows) {
      const x = instance.input(row);
      addProducts(op!.address, x.address, n, wide!.address);
      addProductsRef(ref!.address, x.address, n, wide!.address);
      addVector(sums!.address, x.address, n);
    }
    sameBytes(op!.u8, ref!.u8, `${n} dims`);
    const actual = f64(copyOf(op!));
    const total = f64(copyOf(sums!));
    let at = 0;
    for (let i = 0; i < n; ++i) {
      assert.is(
        total[i],
        rows.reduce((sum, row) => sum + row[i]!, 0),
      );
      for (let j = 0; j <= (i | 1); ++j, ++at) {
        assert.is(
          actual[at],
          rows.reduce((sum, row) => sum + row[i]! * row[j]!, 0),
          `${n} dims, ${i}, ${j}`,
        );
      }
    }
    assert.is(at, actual.length);
    instance.reset();
  }
});

test.run();
