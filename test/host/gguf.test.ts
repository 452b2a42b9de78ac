/**
 * What `readHeader` gives for whole files: the same from every kind of source, and the same as the parser library alone.
 * @module
 */

import { openAsBlob } from "node:fs";
import { readFile } from "node:fs/promises";
import { gguf } from "@huggingface/gguf";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openFile } from "../../bindings/node/file-source.ts";
import { ThimbleError } from "../../host/errors.ts";
import { readHeader } from "../../host/gguf.ts";
import { checkEnd } from "../../host/header.ts";
import {
  metadataBoolean,
  metadataInteger,
  metadataNumber,
  metadataNumbers,
  metadataString,
  metadataStrings,
} from "../../host/metadata.ts";
import { openSource } from "../../host/sources.ts";
import { GGUF_TYPE, tensorType } from "../../host/tensor-type.ts";
import { type GgufValue, writeGguf } from "./gguf-writer.ts";

const MODEL = "models/thimble-15m.Q4_0.gguf";
const LLAMA = { "general.architecture": { type: "string", value: "llama" } } as const;

function inPieces(bytes: Uint8Array, pieceBytes: number): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at >= bytes.byteLength) return controller.close();
      controller.enqueue(bytes.slice(at, at + pieceBytes));
      at += pieceBytes;
    },
  });
}

test("the embedded model reads the same from path, bytes, Blob and stream", async () => {
  const bytes = new Uint8Array(await readFile(MODEL));
  const file = await openFile(MODEL);
  const header = await readHeader(file);
  await file.close();
  assert.is(header.architecture, "llama");
  assert.is(header.size, 10_724_672);
  assert.is(header.dataOffset, 278_336);
  assert.is(header.tensors.length, 74);
  const last = header.tensors.at(-1)!;
  assert.is(last.offset + last.bytes, header.size);
  for (const source of [bytes, bytes.buffer, await openAsBlob(MODEL)]) {
    assert.equal(await readHeader(openSource(source, MODEL)), header);
  }
  for (const pieceBytes of [4_093, 65_537, 1_000_003]) {
    const stream = openSource(inPieces(bytes, pieceBytes), MODEL);
    assert.equal(await readHeader(stream), { ...header, size: undefined });
    assert.equal(await readHeader(stream), { ...header, size: undefined }, "again, before any release");
    await stream.close();
  }
});

test("metadata and tensors are those of the parser library alone", async () => {
  const bytes = new Uint8Array(await readFile(MODEL));
  const serve: typeof fetch = async (_address, init) => {
    const [start, last] = /(\d+)-(\d+)$/.exec(new Headers(init?.headers).get("range")!)!.slice(1).map(Number);
    return new Response(bytes.slice(start, last! + 1));
  };
  const expected = await gguf("https://model.invalid/", { fetch: serve });
  const header = await readHeader(openSource(bytes));
  const { version, tensor_count, kv_count, ...metadata } = expected.metadata as Record<string, unknown>;
  assert.is(header.version, version);
  assert.is(BigInt(header.tensors.length), tensor_count);
  assert.is(BigInt(Object.keys(header.metadata).length), kv_count);
  assert.equal({ ...header.metadata }, metadata);
  assert.is(BigInt(header.dataOffset), expected.tensorDataOffset);
  const byName = new Map(header.tensors.map((tensor) => [tensor.name, tensor]));
  for (const info of expected.tensorInfos) {
    const { type, shape, offset } = byName.get(info.name)!;
    assert.equal(
      [type, shape.map(BigInt), BigInt(offset) - expected.tensorDataOffset],
      [info.dtype, info.shape, info.offset],
    );
  }
});

