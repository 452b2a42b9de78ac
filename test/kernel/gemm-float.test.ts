import { weightsRef } from "../oracle/blocks.ts";
import { linearExact } from "../oracle/linear.ts";
import { report, sameBits, UNIT, within } from "./compare.ts";
import { checkedSuite, copyOf, Instance } from "./instance.ts";
import { FORMS, ggufRows, linearRecord, packed } from "./quantized.ts";
import { bells, draws } from "./values.ts";

const instance = new Instance();
const { gemmFloat, gemmFloatRef, gemvFloat, gemvFloatRef } = instance.exports;
const test = checkedSuite("gemm-float", instance);

const FLOAT_FORMS = FORMS.slice(0, 3);
const TOKENS = 4;

test("GEMV: the reference's bits, and n 2^-24 sum |w x| from exact arithmetic, n columns", () => {
  const draw = draws(24);
  let worst = 0;
  for (const [type, form, name] of FLOAT_FORMS) {
    for (const [nTiles, nCols] of [
      [1, 1],
      [1, 3],
      [2, 8],
      [3, 33],
      [2, 576],
    ] as const) {
      const nRows = 8 * nTiles - 3;
      const rows = ggufRows(type, nRows, nCols, draw);
      const linear = linearRecord(instance, packed(instance, type, rows, nRows, nCols).address, form, nRows, nCols);
      const values = bells(nCols, draw);
      const x = instance.input(values);
      const out = instance.output(nTiles * 32);
      const expected = instance.output(nTiles * 32);
      gemvFloat(out.address, x.address, linear);
      gemvFloatRef(expected.address, x.address, linear);
      sameBits(out.f32, expected.f32, `${name}, ${nTiles} tiles of ${nCols}`);
      const bytes = rows.length / nRows;
      const sums = Array.from({ length: 8 * nTiles }, (_, row) => {
        return linearExact(weightsRef(rows.slice(row * bytes, (row + 1) * bytes), type), values);
      });
      const bound = (row: number) => nCols * UNIT * sums[row]!.size + 2 ** -149;
      worst = Math.max(
        worst,
        within(
          out.f32,
          sums.map(({ value }) => value),
          bound,
          `${name}, ${nCols} columns`,
        ),
      );
      instance.reset();
    }
  }
  report("gemm-float, share of the bound", worst, "");
});

test("GEMM: four tokens, the bits of its reference and of GEMV token by token; outputs of any stride", () => {
  const draw = draws(25);
  for (const [type, form, name] of FLOAT_FORMS) {
    for (const [nTiles, nCols, spare] of [
      [1, 1, 0],
      [2, 8, 0],
      [3, 33, 8],
      [1, 576, 32],
    ] as const) {
      const nRows = 8 * nTiles;
      const weights = packed(instance, type, ggufRows(type, nRows, nCols, draw), nRows, nCols);
      const linear = linearRecord(instance, weights.address, form, nRows, nCols);
      const x = instance.input(bells(TOKENS * nCols, draw, 2));
      const outStride = nTiles * 32 + spare * 4;
      const out = instance.output(outStride * (TOKENS - 1) + nTiles * 32);
      const expected = instance.output(out.nBytes);
      gemmFloat(out.address, outStride, x.address, linear);
      gemmFloatRef(expected.address, outStride, x.address, linear);
      sameBits(out.f32, expected.f32, `${name}, ${nTiles} tiles of ${nCols}, against the reference`);
      const one = instance.output(nTiles * 32);
      for (let t = 0; t < TOKENS; ++t) {
        gemvFloat(one.address, x.address + t * nCols * 4, linear);
        const from = (t * outStride) / 4;
        sameBits(copyOf(out).slice(from, from + nRows), copyOf(one), `${name}, token ${t}, against GEMV`);
      }
      instance.reset();
    }
  }
});

test("columns are added in ascending order, each product rounded before it is added", () => {
  for (const [type, form, name] of FLOAT_FORMS) {
    // (1 + 2^-7)^2 = 1 + 2^-6 + 2^-14: exact in f32; times x = 1 + 2^-20 it is not, and a fused sum would show.
    const column = (bits: number) => (type === 0 ? [bits & 0xffff, bits >>> 16] : [bits]);
    const big = { F32: 0x3f810000, F16: 0x3c08, BF16: 0x3f81 }[name as "F32" | "F16" | "BF16"];
    const rows = new Uint8Array(Uint16Array.from([big, big, big].flatMap(column)).buffer);
    const values = Float32Array.of(2 ** 24, 1 + 2 ** -20, 1 + 2 ** -20);
    const linear = linearRecord(instance, packed(instance, type, rows, 1, 3).address, form, 1, 3);
    const out = instance.output(32);
    gemvFloat(out.address, instance.input(values).address, linear);
    let expected = 0;
    for (const value of values) expected = Math.fround(expected + Math.fround(value * (1 + 2 ** -7)));
    sameBits(out.f32.slice(0, 1), Float32Array.of(expected), name);
  }
});

test.run();
