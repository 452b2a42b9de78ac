/**
 * `thimble plan`: the memory a model takes and what fits a budget. Reads the header only.
 * @module
 */
import { type Plan, plan, type Rung } from "../node/index.ts";
import { single } from "./arguments.ts";
import { defineCommand } from "./command.ts";
import { modelFile } from "./model-file.ts";
import { LOADING, MEMORY, MODEL, memoryOptions, modelPath, OUTPUT, onlyModel } from "./options.ts";
import { formatBytes, printJson, printText } from "./output.ts";
import { type Align, formatTable, type Row } from "./table.ts";

const OPTIONS = {
  ...MODEL,
  ...MEMORY,
  budget: single(MEMORY.budget.kind, "The WebAssembly memory to plan for", { default: "what 32 bits can have, 4 GiB" }),
  activations: LOADING.activations,
  json: OUTPUT.json,
} as const;

export const command = defineCommand(
  {
    name: "plan",
    summary: "show the memory a model takes, and what fits a budget",
    usage: ["[MODEL] [options]"],
    about: [
      "Reads the header of MODEL, not its weights, and shows the WebAssembly memory by part for one session with a full context, and for each form of keys and values the longest context that fits. run, chat and perplexity with the same --budget then stay within it, always.",
      "Forms of keys and values: f32 is exact, q8 nearly lossless, q4 takes 4.5 bits and q3 3.5 bits a number; keys lose more by it than values, so values go first. With a budget and neither --keys nor --values the first form from q8 on in which the context fits is taken.",
      "Exit code 1 when the context does not fit in any form that may be taken.",
    ],
    examples: [
      ["thimble plan model.gguf", "What does it take?"],
      ["thimble plan model.gguf --budget 128MB --context 4096", "Do 4096 tokens fit in 128 MB, and in which form?"],
      ["thimble plan model.gguf --budget 1GiB --keys q8 --values q4", "How long can the context be in this form?"],
      ["thimble plan model.gguf --budget 128MB --json", "The same for a program"],
    ],
  },
  OPTIONS,
  async (values, positionals) => {
    const given = onlyModel(values, positionals);
    const { activations } = values;
    const path = await modelFile(modelPath(values, given), false);
    const found = await plan(path, { ...memoryOptions(values), ...(activations === undefined ? {} : { activations }) });
    if (values.json) printJson(found);
    else printText(describePlan(found));
    return found.budget !== undefined && found.load === undefined ? 1 : undefined;
  },
);

const PARTS: readonly Align[] = ["left", "right"];

/** Two tables and a verdict. */
export function describePlan(plan: Plan): string {
  const { engine } = plan;
  const { memory, contextLength, keys, values } = plan.load ?? plan;
  const tables = memory.session - memory.own - memory.journal;
  const lost = memory.total - engine - memory.weights - memory.runState - memory.session - memory.context;
  const parts: readonly (readonly [string, number])[] = [
    ["weights", memory.weights],
    ["run state", memory.runState],
    ["one session: tables", tables],
    ["  open, recent and first tokens", memory.own],
    ["  journal, to undo a turn", memory.journal],
    [`keys and values of ${contextLength} tokens`, memory.context],
    ["engine, and rounding", engine + lost],
    ["in all", memory.total],
  ];
  const rows: Row[] = parts.map(([name, bytes]) => [name, formatBytes(bytes)]);
  const limit =
    plan.budget === undefined
      ? "4 GiB, all that 32 bits have"
      : `the budget of ${plan.budget} bytes (${formatBytes(plan.budget)})`;
  return [
    `Memory with ${keys} keys and ${values} values\n${formatTable([], PARTS, rows)}`,
    `What fits in ${limit}\n${formatTable(
      ["keys", "values", "bytes a token", `${plan.contextLength} tokens take`, "fits", "longest context"],
      ["left", "left", "right", "right", "left", "right"],
      plan.ladder.map((rung) => ladderRow(plan, rung)),
    )}`,
    `${verdict(plan)}\n`,
  ].join("\n");
}

function ladderRow({ trainedContext }: Plan, { keys, values, perToken, total, fits, largestContext }: Rung): Row {
  const longest =
    largestContext === 0 ? "none" : `${largestContext}${largestContext === trainedContext ? " (all)" : ""}`;
  return [keys, values, Math.round(perToken), formatBytes(total), fits ? "yes" : "no", longest];
}

function verdict({ budget, load, fits, contextLength, trainedContext, keys, values, largestContext }: Plan): string {
  if (budget === undefined) {
    const forms = `${keys} keys and ${values} values`;
    if (fits) return `Without --budget it runs with ${forms}; memory is taken as the conversation grows.`;
    return `Without --budget it runs with ${forms}, but memory ends after ${largestContext} tokens.`;
  }
  if (load === undefined) {
    return `It does not fit: take a larger --budget, a shorter --context, or smaller forms of --keys and --values.`;
  }
  const runs = `With this budget it runs with ${load.keys} keys and ${load.values} values`;
  if (load.contextLength === contextLength) return `${runs}, and a context of ${contextLength} tokens.`;
  return `${runs}, and a context of ${load.contextLength} of the ${trainedContext} tokens it was trained for.`;
}
