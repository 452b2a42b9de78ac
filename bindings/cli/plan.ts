/**
 * `thimble plan`: the memory a model takes and what fits a budget. Reads the header only.
 * @module
 */
import { type Plan, plan, type Rung } from "../node/index.ts";
import { integer, single } from "./arguments.ts";
import { defineCommand } from "./command.ts";
import { modelFile } from "./model-file.ts";
import { KEEPING, LOADING, MEMORY, MODEL, memoryOptions, modelPath, OUTPUT, onlyModel } from "./options.ts";
import { formatBytes, printJson, printText } from "./output.ts";
import { type Align, formatTable, type Row } from "./table.ts";

const OPTIONS = {
  ...MODEL,
  ...MEMORY,
  budget: single(MEMORY.budget.kind, "The WebAssembly memory to plan for", { default: "what 32 bits can have, 4 GiB" }),
  ...KEEPING,
  sessions: single(integer(1, 65_536), "Sessions at a time, each with a full context", { default: "1" }),
  activations: LOADING.activations,
  json: OUTPUT.json,
} as const;

export const command = defineCommand(
  {
    name: "plan",
    summary: "show the memory a model takes, and what fits a budget",
    usage: ["[MODEL] [options]"],
    about: [
      "Reads the header of MODEL, not its weights, and shows the WebAssembly memory by part for one session (or --sessions) with a full context, and for each form of keys and values the longest context that fits. run, chat and perplexity with the same --budget then stay within it, always.",
      "Forms of keys and values: f32 is exact, q8 nearly lossless, q4 takes 4.5 bits and q3 3.5 bits a number; keys lose more by it than values, so values go first. With a budget and neither --keys nor --values the first form from q8 on in which the context fits is taken.",
      "With --policy and one of --kv-ratio, --kv-slots and --kv-bytes: what prompts take when they go through the model in chunks, or layer by layer, where all layers but one hold only what stays.",
      "Exit code 1 when the context does not fit in any form that may be taken.",
    ],
    examples: [
      ["thimble plan model.gguf", "What does it take?"],
      ["thimble plan model.gguf --budget 128MB --context 4096", "Do 4096 tokens fit in 128 MB, and in which form?"],
      ["thimble plan model.gguf --budget 1GiB --keys q8 --values q4", "How long can the context be in this form?"],
      ["thimble plan model.gguf --budget 1GiB --sessions 8", "How long can the contexts of 8 sessions be?"],
      [
        "thimble plan model.gguf --context 8192 --policy snapkv --kv-slots 512 --budget 200MB",
        "Do prompts of 8192 tokens fit of which 512 stay, and which way?",
      ],
      ["thimble plan model.gguf --budget 128MB --json", "The same for a program"],
    ],
  },
  OPTIONS,
  async (values, positionals) => {
    const given = onlyModel(values, positionals);
    const { activations, sessions } = values;
    const path = await modelFile(modelPath(values, given), false);
    const found = await plan(path, {
      ...memoryOptions(values),
      ...(activations === undefined ? {} : { activations }),
      ...(sessions === undefined ? {} : { sessions }),
    });
    if (values.json) printJson(found);
    else printText(describePlan(found));
    return found.budget !== undefined && found.load === undefined ? 1 : undefined;
  },
);

const PARTS: readonly Align[] = ["left", "right"];

