import * as assert from "uvu/assert";
import { checkedSuite, Instance } from "./instance.ts";
import { draws } from "./values.ts";

const instance = new Instance();
const { checksum, checksumRef } = instance.exports;
const test = checkedSuite("checksum", instance);
const draw = draws(9);
const word = () => Math.floor(draw() * 2 ** 32) >>> 0;

const M = 2n ** 32n - 1n;
const [P1, P2, P3] = [0x9e3779b1n, 0x85ebca77n, 0xc2b2ae3dn];
const rotl = (x: bigint, n: bigint) => ((x << n) | (x >> (32n - n))) & M;

/** The definition, in integers without end. */
function defined(x: Uint32Array, seed: number): number[] {
  const lanes = Array.from({ length: 16 }, (_, i) => (BigInt(seed) + BigInt(i + 1) * P1) & M);
  x.forEach((value, w) => {
    lanes[w % 16] = (rotl((lanes[w % 16]! + BigInt(value) * P2) & M, 13n) * P1) & M;
  });
  let low = BigInt(seed) ^ BigInt(x.length);
  let high = (BigInt(x.length) * P3) & M;
  for (const lane of lanes) {
    low = (rotl((low + lane * P2) & M, 17n) * P1) & M;
    high = (rotl(high ^ ((lane * P3) & M), 11n) * P2) & M;
  }
  const last = (h: bigint) => {
    const a = ((h ^ (h >> 15n)) * P2) & M;
    const b = ((a ^ (a >> 13n)) * P3) & M;
    return Number(b ^ (b >> 16n));
  };
  return [last(low), last(high)];
}

test("the reference's and the definition's bits, for every remainder of words", () => {
  for (const n of [0, 1, 3, 15, 16, 17, 31, 32, 33, 63, 64, 100, 1000]) {
    for (const seed of [0, 1, word()]) {
      const x = instance.input(Uint32Array.from({ length: n }, word));
      const [a, b] = [instance.output(8), instance.output(8)];
      checksum(a.address, x.address, n, seed);
      checksumRef(b.address, x.address, n, seed);
      assert.equal([...a.u32], [...b.u32], `${n} words`);
      assert.equal([...a.u32], defined(x.u32, seed), `${n} words`);
      instance.reset();
    }
  }
});

test("any changed bit, moved word, other length or seed gives another sum", () => {
  const n = 70;
  const x = Uint32Array.from({ length: n }, word);
  const sum = (values: Uint32Array, seed = 5) => {
    const input = instance.input(values);
    const out = instance.output(8);
    checksum(out.address, input.address, values.length, seed);
    const [low, high] = out.u32;
    instance.reset();
    return `${low},${high}`;
  };
  const seen = new Set([
    sum(x),
    sum(x, 6),
    sum(x.subarray(0, n - 1)),
    sum(new Uint32Array(n)),
    sum(new Uint32Array(n + 1)),
  ]);
  assert.is(seen.size, 5);
  for (let i = 0; i < n; ++i) {
    for (let bit = 0; bit < 32; bit += 3) {
      const changed = x.slice();
      changed[i]! ^= 1 << bit;
      seen.add(sum(changed));
    }
    const swapped = x.slice();
    swapped[i] = x[(i + 16) % n]!;
    swapped[(i + 16) % n] = x[i]!;
    seen.add(sum(swapped));
  }
  assert.is(seen.size, 5 + n * 12);
});

test.run();
