/**
 * A model made ready for the command that needs no JavaScript: one file of its configuration, its tokenizer and chat template
 * as tables, and its weights as they lie in memory (assembly/wasi/format.ts, docs/wasi.md). The same bytes for the same model.
 * @module
 */
import { Config } from "../../assembly/memory/status.ts";
import { ConfigSection, Format, HeaderAt, TensorAt, TensorKind } from "../../assembly/wasi/format.ts";
import { type Architecture, describeModel } from "../architecture.ts";
import { createChatTemplate } from "../chat.ts";
import { type ConfigField, modelFields } from "../config-fields.ts";
import { ThimbleError } from "../errors.ts";
import type { GgufHeader } from "../header.ts";
import { metadataString } from "../metadata.ts";
import type { Model } from "../model.ts";
import type { ModelConfig } from "../model-config.ts";
import { wrongOption } from "../options.ts";
import type { TensorPart } from "../tensor-places.ts";
import type { Tokenizer } from "../tokenizer.ts";
import { weightForm } from "../weight-form.ts";
import { ByteWriter } from "./byte-writer.ts";
import { checksumOf } from "./checksum.ts";
import { chatSection, type TemplateTable, templateTable } from "./template-table.ts";
import { tokenizerTables } from "./tokenizer-tables.ts";

/** Everything before the weights. */
export interface Sections {
  readonly config: Uint8Array;
  readonly tokenizer: Uint8Array;
  readonly chat: Uint8Array;
  readonly index: Uint8Array;
}

export interface WasiFile {
  /** The file's bytes; valid until the model's next call. */
  readonly pieces: Iterable<Uint8Array>;
  readonly bytes: number;
  /** Most tokens of a run. */
  readonly contextLength: number;
  /** Why the chat template is not in the file, so that prompts are raw text only; undefined where it is, or there is none. */
  readonly withoutTemplate: string | undefined;
}

/**
 * The file of a model that was loaded with int8 activations; its context is the longest that a run can have.
 * @throws ThimbleError unsupported_tokenizer where the tokenizer is no table; invalid_option
 */
export function wasiFile(model: Model): WasiFile {
  const { header, engine, config, tokenizer } = model;
  if (model.stats.activations !== "int8") {
    throw wrongOption("activations", 'a file for WASI needs activations "int8"');
  }
  const { contextLength } = engine.sizes;
  const { table, withoutTemplate } = chatTable(header, tokenizer);
  const tensors = listTensors(header, describeModel(header, { contextLength }), engine.weights);
  const { runtime } = engine;
  const contents = tensors.map(
    ({ address, bytes }) =>
      () =>
        runtime.bytes(address, bytes),
  );
  const sections: Sections = {
    config: configSection(config, contextLength),
    tokenizer: tokenizerTables(header.metadata, header.file),
    chat: chatSection(table),
    index: indexSection(tensors, contents),
  };
  const weightBytes = tensors.reduce((sum, { bytes }) => sum + bytes, 0);
  const head = headerAndSections(sections, weightBytes);
  function* pieces(): Generator<Uint8Array, void> {
    yield head;
    for (const content of contents) yield content();
  }
  return { pieces: pieces(), bytes: head.length + weightBytes, contextLength, withoutTemplate };
}

/** The template's table, and why there is none where the model has a template. */
function chatTable(
  header: GgufHeader,
  tokenizer: Tokenizer,
): { table: TemplateTable | "refused" | undefined; withoutTemplate: string | undefined } {
  const source = metadataString(header, "tokenizer.chat_template", { default: undefined });
  if (source === undefined) return { table: undefined, withoutTemplate: undefined };
  try {
    return { table: templateTable(tokenizer, createChatTemplate(source)), withoutTemplate: undefined };
  } catch (error) {
    if (!(error instanceof ThimbleError) || error.code !== "template_failed") throw error;
    return { table: "refused", withoutTemplate: error.message };
  }
}