test("every known tensor type reads, with its bytes; an unknown one is named", async () => {
  const tensors = Object.entries(GGUF_TYPE).map(([name, type]) => ({ name, type, shape: [512, 3, 2] }));
  const header = await readHeader(openSource(writeGguf({ metadata: LLAMA, tensors })));
  assert.equal(
    header.tensors.map(({ name }) => name),
    Object.keys(GGUF_TYPE),
  );
  for (const tensor of header.tensors) {
    const { blockLength, blockBytes } = tensorType(tensor.type)!;
    assert.is(tensor.typeName, tensor.name);
    assert.equal([tensor.columns, tensor.rows, tensor.bytes], [512, 6, (3072 / blockLength) * blockBytes]);
  }
  for (const id of [4, 5, 31, 36, 40, 4_294_967_295]) {
    const broken = writeGguf({ metadata: LLAMA, tensors: [{ name: "odd", type: id, shape: [32] }] });
    try {
      await readHeader(openSource(broken));
      assert.unreachable();
    } catch (error) {
      assert.instance(error, ThimbleError);
      assert.equal([(error as ThimbleError).code, (error as ThimbleError).subject], ["unsupported_type", "odd"]);
    }
  }
});

test("block sizes give the bits per weight that llama.cpp publishes", () => {
  const bitsPerWeight = {
    ...{ F64: 64, F32: 32, F16: 16, BF16: 16, I8: 8, I16: 16, I32: 32, I64: 64 },
    ...{ Q4_0: 4.5, Q4_1: 5, Q5_0: 5.5, Q5_1: 6, Q8_0: 8.5, Q8_1: 9, MXFP4: 4.25, TQ1_0: 1.6875, TQ2_0: 2.0625 },
    ...{ Q2_K: 2.625, Q3_K: 3.4375, Q4_K: 4.5, Q5_K: 5.5, Q6_K: 6.5625, Q8_K: 9.125, IQ1_S: 1.5625, IQ1_M: 1.75 },
    ...{ IQ2_XXS: 2.0625, IQ2_XS: 2.3125, IQ2_S: 2.5625, IQ3_XXS: 3.0625, IQ3_S: 3.4375, IQ4_NL: 4.5, IQ4_XS: 4.25 },
  };
  assert.equal(Object.keys(bitsPerWeight).sort(), Object.keys(GGUF_TYPE).sort());
  for (const [name, id] of Object.entries(GGUF_TYPE)) {
    const { blockLength, blockBytes } = tensorType(id)!;
    assert.is((8 * blockBytes) / blockLength, bitsPerWeight[name as keyof typeof GGUF_TYPE], name);
  }
});

test("tensors are sorted by offset, gaps allowed, and placed by the file's alignment", async () => {
  const tensors = [
    { name: "second", type: GGUF_TYPE.F32, shape: [4], offset: 192 },
    { name: "first", type: GGUF_TYPE.F32, shape: [4], offset: 0 },
    { name: "filler", type: GGUF_TYPE.F32, shape: [4], offset: 64 },
    { name: "end", type: GGUF_TYPE.F32, shape: [4], offset: 128 },
  ];
  const header = await readHeader(openSource(writeGguf({ metadata: LLAMA, tensors, alignment: 64 })));
  assert.equal(
    header.tensors.map(({ name, offset }) => [name, offset - header.dataOffset]),
    [
      ["first", 0],
      ["filler", 64],
      ["end", 128],
      ["second", 192],
    ],
  );
  assert.is(header.dataOffset % 64, 0);
  assert.is(header.alignment, 64);
});

test("strings of every kind come through: U+FEFF, invalid UTF-8, four-byte characters, a very long one", async () => {
  const long = "ä".repeat(1_300_000);
  const words = ["", "\ufeff", "\ufeffa", "Ġthe", "😀", "\0", "日本", "a".repeat(70), "constructor"];
  const twoStrings = [8, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0];
  const half = (byte: number) => [1, 0, 0, 0, 0, 0, 0, 0, byte];
  const metadata = {
    ...LLAMA,
    long: { type: "string", value: long },
    words: { type: "string[]", value: words },
    none: { type: "string[]", value: [] },
    // "é" cut into two strings: valid together, invalid each.
    halves: { type: "raw", id: 9, value: new Uint8Array([...twoStrings, ...half(0xc3), ...half(0xa9)]) },
    version: { type: "string", value: "its own" },
  } as const;
  const pairs: [string, GgufValue][] = [...Object.entries(metadata), ["__proto__", { type: "u32[]", value: [1] }]];
  const header = await readHeader(openSource(writeGguf({ metadata: pairs, tensors: [] })));
  assert.is(header.metadata.long, long);
  assert.equal(header.metadata.words, words);
  assert.equal(header.metadata.none, []);
  assert.equal(header.metadata.halves, ["\ufffd", "\ufffd"]);
  assert.is(header.metadata.version, "its own");
  assert.is(header.metadata.tensor_count, undefined);
  assert.is(Object.getPrototypeOf(header.metadata), null);
});

