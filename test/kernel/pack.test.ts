import * as assert from "uvu/assert";
import { type Form, TensorType } from "../../assembly/memory/status.ts";
import { weightsRef } from "../oracle/blocks.ts";
import { sameBits, sameBytes } from "./compare.ts";
import { checkedSuite, copyOf, Instance, type Region } from "./instance.ts";
import { FORMS, ggufRows, KINDS, linearRecord, packed } from "./quantized.ts";
import { draws, floats } from "./values.ts";

const instance = new Instance();
const { dequantizeRow, packRows, rowBytes, tileBytes, unpackRow } = instance.exports;
const test = checkedSuite("pack", instance);

function unpacked(tiles: Region, form: Form, row: number, nCols: number): Float32Array {
  const out = instance.output(nCols * 4);
  unpackRow(out.address, tiles.address, form, row, nCols);
  return copyOf(out);
}

function dequantized(row: Uint8Array, type: TensorType, nCols: number): Float32Array {
  const out = instance.output(nCols * 4);
  dequantizeRow(out.address, instance.input(row).address, type, nCols);
  return copyOf(out);
}

test("sizes: GGUF's bytes a row, and tiles of 8 rows as large as the file's rows", () => {
  const perBlock = FORMS.map(([type, form]) => [rowBytes(type, 32), tileBytes(form, 32)]);
  assert.equal(
    perBlock,
    [128, 64, 64, 18, 20, 34].map((bytes) => [bytes, 8 * bytes]),
  );
  for (const [type, form] of FORMS) {
    assert.is(rowBytes(type, 576), 18 * rowBytes(type, 32));
    assert.is(tileBytes(form, 576), 18 * tileBytes(form, 32));
  }
});

test("dequantized rows are the format's values, rounded once", () => {
  const draw = draws(11);
  for (const [type, , name] of FORMS) {
    for (const kind of KINDS) {
      const row = ggufRows(type, 1, 160, draw, kind);
      const expected = weightsRef(row, type);
      dequantized(row, type, 160).forEach((value, c) => {
        if (value !== Math.fround(expected[c]!)) assert.unreachable(`${name}, ${kind}, column ${c}: ${value}`);
      });
    }
  }
});

test("packing loses nothing: every row comes back bit for bit, rows past the last are zero", () => {
  const draw = draws(12);
  for (const [type, form, name] of FORMS) {
    for (const nRows of [1, 3, 4, 5, 7, 8, 9, 16, 21]) {
      const nCols = [32, 64, 160][nRows % 3]!;
      const rows = ggufRows(type, nRows, nCols, draw, KINDS[nRows % 4]!);
      const stride = rowBytes(type, nCols);
      const tiles = packed(instance, type, rows, nRows, nCols);
      for (let row = 0; row < nRows; ++row) {
        const source = dequantized(rows.subarray(row * stride, (row + 1) * stride), type, nCols);
        sameBits(unpacked(tiles, form, row, nCols), source, `${name}, row ${row} of ${nRows}`);
      }
      for (let row = nRows; row % 8 !== 0; ++row) {
        assert.ok(
          unpacked(tiles, form, row, nCols).every((value) => value === 0),
          `${name}, padding row ${row}`,
        );
      }
      instance.reset();
    }
  }
});

test("float forms take any number of columns", () => {
  const draw = draws(13);
  for (const [type, form] of FORMS.slice(0, 3)) {
    const rows = ggufRows(type, 3, 7, draw);
    const tiles = packed(instance, type, rows, 3, 7);
    sameBits(unpacked(tiles, form, 2, 7), dequantized(rows.slice((rows.length / 3) * 2), type, 7), "row 2");
  }
});

test("some columns of a tile as floats: wherever they begin and end in a block", () => {
  const draw = draws(15);
  const nRows = 21;
  const nCols = 192;
  for (const [type, form, name] of FORMS) {
    const tiles = packed(instance, type, ggufRows(type, nRows, nCols, draw), nRows, nCols);
    const matrix = linearRecord(instance, tiles.address, form, nRows, nCols);
    for (const n of [16, 48, 64]) {
      for (let first = 0; first < nCols; first += n) {
        const out = instance.output(n * 32 + (n + 64) * 4);
        for (const t of [0, 2]) {
          instance.exports.unpackTile(out.address, matrix, t, first, n);
          const tile = copyOf(out);
          for (let r = 0; r < 8; ++r) {
            const row = unpacked(tiles, form, t * 8 + r, nCols).subarray(first, first + n);
            const actual = Float32Array.from(row, (_, c) => tile[c * 8 + r]!);
            sameBits(actual, row, `${name}, columns ${first} to ${first + n}, tile ${t}, row ${r}`);
          }
        }
      }
    }
    instance.reset();
  }
});

