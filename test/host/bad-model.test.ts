/** Files that parse as GGUF but cannot be run: each is a typed error with the file's name, never a trap or nonsense. */
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { ThimbleError, ThimbleErrorCode } from "../../host/errors.ts";
import type { LoadOptions } from "../../host/load-engine.ts";
import type { ByteSource } from "../../host/source.ts";
import { openSource } from "../../host/sources.ts";
import { load } from "../model/load.ts";
import { type GgufTensor, type GgufValue, writeGguf } from "./gguf-writer.ts";

const HIDDEN = 32;
const VOCAB = 16;

type Metadata = Record<string, GgufValue>;

/** A one-layer llama that loads: 2 heads of 16, F32. */
function tiny(): { metadata: Metadata; tensors: GgufTensor[] } {
  const u32 = (value: number): GgufValue => ({ type: "u32", value });
  const metadata: Metadata = {
    "general.architecture": { type: "string", value: "llama" },
    "llama.block_count": u32(1),
    "llama.embedding_length": u32(HIDDEN),
    "llama.feed_forward_length": u32(64),
    "llama.attention.head_count": u32(2),
    "llama.attention.head_count_kv": u32(1),
    "llama.context_length": u32(64),
    "llama.attention.layer_norm_rms_epsilon": { type: "f32", value: 1e-5 },
  };
  const shapes: Record<string, number[]> = {
    "token_embd.weight": [HIDDEN, VOCAB],
    "output_norm.weight": [HIDDEN],
    "blk.0.attn_norm.weight": [HIDDEN],
    "blk.0.ffn_norm.weight": [HIDDEN],
    "blk.0.attn_q.weight": [HIDDEN, 32],
    "blk.0.attn_k.weight": [HIDDEN, 16],
    "blk.0.attn_v.weight": [HIDDEN, 16],
    "blk.0.attn_output.weight": [32, HIDDEN],
    "blk.0.ffn_gate.weight": [HIDDEN, 64],
    "blk.0.ffn_up.weight": [HIDDEN, 64],
    "blk.0.ffn_down.weight": [64, HIDDEN],
  };
  return { metadata, tensors: Object.entries(shapes).map(([name, shape]) => ({ name, type: 0, shape })) };
}

async function fails(
  code: ThimbleErrorCode,
  file: { metadata: Metadata; tensors: GgufTensor[] } | Uint8Array,
  mentions: string,
  options?: LoadOptions,
): Promise<ThimbleError> {
  const bytes = file instanceof Uint8Array ? file : writeGguf(file);
  try {
    await load(openSource(bytes, "bad.gguf"), options);
  } catch (error) {
    const { code: found, file: named, message } = error as ThimbleError;
    assert.is(found, code, String(error));
    assert.is(named, "bad.gguf");
    assert.ok(message.includes(mentions), message);
    return error as ThimbleError;
  }
  throw new Error(`it loaded; expected ${code}`);
}

test("the file that the cases below break does load", async () => {
  const model = await load(openSource(writeGguf(tiny())));
  assert.is(model.config.valueDim, 16);
  const session = model.engine.openSession();
  model.forward([{ session, input: 3, position: 0, logits: true }]);
  assert.ok(model.engine.logits(0).every((value) => value === 0));
});

test("an unknown architecture says which are known", async () => {
  const file = tiny();
  file.metadata["general.architecture"] = { type: "string", value: "mamba9" };
  const error = await fails("unsupported_architecture", file, "llama");
  assert.is(error.subject, "mamba9");
  assert.ok(error.message.includes("also lacks the metadata mamba9.block_count"), error.message);
  file.metadata["general.architecture"] = { type: "string", value: "constructor" };
  await fails("unsupported_architecture", file, "constructor");
});

