import * as assert from "uvu/assert";
import { Form } from "../../assembly/memory/status.ts";
import { brainRef, halfRef } from "../oracle/half.ts";
import { checkedSuite, Instance } from "./instance.ts";
import { linearRecord } from "./quantized.ts";

const instance = new Instance();
const { brainToFloat, gemvFloat, halfToFloat } = instance.exports;
const test = checkedSuite("f16", instance);

test("the oracle itself: largest, smallest, one, a third", () => {
  assert.equal([0x7bff, 0x0400, 0x0001, 0x3c00, 0x8000].map(halfRef), [65504, 2 ** -14, 2 ** -24, 1, -0]);
  assert.equal([0x7f7f, 0x0080, 0x0001, 0x3f80].map(brainRef), [(2 - 2 ** -7) * 2 ** 127, 2 ** -126, 2 ** -133, 1]);
});

test("all 65,536 halves and bfloats are the values they stand for, signs of zeros and NaN included", () => {
  for (let bits = 0; bits < 65536; ++bits) {
    if (!Object.is(halfToFloat(bits), halfRef(bits))) assert.unreachable(`half ${bits.toString(16)}`);
    if (!Object.is(brainToFloat(bits), brainRef(bits))) assert.unreachable(`bfloat ${bits.toString(16)}`);
  }
});

test("SIMD loads in kernels read all finite ones as the same values: 1 * w + 0, eight halves a tile of one column", () => {
  const one = instance.input(Float32Array.of(1));
  const all = Uint16Array.from({ length: 65536 }, (_, bits) => bits);
  const weights = instance.input(all);
  const out = instance.output(65536 * 4);
  for (const [form, ref] of [[Form.F16, halfRef] as const, [Form.BF16, brainRef] as const]) {
    gemvFloat(out.address, one.address, linearRecord(instance, weights.address, form, 65536, 1));
    out.f32.forEach((value, bits) => {
      const expected = ref(bits);
      if (Number.isFinite(expected) && value !== expected) assert.unreachable(`form ${form}, ${bits}: ${value}`);
    });
  }
});

test.run();