/** Two tables and a verdict. */
export function describePlan(plan: Plan): string {
  const { engine } = plan;
  const { memory, contextLength, keys, values, prompts, peaks } = plan.load ?? plan;
  const { sessions } = memory;
  const byLayers = prompts === "layers";
  const tables = sessions * (memory.session - memory.own - memory.journal);
  const kept = sessions * (memory.session + memory.held) + memory.prompt;
  const lost = memory.total - engine - memory.weights - memory.runState - kept;
  const many = sessions === 1 ? "" : `${sessions} x `;
  const parts: readonly (readonly [string, number])[] = [
    ["weights", memory.weights],
    ["run state", memory.runState - memory.stream],
    ...(byLayers ? [[`rows of a prompt of ${contextLength} tokens`, memory.stream] as const] : []),
    [`${sessions === 1 ? "one session" : `${sessions} sessions`}: tables`, tables],
    ["  open, recent and first tokens", sessions * memory.own],
    [sessions === 1 ? "  journal, to undo a turn" : "  journals, to undo a turn of each", sessions * memory.journal],
    [`keys and values ${byLayers ? "that stay " : ""}of ${many}${contextLength} tokens`, sessions * memory.held],
    ...(memory.prompt > 0
      ? [
          [
            byLayers ? "a prompt: one layer, what stays, a copy of its session" : "a prompt's end",
            memory.prompt,
          ] as const,
        ]
      : []),
    ["engine, and rounding", engine + lost],
    ["in all", memory.total],
  ];
  const rows: Row[] = parts.map(([name, bytes]) => [name, formatBytes(bytes)]);
  const limit =
    plan.budget === undefined
      ? "4 GiB, all that 32 bits have"
      : `the budget of ${plan.budget} bytes (${formatBytes(plan.budget)})`;
  const ways =
    peaks.layers === undefined
      ? []
      : [
          `How prompts go\n${formatTable(
            [],
            ["left", "right", "left"],
            [
              ["in chunks", formatBytes(peaks.chunks), byLayers ? "" : "taken"],
              ["layer by layer", formatBytes(peaks.layers), byLayers ? "taken" : ""],
            ],
          )}`,
        ];
  return [
    `Memory with ${keys} keys and ${values} values\n${formatTable([], PARTS, rows)}`,
    ...ways,
    `What fits in ${limit}\n${formatTable(
      [
        "keys",
        "values",
        "bytes a token",
        `${sessions === 1 ? "" : `${sessions} x `}${plan.contextLength} tokens take`,
        "fits",
        "longest context",
        ...(hasWays(plan) ? ["prompts"] : []),
      ],
      ["left", "left", "right", "right", "left", "right", ...(hasWays(plan) ? (["left"] as const) : [])],
      plan.ladder.map((rung) => ladderRow(plan, rung)),
    )}`,
    `${verdict(plan)}\n`,
  ].join("\n");
}

/** Whether prompts can go layer by layer too. */
function hasWays({ peaks }: Plan): boolean {
  return peaks.layers !== undefined;
}

function ladderRow(plan: Plan, { keys, values, perToken, total, fits, largestContext, prompts }: Rung): Row {
  const { trainedContext } = plan;
  const longest =
    largestContext === 0 ? "none" : `${largestContext}${largestContext === trainedContext ? " (all)" : ""}`;
  const row = [keys, values, Math.round(perToken), formatBytes(total), fits ? "yes" : "no", longest];
  return hasWays(plan) ? [...row, prompts] : row;
}

function verdict(plan: Plan): string {
  const { budget, load, fits, contextLength, trainedContext, keys, values, largestContext } = plan;
  const { sessions } = plan.memory;
  const run = sessions === 1 ? "it runs" : `${sessions} sessions run`;
  const each = sessions === 1 ? "" : " each";
  if (budget === undefined) {
    const forms = `${keys} keys and ${values} values`;
    if (fits) return `Without --budget ${run} with ${forms}; memory is taken as the conversation grows.`;
    return `Without --budget ${run} with ${forms}, but memory ends after ${largestContext} tokens${each}.`;
  }
  if (load === undefined) {
    return `It does not fit: take a larger --budget, a shorter --context, or smaller forms of --keys and --values.`;
  }
  const runs = `With this budget ${run} with ${load.keys} keys and ${load.values} values`;
  const ways = load.prompts === "layers" ? " Prompts go layer by layer." : "";
  if (load.contextLength === contextLength) return `${runs}, and a context of ${contextLength} tokens${each}.${ways}`;
  return `${runs}, and a context of ${load.contextLength} of the ${trainedContext} tokens it was trained for${each}.${ways}`;
}