test("metadata whose meaning this build does not compute, or that contradicts itself", async () => {
  const u32 = (value: number): GgufValue => ({ type: "u32", value });
  const text = (value: string): GgufValue => ({ type: "string", value });
  const f32 = (value: number): GgufValue => ({ type: "f32", value });
  const cases: readonly (readonly [string, GgufValue, ThimbleErrorCode, string?])[] = [
    ["rope.scaling.type", text("dynamic"), "unsupported_architecture", "dynamic"],
    ["rope.scaling.type", text("yarn"), "missing_metadata", "original_context_length"],
    ["rope.scaling.yarn_ext_factor", f32(0.5), "unsupported_architecture"],
    ["rope.freq_base", f32(0), "malformed_file"],
    ["attention.clamp_kqv", f32(8), "unsupported_architecture"],
    ["attention.max_alibi_bias", f32(8), "unsupported_architecture"],
    ["expert_count", u32(8), "unsupported_architecture"],
    ["attention.causal", { type: "bool", value: false }, "unsupported_architecture"],
    ["attention.group_count", u32(2), "malformed_file"],
    ["attention.query_grouping", text("random"), "unsupported_architecture"],
    ["attention.scale", f32(Number.POSITIVE_INFINITY), "malformed_file"],
    ["attn_logit_softcapping", f32(-1), "malformed_file"],
    ["logit_scale", f32(0), "malformed_file"],
    ["attention.sliding_window_pattern", { type: "bool[]", value: [true, false] }, "malformed_file"],
  ];
  for (const [key, value, code, mentions = key] of cases) {
    const file = tiny();
    file.metadata[`llama.${key}`] = value;
    await fails(code, file, mentions);
  }
});

test("vectors: biases and norms that are not finite, divisors of frequencies that make no sense", async () => {
  const vector = (value: number, n: number) => new Uint8Array(new Float32Array(n).fill(value).buffer);
  for (const [name, shape, value] of [
    ["rope_freqs.weight", [8], 0],
    ["rope_freqs.weight", [8], -1],
    ["rope_freqs.weight", [8], 1e-30],
    ["rope_freqs.weight", [8], Number.NaN],
    ["blk.0.attn_q.bias", [32], Number.POSITIVE_INFINITY],
    ["blk.0.attn_norm.weight", [HIDDEN], Number.NaN],
  ] as const) {
    const file = tiny();
    file.tensors = file.tensors.filter((tensor) => tensor.name !== name);
    file.tensors.push({ name, type: 0, shape: [...shape], data: vector(value, shape[0]) });
    await fails("malformed_file", file, name);
  }
  const fitting = tiny();
  fitting.tensors.push({ name: "rope_freqs.weight", type: 0, shape: [8], data: vector(2, 8) });
  fitting.tensors.push({ name: "blk.0.ffn_down.bias", type: 0, shape: [HIDDEN], data: vector(1, HIDDEN) });
  await load(openSource(writeGguf(fitting)));
  const wrong = tiny();
  wrong.tensors.push({ name: "rope_freqs.weight", type: 0, shape: [16] });
  await fails("malformed_file", wrong, "rope_freqs.weight");
});

test("every tensor that is missing is named", async () => {
  for (const { name } of tiny().tensors) {
    const file = tiny();
    file.tensors = file.tensors.filter((tensor) => tensor.name !== name);
    await fails("missing_tensor", file, name);
  }
});

test("every needed metadata key that is missing is named", async () => {
  for (const key of ["block_count", "embedding_length", "feed_forward_length", "attention.head_count"]) {
    const file = tiny();
    delete file.metadata[`llama.${key}`];
    await fails("missing_metadata", file, `llama.${key}`);
  }
});

test("tensor types that cannot be computed yet are named", async () => {
  const file = tiny();
  file.tensors = file.tensors.map((tensor) =>
    tensor.name === "blk.0.ffn_up.weight" ? { ...tensor, type: 39 } : tensor,
  );
  const error = await fails("unsupported_type", file, "MXFP4");
  assert.ok(error.message.includes("blk.0.ffn_up.weight"));
  const halfNorm = tiny();
  halfNorm.tensors = halfNorm.tensors.map((t) => (t.name === "output_norm.weight" ? { ...t, type: 1 } : t));
  await fails("unsupported_type", halfNorm, "output_norm.weight");
});

test("shapes that contradict the metadata", async () => {
  const file = tiny();
  file.tensors = file.tensors.map((tensor) =>
    tensor.name === "blk.0.attn_q.weight" ? { ...tensor, shape: [HIDDEN, 48] } : tensor,
  );
  await fails("malformed_file", file, "blk.0.attn_q.weight");
});

