/**
 * Broken and hostile files: each ends in a typed error that says what is wrong, soon and in bounded memory.
 * @module
 */

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ThimbleError, type ThimbleErrorCode } from "../../host/errors.ts";
import { readHeader } from "../../host/gguf.ts";
import type { GgufHeader } from "../../host/header.ts";
import type { ByteSource } from "../../host/source.ts";
import { openSource } from "../../host/sources.ts";
import { GGUF_TYPE } from "../../host/tensor-type.ts";
import { type GgufFile, writeGguf } from "./gguf-writer.ts";

const { F32, Q4_0 } = GGUF_TYPE;
const metadata = {
  "general.architecture": { type: "string", value: "llama" },
  "llama.block_count": { type: "u32", value: 2 },
  "tokenizer.ggml.tokens": { type: "string[]", value: ["<s>", "Ġa", "b"] },
  "tokenizer.ggml.scores": { type: "f32[]", value: [0, -1, -2] },
} as const;
const tensors = [
  { name: "token_embd.weight", type: Q4_0, shape: [64, 3] },
  { name: "output_norm.weight", type: F32, shape: [64] },
];
const SMALL: GgufFile = { metadata, tensors };

/** The error of reading `bytes`, or undefined. */
async function failure(bytes: Uint8Array | ByteSource): Promise<ThimbleError | undefined> {
  try {
    await readHeader(openSource(bytes, "test.gguf"));
    return undefined;
  } catch (error) {
    assert.instance(error, ThimbleError, `${error}`);
    return error as ThimbleError;
  }
}

async function fails(file: Partial<GgufFile>, code: ThimbleErrorCode, message: RegExp): Promise<void> {
  const error = await failure(writeGguf({ ...SMALL, ...file }));
  assert.is(error?.code, code, error?.message ?? `expected ${message}`);
  assert.match(error!.message, message);
  assert.match(error!.message, /^test\.gguf: /);
}

test("not a GGUF file: the message shows how it begins", async () => {
  const text = (content: string) => failure(new TextEncoder().encode(content));
  for (const [content, message] of [
    ["", /is empty/],
    ["GG", /begins with "GG" \(47 47\)/],
    ["PK\u0003\u0004rest", /begins with "PK\.\." \(50 4b 03 04\)/],
    ["version https://git-lfs.github.com/spec/v1", /Git LFS pointer/],
    ["<!DOCTYPE html><html>", /web page/],
  ] as const) {
    const error = await text(content);
    assert.is(error?.code, "bad_magic");
    assert.match(error!.message, message);
  }
});

test("versions", async () => {
  assert.is(await failure(writeGguf({ ...SMALL, version: 2 })), undefined);
  for (const version of [0, 1, 4, 99]) await fails({ version }, "malformed_file", /version \d+ is not supported/);
  await fails({ version: 3 * 2 ** 24 }, "malformed_file", /big-endian/);
});

test("absurd counts and lengths", async () => {
  const raw = (id: number, ...bytes: number[]) => ({ x: { type: "raw", id, value: new Uint8Array(bytes) } }) as const;
  await fails({ tensorCount: 100_001 }, "malformed_file", /100001 tensors/);
  await fails({ tensorCount: 2n ** 64n - 1n }, "malformed_file", /tensors/);
  await fails({ keyCount: 2n ** 63n }, "malformed_file", /metadata keys/);
  await fails({ keyCount: 90_000 }, "malformed_file", /bytes of a metadata key/);
  await fails({ tensors: [], tensorCount: 3 }, "truncated_file", /a tensor name/);
  await fails({ metadata: raw(8, 0, 0, 0, 0, 1) }, "malformed_file", /bytes of metadata key "x"/);
  await fails({ metadata: raw(9, 5, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0) }, "malformed_file", /4294967296 elements/);
  await fails({ metadata: raw(9, 5, 0, 0, 0, 64, 66, 15, 0, 0, 0, 0, 0) }, "truncated_file", /metadata key "x"/);
  await fails({ metadata: raw(9, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0) }, "malformed_file", /array of arrays/);
  await fails({ metadata: raw(9, 13, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0) }, "malformed_file", /value type 13/);
  await fails({ metadata: raw(13) }, "malformed_file", /value type 13/);
});

test("many arrays of a byte do not become many millions of values", async () => {
  const array = new Uint8Array(4 + 8 + 1_000_000);
  new DataView(array.buffer).setUint32(4, 1_000_000, true);
  const pairs = Array.from({ length: 5 }, (_, i) => [`a${i}`, { type: "raw", id: 9, value: array }] as const);
  await fails({ metadata: pairs }, "malformed_file", /more than 4000000 elements/);
});

