import * as assert from "uvu/assert";
import { Form, TensorType } from "../../assembly/memory/status.ts";
import { activationBlocks, weightBlocks, weightsRef } from "../oracle/blocks.ts";
import { linearExact, linearQuantized } from "../oracle/linear.ts";
import { report, sameBits, UNIT, within } from "./compare.ts";
import { checkedSuite, copyOf, Instance } from "./instance.ts";
import { activations, ggufRows, KINDS, packed, quantized } from "./quantized.ts";
import { bells, draws, floats } from "./values.ts";

const instance = new Instance();
const { gemvQuantized, gemvQuantizedRef } = instance.exports;
const test = checkedSuite("gemv-quantized", instance);

const KERNELS = [
  ["Q4", TensorType.Q4_0, Form.Q4],
  ["Q4_MIN", TensorType.Q4_1, Form.Q4_MIN],
  ["Q8", TensorType.Q8_0, Form.Q8],
] as const;
type Kernel = (typeof KERNELS)[number];

/** y = W x by both kernels, from GGUF bytes and f32 activations. */
function product(kernel: Kernel, rows: Uint8Array, nRows: number, x: Float32Array): Float32Array {
  const [name, type, form] = kernel;
  const nTiles = Math.ceil(nRows / 8);
  const weights = packed(instance, type, rows, nRows, x.length);
  const quantizedX = quantized(instance, x, form);
  const out = instance.output(nTiles * 32);
  const expected = instance.output(nTiles * 32);
  gemvQuantized(out.address, quantizedX.address, weights.address, nTiles, x.length / 32, form);
  gemvQuantizedRef(expected.address, quantizedX.address, weights.address, nTiles, x.length / 32, form);
  sameBits(out.f32, expected.f32, `${name}, ${nTiles} tiles of ${x.length / 32} blocks`);
  return copyOf(out);
}

test("the reference's bits, and (terms + 2) 2^-24 of the terms' sizes from exact arithmetic", () => {
  const draw = draws(17);
  let worst = 0;
  for (const kernel of KERNELS) {
    const [name, type] = kernel;
    for (const nTiles of [1, 2, 3]) {
      for (const nBlocks of [1, 2, 5, 18]) {
        for (const kind of KINDS) {
          const [nRows, nCols] = [8 * nTiles, 32 * nBlocks];
          const rows = ggufRows(type, nRows, nCols, draw, kind);
          const x = activations(nCols, draw, kind);
          const y = product(kernel, rows, nRows, x);
          const terms = nBlocks * (type === TensorType.Q4_1 ? 2 : 1);
          const sums = Array.from({ length: nRows }, (_, row) =>
            linearQuantized(weightBlocks(rowOf(rows, row, nRows), type), activationBlocks(x)),
          );
          const what = `${name}, ${kind}, ${nTiles} tiles of ${nBlocks} blocks`;
          const exact = sums.map(({ value }) => value);
          worst = Math.max(
            worst,
            within(y, exact, (i) => (terms + 2) * UNIT * sums[i]!.size + 2 ** -149, what),
          );
          instance.reset();
        }
      }
    }
  }
  report("gemv-quantized, share of the bound", worst, "");
});

function rowOf(rows: Uint8Array, row: number, nRows: number): Uint8Array {
  return rows.slice((row * rows.length) / nRows, ((row + 1) * rows.length) / nRows);
}

test("near the product of the dequantized weights with the unquantized activations: sum |w| dx / 2", () => {
  const draw = draws(18);
  for (const kernel of KERNELS) {
    const rows = ggufRows(kernel[1], 8, 288, draw);
    const x = bells(288, draw);
    const weights = Array.from({ length: 8 }, (_, row) => weightsRef(rowOf(rows, row, 8), kernel[1]));
    const y = product(kernel, rows, 8, x);
    const steps = activationBlocks(x).map(({ step }) => step);
    const bound = (row: number) => weights[row]!.reduce((sum, w, c) => sum + Math.abs(w) * steps[c >> 5]! * 0.5001, 0);
    within(
      y,
      weights.map((w) => linearExact(w, x).value),
      bound,
      kernel[0],
    );
  }
});

test("one column at a time: each weight meets its own activation", () => {
  const draw = draws(19);
  for (const kernel of KERNELS) {
    const rows = ggufRows(kernel[1], 8, 64, draw);
    for (let c = 0; c < 64; ++c) {
      const y = product(
        kernel,
        rows,
        8,
        floats(64, (i) => (i === c ? 127 : 0)),
      );
      y.forEach((value, row) => {
        const w = weightsRef(rowOf(rows, row, 8), kernel[1])[c]!;
        assert.ok(Math.abs(value - 127 * w) <= 127 * 2 ** -22 * (Math.abs(w) + 1e-6) + tolerance(kernel, rows, row));
      });
      instance.reset();
    }
  }
});

/** Rounding of scale * q and minimum apart, when they cancel. */
function tolerance(kernel: Kernel, rows: Uint8Array, row: number): number {
  const blocks = weightBlocks(rowOf(rows, row, 8), kernel[1]);
  return Math.max(...blocks.map(({ scale, minimum }) => Math.abs(scale) * 15 + Math.abs(minimum))) * 127 * 2 ** -22;
}

test("zero activations and zero scales give +0; rows past the last give 0", () => {
  const draw = draws(20);
  for (const kernel of KERNELS) {
    const rows = ggufRows(kernel[1], 5, 64, draw);
    const y = product(kernel, rows, 5, bells(64, draw));
    assert.ok(y.subarray(0, 5).some((value) => value !== 0));
    assert.ok(y.subarray(5).every((value) => value === 0));
    const zero = product(kernel, rows, 5, new Float32Array(64));
    assert.ok(zero.every((value) => value === 0));
  }
});

test("blocks are added in ascending order, one f32 each", () => {
  // 2^24 and then 1 twice: ascending order loses both, any other keeps at least one of them.
  for (const kernel of KERNELS) {
    const [, type] = kernel;
    const header = type === TensorType.Q4_1 ? 4 : 2;
    const blockBytes = header + (type === TensorType.Q8_0 ? 32 : 16);
    const rows = new Uint8Array(8 * 3 * blockBytes);
    const view = new DataView(rows.buffer);
    for (let at = 0; at < rows.length; at += blockBytes) {
      view.setUint16(at, 0x3c00, true); // scale 1
      rows.fill(type === TensorType.Q4_0 ? 0x88 : 0, at + header, at + blockBytes);
      rows[at + header] = type === TensorType.Q4_0 ? 0x89 : 1; // weight of column 0: 1
    }
    const x = floats(96, (i) => (i === 0 ? 2 ** 24 : i % 32 === 0 ? 1 : 0));
    const dx = [Math.fround(2 ** 24 / 127), Math.fround(1 / 127)];
    let expected = Math.fround(127 * dx[0]!);
    for (let i = 0; i < 2; ++i) expected = Math.fround(expected + Math.fround(127 * dx[1]!));
    assert.is(product(kernel, rows, 8, x)[3], expected, kernel[0]);
  }
});

test.run();
