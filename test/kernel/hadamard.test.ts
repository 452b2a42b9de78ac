import * as assert from "uvu/assert";
import { report, sameBits, UNIT, within } from "./compare.ts";
import { checkedSuite, copyOf, Instance } from "./instance.ts";
import { bells, draws } from "./values.ts";

const instance = new Instance();
const { hadamard, hadamardRef } = instance.exports as unknown as Record<string, (x: number, dim: number) => void>;
const test = checkedSuite("hadamard", instance);

/** Row i, column j of the Hadamard matrix of b dims: -1 to the number of bits that i and j share. */
function sign(i: number, j: number): number {
  let bits = 0;
  for (let both = i & j; both !== 0; both &= both - 1) bits += 1;
  return bits % 2 === 0 ? 1 : -1;
}

/** The definition in f64: blocks of the largest power of two that divides n. */
function rotated(x: Float32Array): Float64Array {
  const block = x.length & -x.length;
  return Float64Array.from(x, (_, i) => {
    const first = i - (i % block);
    let sum = 0;
    for (let j = 0; j < block; ++j) sum += sign(i - first, j) * x[first + j]!;
    return sum / Math.sqrt(block);
  });
}

test("the reference's bits, and the definition's values within log2(b) + 2 roundings", () => {
  const draw = draws(3);
  let worst = 0;
  for (const dim of [4, 8, 16, 20, 32, 48, 64, 80, 96, 128, 256]) {
    const x = bells(dim, draw, 2);
    const out = instance.floats(x);
    const expected = instance.floats(x);
    hadamard!(out.address, dim);
    hadamardRef!(expected.address, dim);
    sameBits(out.f32, copyOf(expected), `${dim} dims`);
    const block = dim & -dim;
    const size = (i: number) => {
      const first = i - (i % block);
      return x.slice(first, first + block).reduce((sum, value) => sum + Math.abs(value), 0) / Math.sqrt(block);
    };
    const bound = (i: number) => (Math.log2(block) + 2) * UNIT * size(i) + 2 ** -149;
    worst = Math.max(worst, within(out.f32, Array.from(rotated(x)), bound, `${dim} dims`));
    instance.reset();
  }
  report("hadamard, share of the bound", worst, "");
});

test("it keeps scalar products, and one outlier is spread over its block", () => {
  const draw = draws(4);
  const [q, k] = [bells(64, draw), bells(64, draw)];
  k[17] = 60;
  const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, value, i) => sum + value * b[i]!, 0);
  const [a, b] = [instance.floats(q), instance.floats(k)];
  const before = dot(q, k);
  hadamard!(a.address, 64);
  hadamard!(b.address, 64);
  assert.ok(Math.abs(dot(a.f32, b.f32) - before) < 1e-4 * Math.abs(before) + 1e-3);
  assert.ok(Math.max(...b.f32.map(Math.abs)) < 60 / 8 + 4, "60 over 64 dims is 7.5 each");
});

test.run();
