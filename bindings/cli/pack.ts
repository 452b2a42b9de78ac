/**
 * `thimble pack`: a prompt's keys and values as a file.
 * @module
 */
import type { PackPrompt } from "../node/index.ts";
import { flag, single, text, UsageError, type Values } from "./arguments.ts";
import { defineCommand } from "./command.ts";
import { readIds, readText } from "./input.ts";
import { modelFile } from "./model-file.ts";
import { LOADING, MODEL, modelPath, OUTPUT, onlyModel, openModel } from "./options.ts";
import { formatBytes, note, printJson, printText } from "./output.ts";
import { writePackFile } from "./pack-file.ts";
import { createProgress } from "./progress.ts";

const OPTIONS = {
  ...MODEL,
  system: single(text("TEXT"), "The system prompt, or @FILE with it"),
  raw: single(text("TEXT"), "A text as it is, without the chat template, or @FILE with it"),
  "prompt-ids": single(text("IDS"), "Token ids (1,2,3 or [1, 2, 3] or @FILE)"),
  wasi: flag("Write the whole model as the one file that the WASI command reads (docs/wasi.md), without a prompt"),
  output: single(text("FILE"), "The file to write", { short: "o" }),
  ...LOADING,
  ...OUTPUT,
} as const;

type PackValues = Values<typeof OPTIONS>;

export const command = defineCommand(
  {
    name: "pack",
    summary: "keep a system prompt, computed, in a file",
    usage: ["[MODEL] --system TEXT --output FILE [options]", "--wasi [MODEL] --output FILE [options]"],
    about: [
      "Computes the keys and values of a prompt and writes them to FILE. thimble run --pack FILE then begins where the prompt ends: reading a pack takes milliseconds, computing the prompt seconds. Prints the path of the file.",
      "A pack is for one model and one form of keys and values: run it with the same MODEL, --keys, --values, and --kv-... options. It is not encrypted; the prompt can be read in it.",
      "With --wasi the file is a whole model for the command dist/thimble.wasm, which runs without JavaScript: weights as they lie in memory, tokenizer and chat template as tables. --context limits its contexts.",
    ],
    examples: [
      ['thimble pack model.gguf --system "Answer in one sentence." -o brief.pack', "Make a pack"],
      ['thimble run model.gguf --pack brief.pack "Why is the sky blue?"', "Begin with it"],
      ["thimble pack model.gguf --system @rules.txt --keys q4 --values q4 -o rules.pack", "A smaller one, from a file"],
      ["thimble pack --wasi model.gguf -o model.thimble", "A model for the WASI command"],
      ['thimble pack --raw "Once upon a time" -o story.pack', "A text to continue, for the model in the package"],
    ],
  },
  OPTIONS,
  async (values, positionals) => {
    const given = onlyModel(values, positionals);
    const path = values.output;
    if (path === undefined) throw new UsageError("there is no file to write; give --output FILE");
    if (values.wasi) {
      checkWasi(values);
      const { packForWasi } = await import("./pack-wasi.ts");
      await using model = await openModel(await modelFile(modelPath(values, given), values.quiet), values);
      await packForWasi(model, path, values);
      return undefined;
    }
    const prompt = await readPackPrompt(values);
    const { quiet, json } = values;
    await using model = await openModel(await modelFile(modelPath(values, given), quiet), values);
    const progress = await createProgress("Reading", "tokens", quiet);
    const start = performance.now();
    try {
      await using pack = await model.createPack(prompt, { onPrefill: progress.update });
      const prefillMs = performance.now() - start;
      const bytes = await writePackFile(pack, path);
      const { keys, values: valueForm } = model.stats;
      if (json) printJson({ path, bytes, tokens: pack.tokens, prefillMs, keys, values: valueForm, model: model.name });
      else {
        if (!quiet) note(`thimble: ${pack.tokens} tokens, ${formatBytes(bytes)}`);
        printText(`${path}\n`);
      }
    } finally {
      progress.stop();
    }
    return undefined;
  },
);

/** A model's file has no prompt. @throws UsageError */
function checkWasi(values: PackValues): void {
  const given = (["system", "raw", "prompt-ids"] as const).find((name) => values[name] !== undefined);
  if (given !== undefined) throw new UsageError(`--wasi and --${given} do not go together`);
}

/** @throws UsageError; ThimbleError source_unreadable, invalid_text */
async function readPackPrompt(values: PackValues): Promise<PackPrompt> {
  const { system, raw, "prompt-ids": ids } = values;
  if ([system, raw, ids].filter((one) => one !== undefined).length !== 1) {
    throw new UsageError("a pack has one prompt; give one of --system, --raw and --prompt-ids");
  }
  if (ids !== undefined) return { ids: await readIds(ids) };
  const given = (system ?? raw)!;
  // A text editor ends a file with a newline that is not meant.
  const content = given.startsWith("@") ? (await readText(given.slice(1))).replace(/\r?\n$/, "") : given;
  if (content === "") throw new UsageError("the prompt is empty; give a text");
  return system !== undefined ? { system: content } : { text: content };
}
