/**
 * One model file through the whole way: header, tokenizer, chat template, weights, one forward, one sampled token. A bad
 * file may end it with a typed error; anything else is a defect of ours.
 * @module
 */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { createChatTemplate, encodeChat } from "../../host/chat.ts";
import type { Engine } from "../../host/engine.ts";
import { ThimbleError, type ThimbleErrorCode } from "../../host/errors.ts";
import { readHeader } from "../../host/gguf.ts";
import type { GgufHeader } from "../../host/header.ts";
import { loadFrom, type Model } from "../../host/model.ts";
import type { Platform } from "../../host/platform.ts";
import { createSampler } from "../../host/sampler.ts";
import { resolveSampling } from "../../host/sampling-options.ts";
import type { ByteSource } from "../../host/source.ts";
import { openSource } from "../../host/sources.ts";
import { GGUF_TYPE, tensorType } from "../../host/tensor-type.ts";
import { createTokenizer } from "../../host/tokenizer.ts";
import { weightForm } from "../../host/weight-form.ts";
import { platform as node } from "../model/load.ts";
import { type GgufTensor, type GgufValue, writeGguf } from "./gguf-writer.ts";
import { noise } from "./model-sizes.ts";

/** What a file can be refused with. Nothing else is an answer to a file: above all not "internal". */
const REFUSALS: ReadonlySet<ThimbleErrorCode> = new Set<ThimbleErrorCode>([
  "bad_magic",
  "truncated_file",
  "malformed_file",
  "unsupported_architecture",
  "unsupported_type",
  "missing_tensor",
  "missing_metadata",
  "unsupported_tokenizer",
  "template_failed",
  "context_length_exceeded",
  "out_of_memory",
]);
/** Weights that are finite and huge give logits that are not; the sampler says so with this code, of the file's making. */
const OVERFLOW = /^the logit of token \d+ is|^every logit is -Infinity/;

export const LIMITS = { milliseconds: 5000, bytesBesidesFile: 64 << 20 } as const;

/** How a case ended. */
export interface Outcome {
  /** "ran", or the code of the model's refusal. */
  readonly end: string;
  /** The code of the tokenizer's or the chat template's refusal; of the header's when that came first. */
  readonly text: string;
  readonly milliseconds: number;
  /** WebAssembly memory at the end. */
  readonly wasmBytes: number;
}

export interface CaseOptions {
  readonly fromStream?: boolean;
  readonly activations?: "int8" | "f32";
}

const module = new WebAssembly.Module((await node.wasm("simd")) as BufferSource);
const platform: Platform = { ...node, wasm: async () => module };

/** The memory of the instance made last in `work`: the loader has no way to ask for it when it fails. */
async function watchMemory(work: () => Promise<void>): Promise<WebAssembly.Memory | undefined> {
  const { instantiate } = WebAssembly;
  let memory: WebAssembly.Memory | undefined;
  WebAssembly.instantiate = (async (given: WebAssembly.Module, imports: WebAssembly.Imports) => {
    const instance = await instantiate(given, imports);
    memory = instance.exports.memory as WebAssembly.Memory;
    return instance;
  }) as typeof instantiate;
  try {
    await work();
  } finally {
    WebAssembly.instantiate = instantiate;
  }
  return memory;
}

/** @throws whatever is no proper answer to a file: another error, too much time, too much memory */
export async function runCase(bytes: Uint8Array<ArrayBuffer>, options: CaseOptions = {}): Promise<Outcome> {
  const start = performance.now();
  const text = await codeOf(runText(bytes, options));
  let end = "";
  const memory = await watchMemory(async () => {
    end = await codeOf(runModel(bytes, options));
  });
  const milliseconds = performance.now() - start;
  const wasmBytes = memory?.buffer.byteLength ?? 0;
  if (milliseconds > LIMITS.milliseconds) throw new Error(`the case took ${Math.round(milliseconds)} ms (${end})`);
  if (wasmBytes > bytes.byteLength + LIMITS.bytesBesidesFile) {
    throw new Error(`a file of ${bytes.byteLength} bytes made WebAssembly memory of ${wasmBytes} (${end})`);
  }
  return { end, text, milliseconds, wasmBytes };
}

