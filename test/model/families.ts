/**
 * The tiny models of test/golden/architectures, with what transformers gave for them, and ways to load them wrongly on
 * purpose.
 * @module
 */
import { readdirSync, readFileSync } from "node:fs";
import { type Architecture, describeModel } from "../../host/architecture.ts";
import { readHeader } from "../../host/gguf.ts";
import type { GgufHeader } from "../../host/header.ts";
import { type LoadOptions, loadDescribed } from "../../host/load-engine.ts";
import { Model } from "../../host/model.ts";
import { openSource } from "../../host/sources.ts";
import { platform } from "./load.ts";

export const FOLDER = "test/golden/architectures";

export type WeightType = "f32" | "q8_0";
export type PromptLength = "short" | "long";

export interface Golden {
  readonly file: string;
  readonly first_position: number;
  readonly positions: number;
  readonly greedy: readonly number[];
}

export interface Family {
  readonly name: string;
  readonly vocab: number;
  readonly gguf: Readonly<Record<WeightType, string>>;
  readonly prompts: Readonly<Record<PromptLength, readonly number[]>>;
  readonly golden: Readonly<Record<WeightType, Readonly<Record<PromptLength, Golden>>>>;
  /** A deliberate error, and the largest change of a logit that it made in transformers. */
  readonly sensitivity: Readonly<Record<string, Readonly<Record<PromptLength, number>>>>;
  readonly llama_cpp: Readonly<
    Record<WeightType, Readonly<Record<PromptLength, { rms: number; argmax_equal: string }>>>
  >;
}

export const families: readonly Family[] = readdirSync(FOLDER)
  .filter((name) => name.endsWith(".json"))
  .map((name) => JSON.parse(readFileSync(`${FOLDER}/${name}`, "utf8")) as Family);

export function goldenLogits(golden: Golden): Float32Array {
  const bytes = readFileSync(`${FOLDER}/${golden.file}`);
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

/** What is changed before a model is loaded. */
export interface Edits {
  /** Metadata, the key without the architecture; undefined removes it. */
  readonly metadata?: Readonly<Record<string, unknown>>;
  /** The f32 values of every tensor whose name matches, in place: [rows][columns]. */
  readonly values?: (name: string, values: Float32Array, columns: number) => void;
  /** What was described from the metadata. */
  readonly architecture?: (architecture: Architecture) => Architecture;
}

/** Loads a fixture; `golden mistral-full` is the files of mistral-swa without their window. */
export async function loadFamily(
  family: Family,
  type: WeightType,
  length: PromptLength,
  options: LoadOptions,
  edits: Edits = {},
): Promise<Model> {
  const withoutWindow = family.name === "mistral-full" ? { "attention.sliding_window": undefined } : {};
  // LongRoPE has factors for contexts within its original one, which is 64 here.
  const context = family.name === "phi3-longrope" && length === "short" ? { contextLength: 64 } : {};
  const metadata = { ...withoutWindow, ...edits.metadata };
  return loadEdited(readFileSync(`${FOLDER}/${family.gguf[type]}`), { ...context, ...options }, { ...edits, metadata });
}

async function loadEdited(file: Uint8Array<ArrayBuffer>, options: LoadOptions, edits: Edits): Promise<Model> {
  const bytes = file.slice();
  const header = withMetadata(await readHeader(openSource(bytes, "edited.gguf")), edits.metadata ?? {});
  for (const { name, offset, bytes: size, columns } of edits.values === undefined ? [] : header.tensors) {
    edits.values?.(name, new Float32Array(bytes.buffer, offset, size / 4), columns);
  }
  const described = describeModel(header, { contextLength: options.contextLength });
  const architecture = edits.architecture?.(described) ?? described;
  const source = openSource(bytes, "edited.gguf");
  return new Model({ ...(await loadDescribed(platform, source, header, architecture, options)), header, headerMs: 0 });
}

function withMetadata(header: GgufHeader, edits: Readonly<Record<string, unknown>>): GgufHeader {
  const metadata: Record<string, unknown> = Object.assign(Object.create(null), header.metadata);
  for (const [key, value] of Object.entries(edits)) {
    if (value === undefined) delete metadata[`${header.architecture}.${key}`];
    else metadata[`${header.architecture}.${key}`] = value;
  }
  return { ...header, metadata };
}

/** The largest and the root mean square difference. */
export function differences(a: Float32Array, b: Float32Array): { max: number; rms: number } {
  let max = 0;
  let squares = 0;
  a.forEach((value, i) => {
    const difference = Math.abs(value - b[i]!);
    max = Math.max(max, difference);
    squares += difference * difference;
  });
  return { max, rms: Math.sqrt(squares / a.length) };
}
