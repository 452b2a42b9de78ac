/**
 * `thimble calibrate`: filters for the policy q-filter, from texts.
 * @module
 */
import { CALIBRATION, calibrate } from "../../host/calibration.ts";
import { loadModel } from "../node/index.ts";
import { integer, single, text, UsageError, type Values } from "./arguments.ts";
import { defineCommand } from "./command.ts";
import { readText } from "./input.ts";
import { modelFile } from "./model-file.ts";
import { LOADING, MODEL, modelPath, OUTPUT } from "./options.ts";
import { formatBytes, note, printJson, printText } from "./output.ts";
import { createProgress } from "./progress.ts";
import { writeWhole } from "./whole-file.ts";

const DEFAULT_TOKENS = 2048;

const OPTIONS = {
  ...MODEL,
  output: single(text("FILE"), "The file to write", { short: "o" }),
  tokens: single(integer(1), "Most tokens of each text", { default: String(DEFAULT_TOKENS) }),
  activations: LOADING.activations,
  variant: LOADING.variant,
  threads: LOADING.threads,
  ...OUTPUT,
} as const;

export const command = defineCommand(
  {
    name: "calibrate",
    summary: "compute the filters that the policy q-filter needs",
    usage: ["MODEL TEXT... --output FILE [options]", "[--model MODEL] TEXT --output FILE [options]"],
    about: [
      "Computes the queries of the texts, each a context of its own, and writes to FILE the direction that those of each KV head have in common. A few thousand tokens of the kind that will be read are enough. Prints the path of the file.",
      "Filters are for one model and one kind of --activations. They are small, and nothing of the texts can be read in them.",
    ],
    examples: [
      ["thimble calibrate model.gguf a.txt b.txt -o model.filters", "Make filters from two texts"],
      [
        'thimble run model.gguf --policy q-filter --filters model.filters --kv-ratio 0.5 "$(cat long.txt)"',
        "Keep the half of a prompt that they choose",
      ],
    ],
  },
  OPTIONS,
  async (values, positionals) => {
    const { given, files } = splitPositionals(values, positionals);
    const { output, quiet, json, tokens: most = DEFAULT_TOKENS } = values;
    const { activations = "int8", variant = "auto", threads = 1 } = values;
    if (output === undefined) throw new UsageError("there is no file to write; give --output FILE");
    // Read before the model is: a wrong file is noticed at once.
    const texts: string[] = [];
    for (const file of files) texts.push(await readText(file));
    const path = await modelFile(modelPath(values, given), quiet);
    await using model = await loadModel(path, { ...CALIBRATION, activations, variant, threads });
    const longest = Math.min(most, model.stats.contextLength);
    const documents = texts.map((content) => model.tokenize(content).slice(0, longest));
    const progress = await createProgress("Reading", "tokens", quiet);
    try {
      const bytes = await calibrate(model, documents, { onProgress: progress.update });
      await writeWhole(output, bytes, "the file of filters");
      const tokens = documents.reduce((sum, ids) => sum + ids.length, 0);
      if (json) printJson({ path: output, bytes: bytes.length, tokens, texts: texts.length, model: model.name });
      else {
        progress.stop();
        if (!quiet) note(`thimble: ${tokens} tokens of ${texts.length} texts, ${formatBytes(bytes.length)}`);
        printText(`${output}\n`);
      }
    } finally {
      progress.stop();
    }
    return undefined;
  },
);

/** @throws UsageError */
function splitPositionals(
  values: Values<typeof OPTIONS>,
  positionals: readonly string[],
): { given?: string; files: readonly string[] } {
  if (positionals.length === 0) throw new UsageError("there is nothing to read; give a TEXT, - for stdin");
  if (values.model !== undefined || positionals.length === 1) return { files: positionals };
  const [given, ...files] = positionals;
  return { given: given!, files };
}
