import * as assert from "uvu/assert";
import { Size } from "../../assembly/memory/status.ts";
import { activationBlocks, nearestEven } from "../oracle/blocks.ts";
import { report, sameBytes } from "./compare.ts";
import { checkedSuite, Instance, type Region } from "./instance.ts";
import { anySize, bells, draws, floats, integer } from "./values.ts";

const instance = new Instance();
const { quantizeActivations, quantizeActivationsRef, quantizeBytes, quantizeBytesRef } = instance.exports;
const test = checkedSuite("quantize-activations", instance);

/** Columns in the order of a block's 32 i16, as the drawing in quantize-activations.ts says. */
const ORDER = [0, 4, 8, 12].flatMap((c) => [c, c + 2, 16 + c, 18 + c, c + 1, c + 3, 17 + c, 19 + c]);

interface Block {
  readonly q: number[];
  readonly dx: number;
  readonly zero: number;
  readonly sx: number;
  /** The same of columns 0..15 and 16..31. */
  readonly zeros: readonly number[];
  readonly sums: readonly number[];
  readonly unused: number;
}

function blockAt(region: Region, block: number): Block {
  const q = new Array<number>(32);
  const at = block * Size.ACTIVATION_BLOCK;
  for (const [place, c] of ORDER.entries()) q[c] = region.i16[at / 2 + place]!;
  const word = at / 4 + 16;
  const { f32, i32 } = region;
  const [zeros, sums] = [
    [i32[word + 3]!, i32[word + 4]!],
    [f32[word + 5]!, f32[word + 6]!],
  ];
  return { q, dx: f32[word]!, zero: i32[word + 1]!, sx: f32[word + 2]!, zeros, sums, unused: i32[word + 7]! };
}

/** Both kernels on rows of blocks: the same bytes. Returns them read. */
function quantize(x: Float32Array): Block[] {
  const nBlocks = x.length / 32;
  const input = instance.input(x).address;
  const out = instance.output(nBlocks * Size.ACTIVATION_BLOCK);
  const expected = instance.output(nBlocks * Size.ACTIVATION_BLOCK);
  quantizeActivations(out.address, input, nBlocks);
  quantizeActivationsRef(expected.address, input, nBlocks);
  sameBytes(out.u8, expected.u8, `${nBlocks} blocks`);
  const blocks = Array.from({ length: nBlocks }, (_, i) => blockAt(out, i));
  checkBytes(input, blocks);
  return blocks;
}

/** Blocks of bytes: both kernels the same, and the values, scale and sums of the blocks of pairs. */
function checkBytes(input: number, blocks: readonly Block[]): void {
  const size = 64;
  const out = instance.output(blocks.length * size);
  const expected = instance.output(blocks.length * size);
  quantizeBytes(out.address, input, blocks.length);
  quantizeBytesRef(expected.address, input, blocks.length);
  sameBytes(out.u8, expected.u8, `${blocks.length} blocks of bytes`);
  for (const [b, { q, dx, sx, sums }] of blocks.entries()) {
    assert.equal(Array.from(new Int8Array(out.u8.buffer, out.address + b * size, 32)), q);
    const [at, half] = [(b * size) / 4 + 8, (b * size) / 2 + 16];
    const { f32, i16 } = out;
    assert.equal([f32[at], f32[at + 2], f32[at + 5], f32[at + 6]], [dx, sx, ...sums]);
    const zero = (from: number, to: number, isOther: boolean) =>
      q.slice(from, to).reduce((sum, value, c) => (((c & 2) !== 0) === isOther ? sum - 8 * value : sum), 0) + 0;
    const pairs = [i16.slice(half + 2, half + 4), i16.slice(half + 6, half + 8), i16.slice(half + 8, half + 10)];
    const ranges = [
      [0, 32],
      [0, 16],
      [16, 32],
    ] as const;
    ranges.forEach(([from, to], i) => {
      assert.equal(Array.from(pairs[i]!), [zero(from, to, false), zero(from, to, true)]);
    });
  }
}

/** 32 values around given ones. */
function blockOf(start: readonly number[], rest: number): Float32Array {
  return floats(32, (i) => start[i] ?? rest);
}