async function codeOf(run: Promise<void>): Promise<string> {
  try {
    await run;
    return "ran";
  } catch (error) {
    if (isRefusal(error)) return error.code;
    throw error;
  }
}

function isRefusal(error: unknown): error is ThimbleError {
  if (!(error instanceof ThimbleError)) return false;
  return REFUSALS.has(error.code) || (error.code === "internal" && OVERFLOW.test(error.message));
}

/** What `inspect` does, and then text to ids and back and a chat, whether the model can be loaded or not. */
async function runText(bytes: Uint8Array<ArrayBuffer>, { fromStream }: CaseOptions): Promise<void> {
  const source = open(bytes, fromStream);
  let header: GgufHeader;
  try {
    header = await readHeader(source);
  } finally {
    await source.close();
  }
  for (const tensor of header.tensors) {
    const isInside = tensor.offset >= header.dataOffset && tensor.offset + tensor.bytes <= bytes.byteLength;
    if (header.size !== undefined && !isInside) throw new Error(`tensor "${tensor.name}" lies outside the file`);
  }
  const template = header.metadata["tokenizer.chat_template"];
  const chat = typeof template === "string" ? createChatTemplate(template) : undefined;
  const tokenizer = createTokenizer(header.metadata, header.file);
  const ids = tokenizer.encode("Hello wörld, 3 times! <|im_end|>\n  \u{1f642}");
  for (const id of ids) {
    if (!(Number.isInteger(id) && id >= 0 && id < tokenizer.vocabSize)) throw new Error(`encode gave the id ${id}`);
  }
  tokenizer.decode(ids);
  for (let id = 0; id < Math.min(tokenizer.vocabSize, 400); ++id) tokenizer.bytes(id);
  if (chat !== undefined) encodeChat(tokenizer, chat, [{ role: "user", content: "Hello <|im_end|>" }]);
}

async function runModel(bytes: Uint8Array<ArrayBuffer>, options: CaseOptions): Promise<void> {
  const { fromStream, activations = "int8" } = options;
  await using model = await loadFrom(platform, open(bytes, fromStream), { activations });
  const { engine, config } = model;
  const session = engine.openSession();
  const nRows = Math.min(3, engine.sizes.contextLength);
  const rows = Array.from({ length: nRows }, (_, position) => ({
    session,
    input: (position * 7) % config.vocabSize,
    position,
    logits: position === nRows - 1,
  }));
  model.forward(rows);
  const logits = engine.logits(0).slice();
  for (const temperature of [0, 0.8]) {
    const sampler = createSampler(resolveSampling({ temperature, seed: 1 }, config.vocabSize), kernels(engine));
    const { id } = sampler.sample(logits.slice(), [0]);
    if (!(id >= 0 && id < config.vocabSize)) throw new Error(`token ${id} of ${config.vocabSize} was sampled`);
  }
  if (hasTokenizer(model)) await model.session().complete({ ids: [0] }, { maxTokens: 2, seed: 1 });
}

function hasTokenizer(model: Model): boolean {
  try {
    return model.tokenizer !== undefined;
  } catch (error) {
    if (isRefusal(error)) return false;
    throw error;
  }
}

function kernels({ runtime, config }: Engine): Parameters<typeof createSampler>[1] {
  const { exports } = runtime;
  return {
    scratch: () => runtime.floats(exports.scratchAddress(), config.vocabSize),
    expInPlace: (n, max, inverse) => exports.expWeights(exports.scratchAddress(), n, max, inverse),
    log: (x) => exports.log64(x),
  };
}

function open(bytes: Uint8Array<ArrayBuffer>, fromStream = false): ByteSource {
  if (!fromStream) return openSource(bytes, "fuzz.gguf");
  let at = 0;
  const stream = new ReadableStream<Uint8Array>({
    pull(controller) {
      controller.enqueue(bytes.subarray(at, at + 50_000));
      at += 50_000;
      if (at >= bytes.byteLength) controller.close();
    },
  });
  return openSource(stream, "fuzz.gguf");
}

