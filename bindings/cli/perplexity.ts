/**
 * `thimble perplexity`: how well a model predicts a text.
 * @module
 */
import { perplexity } from "../node/index.ts";
import { integer, single, text, UsageError, type Values } from "./arguments.ts";
import { defineCommand } from "./command.ts";
import { readIds, readText } from "./input.ts";
import { modelFile } from "./model-file.ts";
import { FORGETTING, LOADING, MODEL, modelPath, OUTPUT, openModel, sessionOptions } from "./options.ts";
import { printJson, printText } from "./output.ts";
import { createProgress } from "./progress.ts";

/** Rows with logits in one call when --chunk does not say. */
const DEFAULT_CHUNK = 64;

const OPTIONS = {
  ...MODEL,
  "prompt-ids": single(text("IDS"), "Score these token ids (1,2,3 or [1, 2, 3] or @FILE) instead of a text"),
  from: single(integer(1), "Score from token N on, counted from 0; the ones before are context only", { default: "1" }),
  ...LOADING,
  ...FORGETTING,
  ...OUTPUT,
} as const;

export const command = defineCommand(
  {
    name: "perplexity",
    summary: "measure how well a model predicts a text",
    usage: ["[MODEL] FILE [options]", "[MODEL] --prompt-ids @IDS [options]"],
    about: [
      "Prints the mean negative log-likelihood (nats a token) of the text in FILE (- is stdin) and e to its power, the perplexity; lower is better. The text is one context without BOS, so it must fit the context of the model, but with --overflow evict.",
      "--json also gives, for each scored token: nll, the most likely token (argmax) and its lead over the second (gap).",
    ],
    examples: [
      ["thimble perplexity model.gguf text.txt", "Compare two quantizations on a text: run it for both"],
      ["thimble perplexity --activations f32 text.txt", "What quantized activations cost"],
      [
        "thimble perplexity --prompt-ids @ids.json --from 512 --json",
        "Ids from another tokenizer, the first 512 as context",
      ],
    ],
  },
  OPTIONS,
  async (values, positionals) => {
    const { given, file } = splitPositionals(values, positionals);
    // Read before the model is: a wrong file is noticed at once.
    const source = file === undefined ? { ids: await readIds(values["prompt-ids"]!) } : { text: await readText(file) };
    const { chunk = DEFAULT_CHUNK, from } = values;
    const path = await modelFile(modelPath(values, given), values.quiet);
    await using model = await openModel(path, { ...values, chunk }, { maxOutputs: chunk });
    const ids = source.ids ?? model.tokenize(source.text);
    const progress = await createProgress("Scoring", "tokens", values.quiet);
    try {
      const options = {
        ...sessionOptions(values),
        ...(from === undefined ? {} : { from }),
        onProgress: progress.update,
      };
      const result = await perplexity(model, ids, options);
      progress.stop();
      const { meanNll, nll } = result;
      if (values.json) printJson({ ...result, tokens: ids.length, variant: model.stats.variant, model: model.name });
      else
        printText(
          `mean NLL ${meanNll.toFixed(6)}  perplexity ${result.perplexity.toFixed(4)}  scored ${nll.length} of ${ids.length} tokens\n`,
        );
    } finally {
      progress.stop();
    }
    return undefined;
  },
);

function splitPositionals(
  values: Values<typeof OPTIONS>,
  positionals: readonly string[],
): { given?: string; file?: string } {
  const hasIds = values["prompt-ids"] !== undefined;
  const [first, second] = positionals;
  if (hasIds) {
    if (second !== undefined) throw new UsageError("--prompt-ids and a FILE do not go together");
    if (first !== undefined && values.model !== undefined)
      throw new UsageError("the model is named twice, by --model and as an argument");
    return first === undefined ? {} : { given: first };
  }
  if (first === undefined) throw new UsageError("there is nothing to score; give a FILE, - for stdin, or --prompt-ids");
  if (positionals.length > 2)
    throw new UsageError(`there are ${positionals.length} arguments, at most MODEL and FILE are taken`);
  if (second === undefined) return { file: first };
  if (values.model !== undefined) throw new UsageError("the model is named twice, by --model and as an argument");
  return { given: first, file: second };
}
