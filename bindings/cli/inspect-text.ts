/**
 * An inspection for people: framed tables on a terminal, bare columns elsewhere.
 * @module
 */
import Table from "cli-table3";
import type { Inspection } from "./inspect.ts";
import { formatBytes, oneLine, printText } from "./output.ts";
import { shortenText } from "./summary.ts";

/** Characters of a metadata value. */
const VALUE_WIDTH = 60;

type Align = "left" | "right";
type Row = readonly (string | number)[];

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
  const full = fixed + plan.perToken * config.trainedContext;
  return [
    ...rows,
    ["context", `${config.trainedContext} tokens`],
    ["layers", `${config.nLayers} of ${config.hiddenDim}, ${config.nHeads} heads, ${config.nKvHeads} KV heads`],
    [
      "memory",
      `${formatBytes(fixed)} and ${formatBytes(plan.perToken)} a token: ${formatBytes(full)} when the context is full`,
    ],
  ];
}

function printSection(title: string, head: readonly string[], aligns: readonly Align[], rows: readonly Row[]): void {
  const isPlain = !process.stdout.isTTY || Boolean(process.env.NO_COLOR);
  const table = new Table({
    head: [...head],
    colAligns: [...aligns],
    style: isPlain
      ? { head: [], border: [], "padding-left": 0, "padding-right": 0, compact: true }
      : { head: ["bold"], border: ["gray"], compact: true },
    ...(isPlain ? { chars: PLAIN } : {}),
  });
  for (const row of rows) table.push(row.map((cell) => oneLine(String(cell))));
  const lines = table.toString().split("\n");
  printText(`${title}\n${lines.map((line) => line.trimEnd()).join("\n")}\n\n`);
}

const NO_LINE = { left: "", mid: "", "mid-mid": "", right: "" } as const;
const PLAIN = {
  ...NO_LINE,
  top: "",
  "top-mid": "",
  "top-left": "",
  "top-right": "",
  bottom: "",
  "bottom-mid": "",
  "bottom-left": "",
  "bottom-right": "",
  "left-mid": "",
  "right-mid": "",
  middle: "  ",
} as const;
