/**
 * `thimble calibrate-heads`: which heads need all of a conversation, as a file for the policies that deal by it.
 * @module
 */
import { HEAD_SCORE_KINDS } from "../../host/head-scores.ts";
import { CALIBRATION, calibrateHeads } from "../node/index.ts";
import { choice, integer, list, single, text, UsageError } from "./arguments.ts";
import { defineCommand } from "./command.ts";
import { readText } from "./input.ts";
import { modelFile } from "./model-file.ts";
import { LOADING, MODEL, modelPath, OUTPUT, onlyModel, openModel } from "./options.ts";
import { printJson, printText } from "./output.ts";
import { createProgress } from "./progress.ts";
import { writeWhole } from "./whole-file.ts";

/** Tokens of a text that are used when --tokens does not say, and of razor's sequence at least. */
const TOKENS = 2048;

const OPTIONS = {
  ...MODEL,
  kind: single(
    choice(...HEAD_SCORE_KINDS),
    "For the policy duo-attention, from texts; or for razor, which needs none",
    {
      default: "duo",
    },
  ),
  text: list(text("FILE"), "A text to look at"),
  tokens: single(integer(2, 65_536), "Tokens of each text that are used, from its beginning", { default: "2048" }),
  output: single(text("FILE"), "The file to write", { short: "o" }),
  activations: LOADING.activations,
  threads: LOADING.threads,
  variant: LOADING.variant,
  ...OUTPUT,
} as const;

export const command = defineCommand(
  {
    name: "calibrate-heads",
    summary: "find out which heads need the whole conversation",
    usage: ["[MODEL] --text FILE ... --output FILE [options]", "[MODEL] --kind razor --output FILE [options]"],
    about: [
      "Looks at what the attention heads of a model do, on texts or on a random sequence that repeats itself, and writes a score for each to FILE, a small JSON. thimble run --policy duo-attention (or razor) --head-scores FILE then keeps everything for the heads that score high, and the first and newest tokens for the others.",
      "The scores are for the model they were made with, and for the same --activations.",
    ],
    examples: [
      ["thimble calibrate-heads model.gguf --text book.txt --text code.txt -o duo.json", "From two texts"],
      ["thimble calibrate-heads model.gguf --kind razor -o razor.json", "From a sequence that repeats itself"],
      ['thimble run --policy duo-attention --head-scores duo.json --kv-ratio 0.3 "$(cat long.txt)"', "Use them"],
    ],
  },
  OPTIONS,
  async (values, positionals) => {
    const given = onlyModel(values, positionals);
    const { kind = "duo", output, quiet, json, text: files, tokens = TOKENS } = values;
    if (output === undefined) throw new UsageError("there is no file to write; give --output FILE");
    if ((kind === "duo") === (files.length === 0)) {
      throw new UsageError(kind === "duo" ? "there is no text to look at; give --text FILE" : "razor takes no --text");
    }
    const texts = await Promise.all(files.map(readText));
    const path = await modelFile(modelPath(values, given), quiet);
    const contextLength = Math.max(tokens, TOKENS);
    // The other options of loading are what a calibration needs.
    await using model = await openModel(path, values as unknown as Parameters<typeof openModel>[1], {
      ...CALIBRATION,
      contextLength,
    });
    const sequences = texts.map((one) => model.tokenize(one).slice(0, tokens));
    const progress = await createProgress("Looking", "tokens", quiet);
    try {
      const scores = await calibrateHeads(model, kind, sequences, { onProgress: progress.update });
      progress.stop();
      await writeWhole(output, new TextEncoder().encode(`${JSON.stringify(scores)}\n`), "the file of head scores");
      if (json) printJson({ ...scores, path: output });
      else printText(`${output}\n`);
    } finally {
      progress.stop();
    }
    return undefined;
  },
);