test("numbers in an array larger than the library's buffer", async () => {
  const value = Array.from({ length: 300_000 }, (_, i) => i * 3);
  const metadata = { ...LLAMA, big: { type: "f64[]", value }, after: { type: "u8", value: 7 } } as const;
  const header = await readHeader(openSource(writeGguf({ metadata, tensors: [] })));
  assert.ok(metadataNumbers(header, "big").every((number, i) => number === i * 3));
  assert.is(metadataNumbers(header, "big").length, value.length);
  assert.is(header.metadata.after, 7);
});

test("typed getters check kind and limits, and convert 64-bit integers", async () => {
  const metadata = {
    ...LLAMA,
    wide: { type: "u64", value: 2 ** 40 },
    huge: { type: "u64", value: 2n ** 60n },
    half: { type: "f32", value: 0.5 },
    nan: { type: "f32", value: Number.NaN },
    yes: { type: "bool", value: true },
    list: { type: "i64[]", value: [1, -2] },
    words: { type: "string[]", value: ["a"] },
  } as const;
  const header = await readHeader(openSource(writeGguf({ metadata, tensors: [] }), "small.gguf"));
  assert.is(metadataInteger(header, "wide"), 2 ** 40);
  assert.is(metadataNumber(header, "half", { min: 0, max: 0.5 }), 0.5);
  assert.is(metadataNumber(header, "none", { default: 3 }), 3);
  assert.is(metadataString(header, "none", { default: undefined }), undefined);
  assert.is(metadataString({ metadata: {} }, "constructor", { default: "none" }), "none");
  assert.is(metadataString({ metadata: header.metadata }, "general.architecture"), "llama");
  assert.is(metadataBoolean(header, "yes"), true);
  assert.equal(metadataNumbers(header, "list"), [1, -2]);
  assert.equal(metadataStrings(header, "words"), ["a"]);
  const fails: [() => unknown, string][] = [
    [() => metadataNumber(header, "none"), "missing_metadata"],
    [() => metadataNumber(header, "constructor"), "missing_metadata"],
    [() => metadataNumber(header, "yes"), "missing_metadata"],
    [() => metadataString(header, "half"), "missing_metadata"],
    [() => metadataBoolean(header, "half"), "missing_metadata"],
    [() => metadataStrings(header, "list"), "missing_metadata"],
    [() => metadataNumbers(header, "words"), "missing_metadata"],
    [() => metadataNumbers(header, "half"), "missing_metadata"],
    [() => metadataNumber(header, "nan"), "malformed_file"],
    [() => metadataNumber(header, "huge"), "malformed_file"],
    [() => metadataInteger(header, "half"), "malformed_file"],
    [() => metadataInteger(header, "wide", { max: 100 }), "malformed_file"],
    [() => metadataNumbers(header, "list", { min: 0 }), "malformed_file"],
  ];
  for (const [read, code] of fails) {
    assert.throws(read, (error: ThimbleError) => error.code === code && error.file === "small.gguf", read.toString());
  }
});

test("a stream's data is checked when its end is known", async () => {
  const tensors = [{ name: "w", type: GGUF_TYPE.F32, shape: [100_000] }];
  const bytes = writeGguf({ metadata: LLAMA, tensors });
  const header = await readHeader(openSource(inPieces(bytes, 10_000)));
  assert.is(header.size, undefined);
  checkEnd(header, bytes.byteLength);
  assert.throws(
    () => checkEnd(header, bytes.byteLength - 1),
    (error: ThimbleError) => error.code === "truncated_file" && error.needed === bytes.byteLength,
  );
});

test("an aborted read throws the signal's reason", async () => {
  const reason = new Error("enough");
  const file = await openFile(MODEL);
  for (const source of [openSource(new Uint8Array(100)), openSource(new Blob(["GGUF"])), file]) {
    const result = await readHeader(source, AbortSignal.abort(reason)).catch((error: unknown) => error);
    assert.is(result, reason);
  }
  await file.close();
});

test.run();
