import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ThimbleError } from "../../host/errors.ts";
import { createRandom, MAX_SEED } from "../../host/random.ts";

const M64 = (1n << 64n) - 1n;
const M32 = (1n << 32n) - 1n;

/** splitmix64 and xoshiro128** as their definitions read, in BigInt: nothing shared with the code under test. */
function reference(seed: number): { words(): number[]; next(): number } {
  let counter = BigInt(seed);
  const s: bigint[] = [];
  for (let i = 0; i < 2; ++i) {
    counter = (counter + 0x9e3779b97f4a7c15n) & M64;
    let z = counter;
    z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & M64;
    z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & M64;
    z ^= z >> 31n;
    s.push(z & M32, z >> 32n);
  }
  const rotl = (x: bigint, k: bigint) => ((x << k) | (x >> (32n - k))) & M32;
  const step = () => {
    const out = (rotl((s[1]! * 5n) & M32, 7n) * 9n) & M32;
    const t = (s[1]! << 9n) & M32;
    s[2] = s[2]! ^ s[0]!;
    s[3] = s[3]! ^ s[1]!;
    s[1] = s[1]! ^ s[2]!;
    s[0] = s[0]! ^ s[3]!;
    s[2] = s[2]! ^ t;
    s[3] = rotl(s[3]!, 11n);
    return out;
  };
  return {
    words: () => s.map(Number),
    next: () => {
      const high = step();
      return Number(((high >> 5n) << 26n) | (step() >> 6n)) / 2 ** 53;
    },
  };
}

const test = suite("random");

test("splitmix64 seeds the state: its published first outputs for 1234567", () => {
  const outputs = [6457827717110365317n, 3203168211198807973n];
  assert.equal(
    createRandom(1234567).state(),
    outputs.flatMap((out) => [Number(out & M32), Number(out >> 32n)]),
  );
});

test("xoshiro128** from the state 1, 2, 3, 4: the published outputs 11520, 0, 5927040, 70819200", () => {
  const random = createRandom(0);
  random.restore([1, 2, 3, 4]);
  const pair = (high: number, low: number) => (Math.floor(high / 32) * 2 ** 26 + Math.floor(low / 64)) / 2 ** 53;
  assert.equal([random.next(), random.next()], [pair(11520, 0), pair(5927040, 70819200)]);
});

test("states and numbers are the definition's, at the ends and anywhere between", () => {
  const agrees = (seed: number) => {
    const random = createRandom(seed);
    const expected = reference(seed);
    assert.equal(random.state(), expected.words(), `state of ${seed}`);
    for (let i = 0; i < 20; ++i) assert.is(random.next(), expected.next(), `seed ${seed}, number ${i}`);
    assert.equal(random.state(), expected.words(), `state of ${seed} after 20`);
  };
  for (const seed of [0, 1, 0xffffffff, 0x100000000, 0x100000001, MAX_SEED - 1, MAX_SEED]) agrees(seed);
  fc.assert(fc.property(fc.maxSafeNat(), agrees), { seed: 1, numRuns: 300 });
});

test("numbers lie in [0, 1), use the low bits, and fill the range evenly", () => {
  const random = createRandom(42);
  const bins = new Array<number>(16).fill(0);
  let odd = 0;
  for (let i = 0; i < 16000; ++i) {
    const x = random.next();
    assert.ok(x >= 0 && x < 1);
    bins[Math.floor(x * 16)]! += 1;
    odd += (x * 2 ** 53) % 2;
  }
  const chiSquare = bins.reduce((sum, n) => sum + (n - 1000) ** 2 / 1000, 0);
  assert.ok(chiSquare < 37.7, `chi-square ${chiSquare} over 15 degrees of freedom, 0.1% point 37.7`);
  assert.ok(Math.abs(odd - 8000) < 4 * Math.sqrt(4000), `${odd} of 16000 odd`);
});

test("a state is a value: taking it changes nothing, restoring it repeats, changing the array does not reach in", () => {
  const random = createRandom(7);
  random.next();
  const saved = JSON.parse(JSON.stringify(random.state())) as number[];
  const numbers = [random.next(), random.next(), random.next()];
  const other = createRandom(8);
  for (const generator of [random, other]) {
    generator.restore(saved);
    assert.equal([generator.next(), generator.next(), generator.next()], numbers);
  }
  random.state().fill(1);
  assert.is.not(random.next(), numbers[0]);
  other.next();
  assert.is(random.next(), other.next());
});

test("seeds and states outside their range are refused", () => {
  const refuses = (call: () => unknown) =>
    assert.throws(call, (error: unknown) => error instanceof ThimbleError && error.code === "invalid_option");
  for (const seed of [-1, 0.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY]) refuses(() => createRandom(seed));
  const random = createRandom(0);
  const before = random.state();
  for (const state of [
    [],
    [1, 2, 3],
    [1, 2, 3, 4, 5],
    [0, 0, 0, 0],
    [1, 2, 3, 2 ** 32],
    [1, 2, -1, 4],
    [1, 2, 0.5, 4],
  ]) {
    refuses(() => random.restore(state));
  }
  assert.equal(random.state(), before);
});

test.run();
