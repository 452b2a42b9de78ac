/**
 * An inspection for people: framed tables on a terminal, bare columns elsewhere.
 * @module
 */
import type { ModelConfig } from "../../host/model-config.ts";
import type { Inspection } from "./inspect.ts";
import { formatBytes, printText } from "./output.ts";
import { shortenText } from "./summary.ts";
import { type Align, formatTable, type Row } from "./table.ts";

/** Characters of a metadata value. */
const VALUE_WIDTH = 60;

export function printHeader(found: Inspection, withTensors: boolean): void {
  const { header, types } = found;
  const metadata = Object.entries(header.metadata).map(([key, value]) => [key, shortenText(value, VALUE_WIDTH)]);
  printSection("Model", [], ["left", "left"], overview(found));
  printSection(`Metadata (${metadata.length} keys)`, ["key", "value"], ["left", "left"], metadata);
  printSection(
    `Types (${header.tensors.length} tensors)`,
    ["type", "tensors", "parameters", "size", "computed as"],
    ["left", "right", "right", "right", "left"],
    types.map((type) => [
      type.type,
      type.tensors,
      type.parameters,
      formatBytes(type.bytes),
      type.computedAs ?? "cannot be computed",
    ]),
  );
  if (!withTensors) return;
  printSection(
    `Tensors (${header.tensors.length})`,
    ["name", "type", "shape", "bytes", "offset"],
    ["left", "left", "left", "right", "right"],
    header.tensors.map(({ name, typeName, shape, bytes, offset }) => [
      name,
      typeName,
      shape.join(" x "),
      bytes,
      offset,
    ]),
  );
}

function overview(found: Inspection): Row[] {
  const { header, config, plan, refusal, tokenizerRefusal, parameters } = found;
  const { metadata } = header;
  const rows: Row[] = [
    ["file", header.file],
    ["name", shortenText(metadata["general.name"] ?? "(none)", VALUE_WIDTH)],
    ["architecture", header.architecture],
    ["format", `GGUF ${header.version}, alignment ${header.alignment}`],
    ["size", formatBytes(header.size ?? 0)],
    ["parameters", parameters < 1e6 ? String(parameters) : `${(parameters / 1e6).toFixed(1)} million`],
    ["runs here", refusal === undefined ? "yes" : `no: ${refusal.code}: ${refusal.message}`],
    ["tokenizer", tokenizerRefusal === undefined ? "yes" : `no: ${tokenizerRefusal.code}: ${tokenizerRefusal.message}`],
    ["chat template", metadata["tokenizer.chat_template"] === undefined ? "no" : "yes"],
  ];
  if (config === undefined || plan === undefined) return rows;
  const fixed = plan.weights + plan.runState + plan.session;
  const full = fixed + plan.context;
  return [
    ...rows,
    ["context", `${config.trainedContext} tokens`],
    ["layers", `${config.nLayers} of ${config.hiddenDim}, ${config.nHeads} heads, ${config.nKvHeads} KV heads`],
    ...windows(config),
    [
      "memory",
      `${formatBytes(fixed)} and ${formatBytes(plan.perToken)} a token: ${formatBytes(full)} when the context is full`,
    ],
  ];
}

/** A row on sliding windows, where the model has them. */
function windows({ layers }: ModelConfig): Row[] {
  const sliding = layers.filter(({ window }) => window > 0);
  if (sliding.length === 0) return [];
  return [["sliding window", `${sliding[0]!.window} tokens in ${sliding.length} of ${layers.length} layers`]];
}

function printSection(title: string, head: readonly string[], aligns: readonly Align[], rows: readonly Row[]): void {
  printText(`${title}\n${formatTable(head, aligns, rows)}\n`);
}
