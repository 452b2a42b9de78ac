/**
 * A model for tests of sessions, caches and capsules: the embedded model's tokenizer and template, and random weights in
 * which what attention sees decides the tokens; many times as fast.
 * @module
 */
import { openFile } from "../../bindings/node/file-source.ts";
import { readHeader } from "../../host/gguf.ts";
import type { GgufValue } from "../host/gguf-writer.ts";
import { DEFAULT_MODEL } from "./load.ts";
import { randomWeights, writeModel } from "./random-llama.ts";

const SHAPE = {
  nLayers: 3,
  hiddenDim: 64,
  ffnDim: 96,
  nHeads: 4,
  nKvHeads: 2,
  sourceKvHeads: 2,
  keyDim: 32,
  valueDim: 32,
  vocabSize: 8192,
  window: 0,
  grouping: "even",
} as const;

const file = await openFile(DEFAULT_MODEL);
const { metadata } = await readHeader(file);
await file.close();
const tokenizer = Object.entries(metadata).filter(([key]) => key.startsWith("tokenizer."));

function typed(value: unknown): GgufValue {
  if (typeof value === "boolean") return { type: "bool", value };
  if (typeof value === "number") return { type: "u32", value };
  if (typeof value === "string") return { type: "string", value };
  const list = value as readonly (string | number)[];
  return typeof list[0] === "string"
    ? { type: "string[]", value: list as readonly string[] }
    : { type: "i32[]", value: list as readonly number[] };
}

/** Contexts to 8,192, as the embedded model. */
export const SMALL_MODEL = writeModel(
  SHAPE,
  randomWeights(SHAPE, 17),
  8192,
  Object.fromEntries(tokenizer.map(([key, value]) => [key, typed(value)])),
);
