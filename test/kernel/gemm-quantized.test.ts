import { Form, TensorType } from "../../assembly/memory/status.ts";
import { sameBits } from "./compare.ts";
import { checkedSuite, copyOf, Instance, type Region } from "./instance.ts";
import { activations, ggufRows, KINDS, linearRecord, packed, quantized } from "./quantized.ts";
import { anySize, draws } from "./values.ts";

const instance = new Instance();
const { exports } = instance;
const test = checkedSuite("gemm-quantized", instance);

const KERNELS = [
  [Form.Q4, TensorType.Q4_0],
  [Form.Q4_MIN, TensorType.Q4_1],
  [Form.Q8, TensorType.Q8_0],
] as const;
type Kernel = (typeof KERNELS)[number];

const TOKENS = 4;

/** Four tokens times one tile: the reference's bits, and those of GEMV, token by token. `xStride`, `outStride` in bytes. */
function compare(kernel: Kernel, tile: number, x: Region, xStride: number, outStride: number, nBlocks: number): void {
  const [form] = kernel;
  const linear = linearRecord(instance, tile, form, 8, 32 * nBlocks);
  const out = instance.output(outStride * (TOKENS - 1) + 32);
  const expected = instance.output(outStride * (TOKENS - 1) + 32);
  exports.gemmQuantized(out.address, outStride, x.address, xStride, linear, tile);
  exports.gemmQuantizedRef(expected.address, outStride, x.address, xStride, linear, tile);
  // Between the outputs of two tokens both keep their poison, so that the whole region can be compared.
  sameBits(out.f32, expected.f32, `form ${form}, ${nBlocks} blocks, against the reference`);
  const one = instance.output(32);
  for (let t = 0; t < TOKENS; ++t) {
    exports.gemvQuantized(one.address, x.address + t * xStride, tile, 1, nBlocks, form);
    const from = (t * outStride) / 4;
    sameBits(copyOf(out).slice(from, from + 8), copyOf(one), `form ${form}, token ${t}, against GEMV`);
  }
}

test("four tokens, a tile of 1, 2, 5, 18 blocks, random and at the ends of every range", () => {
  const draw = draws(21);
  for (const kernel of KERNELS) {
    for (const nBlocks of [1, 2, 5, 18]) {
      for (const kind of KINDS) {
        const nCols = 32 * nBlocks;
        const weights = packed(instance, kernel[1], ggufRows(kernel[1], 8, nCols, draw, kind), 8, nCols);
        const x = quantized(instance, activations(TOKENS * nCols, draw, kind), kernel[0]);
        compare(kernel, weights.address, x, nBlocks * exports.activationBytes(kernel[0]), 32, nBlocks);
        instance.reset();
      }
    }
  }
});

test("strides wider than the rows: outputs of other tiles and other activations in between stay as they are", () => {
  const draw = draws(22);
  for (const kernel of KERNELS) {
    const weights = packed(instance, kernel[1], ggufRows(kernel[1], 24, 96, draw), 24, 96);
    const x = quantized(instance, activations(TOKENS * 160, draw, "random"), kernel[0]);
    for (const tile of [0, 1, 2]) {
      const address = weights.address + tile * exports.tileBytes(kernel[0], 96);
      compare(kernel, address, x, 5 * exports.activationBytes(kernel[0]), 96, 3);
    }
    instance.reset();
  }
});

test("tokens unlike each other: a zero one, a huge one, a tiny one", () => {
  const draw = draws(23);
  for (const kernel of KERNELS) {
    const weights = packed(instance, kernel[1], ggufRows(kernel[1], 8, 64, draw), 8, 64);
    const x = new Float32Array(TOKENS * 64);
    for (const [t, exponent] of [
      [0, 60],
      [2, -90],
      [3, 0],
    ] as const) {
      x.set(anySize(64, draw, exponent, exponent + 3), t * 64);
    }
    compare(kernel, weights.address, quantized(instance, x, kernel[0]), 2 * exports.activationBytes(kernel[0]), 32, 2);
    instance.reset();
  }
});

test.run();