test("Q4_0 and Q8_0 lie as the drawing says: what a row's bytes become", () => {
  const source = (nBytes: number) => Uint8Array.from({ length: 8 * nBytes }, (_, i) => (i % nBytes < 2 ? 0 : i));
  const q4 = source(18);
  const tiles = packed(instance, TensorType.Q4_0, q4, 8, 32).u8;
  for (let row = 0; row < 8; ++row) {
    for (let byte = 0; byte < 16; ++byte) {
      const at = (row >> 2) * 72 + (byte >> 2) * 16 + (row & 3) * 4 + (byte & 3);
      assert.is(tiles[at], q4[row * 18 + 2 + byte], `row ${row}, byte ${byte}`);
    }
  }
  const q8 = source(34);
  const bytes = packed(instance, TensorType.Q8_0, q8, 8, 32).u8;
  const columns = [0, 4, 8, 12].flatMap((c) => [c, c + 2, 16 + c, 18 + c, c + 1, c + 3, 17 + c, 19 + c]);
  for (let row = 0; row < 8; ++row) {
    for (const [place, column] of columns.entries()) {
      const at = (row >> 2) * 136 + (place >> 1) * 8 + (row & 3) * 2 + (place & 1);
      assert.is(bytes[at], q8[row * 34 + 2 + column], `row ${row}, column ${column}`);
    }
  }
});

test("permute: packed row i of a head is the file's row 2i, row i + d/2 the file's row 2i + 1", () => {
  const draw = draws(14);
  for (const [type, form, name] of FORMS) {
    for (const [headDim, nHeads] of [[8, 3] as const, [16, 2] as const, [20, 1] as const, [4, 3] as const]) {
      const nRows = headDim * nHeads;
      const rows = ggufRows(type, nRows, 32, draw);
      const stride = rowBytes(type, 32);
      const tiles = instance.output(tileBytes(form, 32) * Math.ceil(nRows / 8));
      assert.is(Number(packRows(tiles.address, instance.input(rows).address, type, nRows, 32, headDim)), 1);
      for (let row = 0; row < nRows; ++row) {
        const within = row % headDim;
        const half = headDim / 2;
        const from = row - within + (within < half ? 2 * within : 2 * (within - half) + 1);
        const source = dequantized(rows.subarray(from * stride, (from + 1) * stride), type, 32);
        sameBits(unpacked(tiles, form, row, 32), source, `${name}, head dim ${headDim}, row ${row}`);
      }
      instance.reset();
    }
  }
});

test("infinite and NaN halves are refused wherever they are: scales, minima, F16 weights; BF16 and F32 go through", () => {
  const draw = draws(15);
  const refuses = (type: TensorType, at: (row: number, block: number) => number) => {
    const stride = rowBytes(type, 64);
    for (const bits of [0x7c00, 0xfc00, 0x7e00, 0xfdff]) {
      for (const [row, block] of [[0, 0] as const, [4, 1] as const, [10, 1] as const]) {
        const rows = ggufRows(type, 11, 64, draw);
        new DataView(rows.buffer).setUint16(row * stride + at(row, block), bits, true);
        const form = FORMS.find(([id]) => id === type)![1];
        const tiles = instance.output(tileBytes(form, 64) * 2);
        const ok = packRows(tiles.address, instance.input(rows).address, type, 11, 64, 0);
        assert.is(Number(ok), 0, `type ${type}, row ${row}, block ${block}, ${bits.toString(16)}`);
      }
    }
    instance.reset();
  };
  refuses(TensorType.Q4_0, (_, block) => 18 * block);
  refuses(TensorType.Q8_0, (_, block) => 34 * block);
  refuses(TensorType.Q4_1, (_, block) => 20 * block);
  refuses(TensorType.Q4_1, (_, block) => 20 * block + 2);
  refuses(TensorType.F16, (row, block) => (row + 31 * block) * 2);
  packed(instance, TensorType.BF16, new Uint8Array(Uint16Array.of(0x7f80, 0xff80).buffer), 1, 2);
  packed(instance, TensorType.F32, new Uint8Array(floats(2, () => Infinity).buffer), 1, 2);
});

test("padding rows are packed zeros, not what was there", () => {
  const draw = draws(16);
  for (const [type, , name] of FORMS) {
    const rows = ggufRows(type, 8, 32, draw);
    const short = packed(instance, type, rows.slice(0, rowBytes(type, 32) * 5), 5, 32).u8;
    const zeros = rows.slice();
    zeros.fill(0, rowBytes(type, 32) * 5);
    sameBytes(short, packed(instance, type, zeros, 8, 32).u8, name);
  }
});

test.run();