test("every column, scale, sum and zero term is the definition's, for values of every size", () => {
  const draw = draws(9);
  let worst = 0;
  for (const nBlocks of [1, 2, 5, 18]) {
    for (const x of [
      bells(32 * nBlocks, draw),
      bells(32 * nBlocks, draw, 1e-6),
      anySize(32 * nBlocks, draw, -98, 118),
    ]) {
      const expected = activationBlocks(x);
      for (const [b, block] of quantize(x).entries()) {
        const { q, step } = expected[b]!;
        const [low, high] = [q.slice(0, 16), q.slice(16)].map((half) =>
          half.reduce((total, value) => total + value, 0),
        );
        const halves = [low!, high!];
        assert.equal(block, {
          q,
          dx: step,
          zero: (low! + high!) * -8 + 0,
          sx: Math.fround((low! + high!) * step),
          zeros: halves.map((sum) => sum * -8 + 0),
          sums: halves.map((sum) => Math.fround(sum * step)),
          unused: 0,
        });
        for (const [c, value] of block.q.entries()) {
          assert.ok(Math.abs(value) <= 127);
          const error = Math.abs(x[32 * b + c]! - value * block.dx) / (block.dx / 2);
          assert.ok(error <= 1 + 2 ** -14, `|x - q dx| is ${error} of dx / 2`);
          worst = Math.max(worst, error);
        }
      }
    }
    instance.reset();
  }
  report("quantize-activations, |x - q dx| / (dx / 2)", worst, "");
});

test("zero, and below 2^-100: all zero; 2^-100 itself is not; -0 is zero", () => {
  const zero: Block = { q: new Array(32).fill(0), dx: 0, zero: 0, sx: 0, zeros: [0, 0], sums: [0, 0], unused: 0 };
  const tiny = Math.fround(2 ** -100 * (1 - 2 ** -24));
  for (const value of [0, -0, 2 ** -149, 2 ** -101, tiny, -tiny]) {
    assert.equal(quantize(blockOf([value], value / 2)), [zero], `${value}`);
  }
  const [least] = quantize(blockOf([2 ** -100], -(2 ** -101)));
  assert.is(least!.q[0], 127);
  assert.is(least!.q[31], -64);
  const around = quantize(Float32Array.of(...blockOf([1], 0.5), ...blockOf([], 0), ...blockOf([-2], 1)));
  assert.equal(around[1], zero, "a zero block between others");
  assert.is(around[2]!.q[0], -127);
});

test("ties go to even: absmax 127 makes the step 1", () => {
  const halves = floats(31, (i) => i - 15 + 0.5);
  const [block] = quantize(Float32Array.of(127, ...halves));
  assert.is(block!.dx, 1);
  halves.forEach((value, i) => {
    assert.is(Math.abs(block!.q[i + 1]! % 2), 0, `${value} became ${block!.q[i + 1]}`);
    assert.is(block!.q[i + 1], nearestEven(value));
  });
});

test("ends of the range: all at +-absmax, the largest f32, sums of 32 * 127", () => {
  const largest = Math.fround(3.4e38);
  for (const value of [1, -1, 3e-20, largest / 64]) {
    const [block] = quantize(blockOf([], value));
    const sum = Math.sign(value) * 127 * 32;
    assert.equal(block!.q, new Array(32).fill(Math.sign(value) * 127));
    assert.is(block!.zero, -8 * sum);
    assert.is(block!.sx, Math.fround(sum * block!.dx));
  }
  assert.equal(quantize(blockOf([largest, -largest], 0))[0]!.q.slice(0, 3), [127, -127, 0]);
});

test("one outlier, in any column, sets the step; it must be found in every lane", () => {
  const draw = draws(10);
  for (let c = 0; c < 32; ++c) {
    const x = floats(64, () => draw() - 0.5);
    x[c] = c & 1 ? -1000 : 1000;
    const [block, other] = quantize(x);
    assert.is(block!.dx, Math.fround(1000 / 127));
    assert.is(block!.q[c], c & 1 ? -127 : 127);
    assert.is(block!.q.filter((q) => q !== 0).length, 1);
    assert.ok(other!.dx < 0.5 / 126);
  }
  assert.is(quantize(floats(32, () => integer(draw, 255) - 127)).length, 1);
});

test("a NaN or infinity anywhere in a block makes its step NaN or infinite, never a finite lie", () => {
  for (const value of [Number.NaN, Infinity, -Infinity]) {
    for (let c = 0; c < 32; ++c) {
      const input = instance.input(floats(32, (i) => (i === c ? value : 1))).address;
      for (const kernel of [quantizeActivations, quantizeActivationsRef]) {
        const out = instance.output(Size.ACTIVATION_BLOCK);
        kernel(out.address, input, 1);
        const { q, dx, sx } = blockAt(out, 0);
        assert.ok(!Number.isFinite(dx), `column ${c}, ${value}: dx ${dx}`);
        assert.ok(Number.isNaN(sx) && q.every((each) => each === 0));
      }
    }
    instance.reset();
  }
});

test.run();
