/**
 * Every tensor type against `gguf.quants.dequantize` on random blocks (test/golden/make_dequantize_golden.py), bit for bit:
 * dequantized from the file's rows, and read back from the packed matrix that the kernels compute with.
 */
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { GGUF_TYPE, tensorType } from "../../host/tensor-type.ts";
import { packedBytes, weightForm } from "../../host/weight-form.ts";

const FOLDER = "test/golden/dequantize";
const ROWS = 4;
const COLUMNS = 512;

const TYPES = [
  "F16",
  "BF16",
  "Q4_0",
  "Q4_1",
  "Q5_0",
  "Q5_1",
  "Q8_0",
  "Q2_K",
  "Q3_K",
  "Q4_K",
  "Q5_K",
  "Q6_K",
  "IQ4_NL",
  "IQ4_XS",
] as const;

interface Exports {
  readonly memory: WebAssembly.Memory;
  arenaStart(): void;
  arenaAlloc(bytes: bigint): number;
  formOf(type: number): number;
  tileBytes(form: number, nCols: number): number;
  rowBytes(type: number, nCols: number): number;
  packRows(dst: number, src: number, type: number, nRows: number, nCols: number, permute: number): number;
  dequantizeRow(out: number, src: number, type: number, nCols: number): void;
  unpackRow(out: number, tiles: number, form: number, row: number, nCols: number): void;
  floatToHalf(value: number): number;
  halfToFloat(bits: number): number;
}

function engine(): Exports {
  const module = new WebAssembly.Module(readFileSync("build/wasm/test.wasm"));
  const exports = new WebAssembly.Instance(module, { env: { abort: () => {} } }).exports as unknown as Exports;
  exports.arenaStart();
  return exports;
}

function goldenRow(values: Buffer, row: number): Uint32Array {
  const bytes = values.subarray(row * COLUMNS * 4, (row + 1) * COLUMNS * 4);
  return new Uint32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

for (const name of TYPES) {
  const id = GGUF_TYPE[name];

  test(`${name}: dequantized rows and packed rows have the reference's bits`, () => {
    const e = engine();
    const blocks = readFileSync(`${FOLDER}/${name}.blocks`);
    const golden = readFileSync(`${FOLDER}/${name}.f32`);
    const src = e.arenaAlloc(BigInt(blocks.length));
    new Uint8Array(e.memory.buffer, src, blocks.length).set(blocks);
    const out = e.arenaAlloc(BigInt(COLUMNS * 4));
    const bits = (): Uint32Array => new Uint32Array(e.memory.buffer, out, COLUMNS);
    const rowBytes = e.rowBytes(id, COLUMNS);
    assert.is(rowBytes, blocks.length / ROWS);
    assert.is(
      rowBytes,
      (COLUMNS / tensorType(id)!.blockLength) * tensorType(id)!.blockBytes,
      "host/tensor-type.ts agrees",
    );
    for (let row = 0; row < ROWS; ++row) {
      e.dequantizeRow(out, src + row * rowBytes, id, COLUMNS);
      assert.equal(bits(), goldenRow(golden, row), `row ${row} dequantized`);
    }
    const form = e.formOf(id);
    assert.is(weightForm(id, "int8"), form, "host/weight-form.ts agrees");
    assert.is(packedBytes(form, ROWS, COLUMNS), e.tileBytes(form, COLUMNS));
    const tiles = e.arenaAlloc(BigInt(e.tileBytes(form, COLUMNS)));
    assert.ok(e.packRows(tiles, src, id, ROWS, COLUMNS, 0));
    for (let row = 0; row < 8; ++row) {
      e.unpackRow(out, tiles, form, row, COLUMNS);
      if (row < ROWS) assert.equal(bits(), goldenRow(golden, row), `row ${row} packed`);
      else
        assert.ok(
          bits().every((word) => (word & 0x7fffffff) === 0),
          `padding row ${row} is zero`,
        );
    }
  });
}

test("f16 scales survive the way through f32", () => {
  const e = engine();
  for (let half = 0; half < 65536; ++half) {
    const isNotANumber = (half & 0x7c00) === 0x7c00 && (half & 0x3ff) !== 0;
    if (!isNotANumber && e.floatToHalf(e.halfToFloat(half)) !== half) throw new Error(`half ${half.toString(16)}`);
  }
});

test.run();