test("a header without end stops at the limit", async () => {
  const big = "x".repeat(9_000_000);
  const pairs = Array.from({ length: 6 }, (_, i) => [`key${i}`, { type: "string", value: big }] as const);
  const bytes = writeGguf({ metadata: pairs, tensors: [], keyCount: 100_000 });
  let at = 0;
  const stream = new ReadableStream<Uint8Array>({
    pull(controller) {
      // After the first 54 MB, zeros for ever.
      controller.enqueue(at < bytes.byteLength ? bytes.subarray(at, at + 1_000_000) : new Uint8Array(1_000_000));
      at += 1_000_000;
    },
  });
  const error = await failure(openSource(stream, "test.gguf"));
  assert.is(error?.code, "malformed_file");
  assert.match(error!.message, /header is longer than 48000000 bytes/);
  assert.ok(at < 51_000_000, `${at} bytes were read`);
});

/** End of the metadata of `SMALL`, where its first tensor's name begins. */
function headerEnd(bytes: Uint8Array): number {
  return new TextDecoder("latin1").decode(bytes).indexOf("token_embd.weight") - 8;
}

test("metadata that contradicts itself", async () => {
  const pairs = [...Object.entries(metadata), ["llama.block_count", { type: "u32", value: 3 }]] as const;
  await fails({ metadata: pairs }, "malformed_file", /"llama.block_count" appears twice/);
  await fails({ metadata: {} }, "missing_metadata", /general\.architecture/);
  await fails({ metadata: { "general.architecture": { type: "u32", value: 1 } } }, "missing_metadata", /a string/);
  for (const alignment of [0, 3, 48, 131_072]) {
    const value = { type: "u32", value: alignment } as const;
    await fails({ metadata: { ...metadata, "general.alignment": value } }, "malformed_file", /general\.alignment/);
  }
});

test("tensors that contradict themselves or each other", async () => {
  const [a, b] = tensors as [(typeof tensors)[0], (typeof tensors)[0]];
  const with_ = (change: object) => ({ tensors: [a, { ...b, ...change }] });
  await fails(with_({ shape: [] }), "malformed_file", /0 dimensions/);
  await fails(with_({ shape: [1, 1, 1, 1, 1] }), "malformed_file", /5 dimensions/);
  await fails(with_({ shape: [64, 0] }), "malformed_file", /empty dimension/);
  await fails(with_({ shape: [2 ** 30, 2 ** 30], data: new Uint8Array(64) }), "malformed_file", /too large/);
  await fails(with_({ shape: [2n ** 64n - 1n], data: new Uint8Array(64) }), "malformed_file", /could not be parsed/);
  await fails(with_({ type: Q4_0, shape: [48, 2] }), "malformed_file", /multiples of 32/);
  await fails(with_({ offset: 112 }), "malformed_file", /not aligned to 32/);
  await fails(with_({ offset: 64 }), "malformed_file", /"token_embd.weight" and "output_norm.weight" overlap/);
  await fails(with_({ name: a.name }), "malformed_file", /"token_embd.weight" appears twice/);
  await fails(with_({ offset: 2n ** 63n }), "malformed_file", /too large/);
  await fails(with_({ offset: 2 ** 40 }), "truncated_file", /output_norm/);
  await fails(with_({ name: "n".repeat(70_000) }), "malformed_file", /a tensor name/);
});

test("a file cut anywhere: an error of truncation, with the amounts; whole only at full length", async () => {
  const bytes = writeGguf(SMALL);
  for (let length = 0; length < bytes.byteLength; length++) {
    const error = await failure(bytes.subarray(0, length));
    assert.is(error?.code, length < 4 ? "bad_magic" : "truncated_file", `cut at ${length}`);
    if (length < 4) continue;
    assert.is(error?.available, length);
    assert.ok(error!.needed! > length && error!.needed! <= bytes.byteLength, `cut at ${length}: ${error?.needed}`);
  }
  assert.is(await failure(bytes), undefined);
});

test("a changed header: a typed error or a header whose every tensor lies in the file", async () => {
  const bytes = writeGguf(SMALL);
  const end = headerEnd(bytes) + 140;
  const change = fc.record({ at: fc.nat(end - 1), byte: fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 127, 128, 255)) });
  let read = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 6 }), async (changes) => {
      const changed = bytes.slice();
      for (const { at, byte } of changes) changed[at] = byte;
      let header: GgufHeader;
      try {
        header = await readHeader(openSource(changed));
      } catch (error) {
        assert.instance(error, ThimbleError, `${error}`);
        return;
      }
      read++;
      for (const tensor of header.tensors) {
        assert.ok(tensor.offset >= header.dataOffset && tensor.offset + tensor.bytes <= changed.byteLength);
      }
    }),
    { numRuns: 500, seed: 20_260_801, interruptAfterTimeLimit: 20_000 },
  );
  assert.ok(read > 10 && read < 490, `${read} of 500 read`);
});

test.run();
