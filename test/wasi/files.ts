/** Files for the command, made of models and of tokenizers alone. */

import { BYTE_CHARACTERS } from "../../host/byte-alphabet.ts";
import { createChatTemplate } from "../../host/chat.ts";
import type { Metadata } from "../../host/metadata.ts";
import type { Model } from "../../host/model.ts";
import { TokenType } from "../../host/token-types.ts";
import { createTokenizer } from "../../host/tokenizer.ts";
import { configSection, headerAndSections, wasiFile } from "../../host/wasi/model-file.ts";
import { chatSection, templateTable } from "../../host/wasi/template-table.ts";
import { tokenizerTables } from "../../host/wasi/tokenizer-tables.ts";

/** All bytes of a model's file. */
export function fileOf(model: Model): Uint8Array {
  // No Buffer: its slices share memory.
  return new Uint8Array(Buffer.concat([...wasiFile(model).pieces].map((piece) => piece.slice())));
}

/** A file without weights: enough for `--tokenize`, which ends before it would read any. */
export function tokenizerFile(metadata: Metadata, template?: string, config = MODEL): Uint8Array {
  const table =
    template === undefined ? undefined : templateTable(createTokenizer(metadata), createChatTemplate(template));
  const sections = {
    config: configSection(config, 64),
    tokenizer: tokenizerTables(metadata),
    chat: chatSection(table),
    index: new Uint8Array(),
  };
  return headerAndSections(sections, 0);
}

/** Sizes of no model in particular. */
const MODEL: Parameters<typeof configSection>[0] = {
  architecture: "llama",
  nLayers: 1,
  hiddenDim: 8,
  ffnDim: 8,
  nHeads: 1,
  nKvHeads: 1,
  sourceKvHeads: 1,
  queryGrouping: "even",
  keyDim: 8,
  valueDim: 8,
  ropeDim: 8,
  ropes: [{ base: 10000, factor: 1, originalContext: 0, betaFast: 0, betaSlow: 0, magnitude: 1, divisors: undefined }],
  layers: [{ window: 0, rope: 0 }],
  norm: "rms",
  normEps: 1e-5,
  parallel: false,
  activation: "silu",
  embeddingScale: 1,
  residualScale: 1,
  attentionScale: 0,
  attentionSoftcap: 0,
  logitScale: 1,
  logitSoftcap: 0,
  vocabSize: 1 << 20,
  trainedContext: 64,
};

/** Gives a model that has none a vocabulary of the 256 bytes. */
export function giveBytes(model: Model): void {
  const metadata = model.header.metadata as Record<string, unknown>;
  for (const key of Object.keys(metadata)) if (key.startsWith("tokenizer.")) delete metadata[key];
  Object.assign(metadata, {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "gpt-2",
    "tokenizer.ggml.tokens": [...BYTE_CHARACTERS],
    "tokenizer.ggml.token_type": BYTE_CHARACTERS.map(() => TokenType.Normal),
    "tokenizer.ggml.merges": [],
  });
}