/** Files that load, to be changed: those of the golden folders that are small, and two with every type and a tokenizer. */
export function baseFiles(): Uint8Array[] {
  const golden = ["test/golden/architectures", "test/golden/tokenizers"].flatMap((folder) =>
    existsSync(folder) ? readdirSync(folder).map((name) => `${folder}/${name}`) : [],
  );
  const small = golden.filter((path) => path.endsWith(".gguf") && statSync(path).size < 200_000).sort();
  return [writeBase(32), writeBase(256), ...small.map((path) => new Uint8Array(readFileSync(path)))];
}

/** A llama of one layer with a byte-level vocabulary, its matrices in every type that rows of `hidden` values can have. */
function writeBase(hidden: number): Uint8Array {
  const tokens = [...byteCharacters(), "He", "ll", "Hell", "<|im_start|>", "<|im_end|>"];
  const u32 = (value: number): GgufValue => ({ type: "u32", value });
  const metadata: Record<string, GgufValue> = {
    "general.architecture": { type: "string", value: "llama" },
    "general.name": { type: "string", value: "fuzz" },
    "llama.block_count": u32(1),
    "llama.embedding_length": u32(hidden),
    "llama.feed_forward_length": u32(hidden),
    "llama.attention.head_count": u32(2),
    "llama.attention.head_count_kv": u32(1),
    "llama.context_length": u32(64),
    "llama.rope.dimension_count": u32(hidden / 2),
    "llama.rope.freq_base": { type: "f32", value: 10000 },
    "llama.attention.layer_norm_rms_epsilon": { type: "f32", value: 1e-5 },
    "tokenizer.ggml.model": { type: "string", value: "gpt2" },
    "tokenizer.ggml.pre": { type: "string", value: "smollm" },
    "tokenizer.ggml.tokens": { type: "string[]", value: tokens },
    "tokenizer.ggml.token_type": { type: "i32[]", value: tokens.map((text) => (/^<\|/.test(text) ? 3 : 1)) },
    "tokenizer.ggml.merges": { type: "string[]", value: ["H e", "l l", "He ll"] },
    "tokenizer.ggml.bos_token_id": u32(tokens.length - 2),
    "tokenizer.ggml.eos_token_id": u32(tokens.length - 1),
    "tokenizer.ggml.add_bos_token": { type: "bool", value: false },
    "tokenizer.chat_template": {
      type: "string",
      value: "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}",
    },
  };
  const matrices: Record<string, readonly [number, number]> = {
    "token_embd.weight": [hidden, tokens.length],
    "blk.0.attn_q.weight": [hidden, hidden],
    "blk.0.attn_k.weight": [hidden, hidden / 2],
    "blk.0.attn_v.weight": [hidden, hidden / 2],
    "blk.0.attn_output.weight": [hidden, hidden],
    "blk.0.ffn_gate.weight": [hidden, hidden],
    "blk.0.ffn_up.weight": [hidden, hidden],
    "blk.0.ffn_down.weight": [hidden, hidden],
  };
  const types = Object.values(GGUF_TYPE).filter(
    (type) => weightForm(type, "int8") !== undefined && hidden % tensorType(type)!.blockLength === 0,
  );
  // The wide file takes the types from the other end, so that each is somewhere.
  if (hidden > 32) types.reverse();
  const ones = new Uint8Array(new Float32Array(hidden).fill(1).buffer);
  const norms = ["output_norm.weight", "blk.0.attn_norm.weight", "blk.0.ffn_norm.weight"];
  const tensors: GgufTensor[] = [
    ...Object.entries(matrices).map(([name, shape], i) => {
      const { id, blockLength, blockBytes } = tensorType(types[i % types.length]!)!;
      return { name, type: id, shape, data: noise(((shape[0] * shape[1]) / blockLength) * blockBytes, i + 1) };
    }),
    ...norms.map((name) => ({ name, type: GGUF_TYPE.F32, shape: [hidden], data: ones })),
  ];
  return writeGguf({ metadata, tensors });
}

/** The characters that stand for the 256 bytes in a byte-level vocabulary: U+0100 upwards for those without a shape. */
function byteCharacters(): string[] {
  const isPrintable = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 255 && byte !== 173);
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : next++));
}