test("absurd metadata", async () => {
  const cases: readonly (readonly [string, number, ThimbleErrorCode])[] = [
    ["llama.attention.head_count", 0, "malformed_file"],
    ["llama.attention.head_count", 3, "malformed_file"],
    ["llama.attention.head_count_kv", 0, "malformed_file"],
    ["llama.attention.key_length", 15, "malformed_file"],
    ["llama.attention.key_length", 4294967295, "malformed_file"],
    ["llama.block_count", 4294967295, "malformed_file"],
    ["llama.block_count", 0, "malformed_file"],
    ["llama.embedding_length", 33, "malformed_file"],
    ["llama.context_length", 4294967295, "malformed_file"],
    ["llama.feed_forward_length", 4294967295, "malformed_file"],
    ["llama.rope.dimension_count", 8, "malformed_file"],
  ];
  for (const [key, value, code] of cases) {
    const file = tiny();
    file.metadata[key] = { type: "u32", value };
    await fails(code, file, "");
  }
  const nan = tiny();
  nan.metadata["llama.attention.layer_norm_rms_epsilon"] = { type: "f32", value: Number.NaN };
  await fails("malformed_file", nan, "epsilon");
});

test("a tensor without a place is refused, not left out", async () => {
  const file = tiny();
  file.tensors.push({ name: "blk.0.attn_q_norm.weight", type: 0, shape: [16] });
  await fails("unsupported_architecture", file, "attn_q_norm");
});

test("scales that are not finite are refused", async () => {
  for (const [type, blockBytes] of [
    [2, 18],
    [3, 20],
    [8, 34],
  ] as const) {
    for (const half of [0x7c00, 0xfc00, 0x7e00]) {
      const file = tiny();
      const data = new Uint8Array(64 * blockBytes);
      new DataView(data.buffer).setUint16(5 * blockBytes, half, true);
      file.tensors = file.tensors.map((tensor) =>
        tensor.name === "blk.0.ffn_up.weight" ? { ...tensor, type, data } : tensor,
      );
      await fails("malformed_file", file, "blk.0.ffn_up.weight");
    }
  }
});

test("a stream that ends early is a truncated file, with needed and available", async () => {
  const bytes = readFileSync("test/golden/architectures/llama.q8_0.gguf");
  for (const keep of [0.3, 0.7, 0.999]) {
    const part = bytes.subarray(0, Math.floor(bytes.length * keep));
    const stream = new ReadableStream<Uint8Array>({
      start(controller) {
        controller.enqueue(new Uint8Array(part));
        controller.close();
      },
    });
    try {
      await load(openSource(stream, "cut.gguf"));
      throw new Error("it loaded");
    } catch (error) {
      const { code, needed, available } = error as ThimbleError;
      assert.is(code, "truncated_file", String(error));
      assert.ok(needed! > available!, `${needed} needed, ${available} available`);
    }
  }
});

test("a source that fails while the weights are read", async () => {
  const inner = openSource(readFileSync("test/golden/architectures/llama.q8_0.gguf"), "flaky.gguf");
  let closed = false;
  const flaky: ByteSource = {
    name: inner.name,
    size: inner.size,
    sequential: false,
    async read(target, offset, signal) {
      if (offset > 60_000) throw new Error("the disk is gone");
      return inner.read(target, offset, signal);
    },
    async close() {
      closed = true;
    },
  };
  try {
    await load(flaky);
    throw new Error("it loaded");
  } catch (error) {
    assert.is((error as Error).message, "the disk is gone");
  }
  assert.ok(closed, "the source is closed all the same");
});

test("options out of range, and aborts", async () => {
  const bytes = writeGguf(tiny());
  for (const options of [
    { contextLength: 65 },
    { contextLength: 0 },
    { chunk: 0 },
    { chunk: 1e9 },
    { maxOutputs: 65 },
  ]) {
    try {
      await load(openSource(bytes), options);
      throw new Error("it loaded");
    } catch (error) {
      assert.is((error as ThimbleError).code, "invalid_option", String(error));
    }
  }
  const controller = new AbortController();
  let reports = 0;
  try {
    const onProgress = (): void => {
      if (++reports === 3) controller.abort();
    };
    await load(openSource(bytes), { signal: controller.signal, onProgress });
    throw new Error("the abort was not heard");
  } catch (error) {
    assert.is((error as Error).name, "AbortError");
    assert.is(reports, 3);
  }
});

test.run();