/** The header, and the sections behind it. */
export function headerAndSections({ config, tokenizer, chat, index }: Sections, weightBytes: number): Uint8Array {
  const sections = new ByteWriter().bytes(config).bytes(tokenizer).bytes(chat).bytes(index).finish();
  const bytes = new Uint8Array(HeaderAt.END + sections.length);
  const view = new DataView(bytes.buffer);
  const u32 = (at: number, value: number): void => view.setUint32(at, value, true);
  const sum = (at: number, of: Uint8Array): void => {
    const [low, high] = checksumOf(of, Format.SEED);
    u32(at, low);
    u32(at + 4, high);
  };
  bytes.set(sections, HeaderAt.END);
  u32(HeaderAt.MAGIC, Format.MAGIC_LOW);
  u32(HeaderAt.MAGIC + 4, Format.MAGIC_HIGH);
  u32(HeaderAt.VERSION, Format.VERSION);
  u32(HeaderAt.CONTRACT, Format.CONTRACT);
  u32(HeaderAt.CONFIG_BYTES, config.length);
  u32(HeaderAt.TOKENIZER_BYTES, tokenizer.length);
  u32(HeaderAt.CHAT_BYTES, chat.length);
  u32(HeaderAt.INDEX_BYTES, index.length);
  view.setBigUint64(HeaderAt.WEIGHT_BYTES, BigInt(weightBytes), true);
  sum(HeaderAt.SECTIONS_SUM, sections);
  sum(HeaderAt.HEADER_SUM, bytes.subarray(0, HeaderAt.HEADER_SUM));
  return bytes;
}

/** The numbers that `Engine.layout` sets, but for those that a run chooses. */
export function configSection(config: ModelConfig, contextLength: number): Uint8Array {
  const fields: readonly ConfigField[] = [...modelFields(config), [Config.CONTEXT_LENGTH, contextLength]];
  const values = new Array<number>(ConfigSection.N_FIELDS).fill(0);
  for (const [field, value] of fields) values[field] = value;
  const writer = new ByteWriter().f64(...values);
  for (const { window, rope } of config.layers) writer.u32(window, rope);
  for (const { base, factor, originalContext, betaFast, betaSlow, magnitude } of config.ropes) {
    writer.f64(base, factor, originalContext, betaFast, betaSlow, magnitude);
  }
  return writer.finish();
}

interface PackedTensor {
  readonly kind: TensorKind;
  readonly place: number;
  readonly layer: number;
  readonly form: number;
  readonly rows: number;
  readonly columns: number;
  readonly address: number;
  readonly bytes: number;
}

type Placed = Exclude<TensorPart, { kind: "unused" }>;

/** All matrices and vectors, in the order in which `loadWeights` has put them into memory. */
function listTensors(
  header: GgufHeader,
  { places }: Architecture,
  regions: readonly { readonly address: number; readonly bytes: number }[],
): PackedTensor[] {
  const parts = header.tensors.flatMap((tensor) =>
    places
      .get(tensor.name)!
      .parts.filter((part): part is Placed => part.kind !== "unused")
      .map((part) => ({ tensor, part })),
  );
  return parts.map(({ tensor, part }, i) => {
    const { layer, length } = part;
    const { address, bytes } = regions[i]!;
    const common = { layer, rows: length, address, bytes };
    if (part.kind === "vector") return { ...common, kind: TensorKind.VECTOR, place: part.vector, form: 0, columns: 1 };
    if (part.kind === "bias") return { ...common, kind: TensorKind.BIAS, place: part.slot, form: 0, columns: 1 };
    const form = weightForm(tensor.type, "int8")!;
    return { ...common, kind: TensorKind.MATRIX, place: part.slot, form, columns: tensor.columns };
  });
}

function indexSection(tensors: readonly PackedTensor[], contents: readonly (() => Uint8Array)[]): Uint8Array {
  const bytes = new Uint8Array(tensors.length * TensorAt.END);
  const view = new DataView(bytes.buffer);
  for (const [i, { kind, place, layer, form, rows, columns }] of tensors.entries()) {
    const at = i * TensorAt.END;
    const [low, high] = checksumOf(contents[i]!(), Format.SEED);
    const words = [kind, place, layer, form, rows, columns, low, high];
    for (const [k, word] of words.entries()) view.setUint32(at + 4 * k, word, true);
  }
  return bytes;
}
