/**
 * `thimble run`: text from a prompt.
 * @module
 */
import { existsSync } from "node:fs";
import { ThimbleError } from "../../host/errors.ts";
import { POLICY_NAMES } from "../../host/policy.ts";
import type { Prompt } from "../node/index.ts";
import { isModelName } from "../node/store/index.ts";
import { UsageError } from "./arguments.ts";
import { chat } from "./chat.ts";
import { defineCommand } from "./command.ts";
import { readIds, readStdin } from "./input.ts";
import { describeLedger } from "./ledger.ts";
import { modelFile } from "./model-file.ts";
import { generateOptions, modelPath, openModel, RUN, type RunValues, sessionOptions, warn } from "./options.ts";
import { note, printJson, printModelText, printText } from "./output.ts";
import { openPackFile, promptFor } from "./pack-file.ts";
import { POLICY_NOTES } from "./policies.ts";
import { describeTurn, memoryParts } from "./stats.ts";
import { takeTurn } from "./turn.ts";

export const command = defineCommand(
  {
    name: "run",
    summary: "continue a prompt, or talk to a model",
    usage: ["[MODEL] [PROMPT] [options]", "[MODEL] --chat [options]"],
    about: [
      "Prints the model's answer to PROMPT, followed by a newline, and nothing else on stdout. Without a PROMPT, or with -, the prompt is read from stdin, less one newline at its end.",
      "MODEL is a .gguf file or what thimble pull takes; a model that is not on this machine is pulled first. A single argument is the PROMPT, unless it is a MODEL.",
      "A conversation that fills the context ends, unless --overflow evict lets it forget its oldest tokens; the system prompt stays. With --policy and --kv-ratio, --kv-slots or --kv-bytes a part of each prompt stays, when it has been read. Nothing goes silently: --ledger tells what did, and with --chat /forgotten does, and /recall brings it back. docs/forgetting.md has all of it.",
    ],
    lists: [
      {
        title: "Policies, and what stays with each (docs/quality.md has what they cost in text and in values found):",
        entries: POLICY_NAMES.map((name) => [name, POLICY_NOTES[name].keeps] as const),
      },
    ],
    examples: [
      ['thimble run "Tell me a story about a fox."', "Ask the model in the package"],
      ['thimble run model.gguf "Why is the sky blue?" --system "Answer in one sentence."', "Ask another model"],
      ["thimble run --chat -m model.gguf", "Talk to it"],
      [
        'thimble run smollm2-135m "What is the capital of France?"',
        "Ask a model by its name, and pull it first if needed",
      ],
      [
        'thimble run model.gguf --pack brief.pack "Why is the sky blue?"',
        "Begin with a system prompt made by thimble pack",
      ],
      ["thimble run --quiet < question.txt > answer.txt", "Read the prompt from a file"],
      [
        'thimble run --raw --temp 0 -n 40 --stop "The end" "Once upon a time"',
        "Continue a text, most likely tokens only",
      ],
      ["thimble run --chat -c 1024 --overflow evict --ledger", "Talk without end, and see what is forgotten"],
      ['thimble run --policy key-diff --kv-ratio 0.5 "$(cat long.txt)"', "Keep half of a long prompt"],
      ['thimble run --seed 7 --json --logprobs 3 "Hello!"', "Everything about a repeatable run, for a program"],
    ],
  },
  RUN,
  async (values, positionals) => {
    const { given, prompt } = splitPositionals(values, positionals);
    checkCombinations(values, prompt);
    // Read before a model is fetched: a wrong prompt is noticed at once.
    const read = values.chat ? undefined : await readPrompt(values, prompt);
    const path = await modelFile(modelPath(values, given), values.quiet);
    if (read === undefined) return chat(path, values, prompt);
    await using model = await openModel(path, values);
    if (!values.quiet) warn(model, values.raw || values["prompt-ids"] !== undefined);
    const pack = values.pack === undefined ? undefined : await openPackFile(model, values.pack);
    const session = pack?.session(sessionOptions(values)) ?? model.session(sessionOptions(values));
    const { json, quiet: isQuiet } = values;
    const write = json ? () => {} : printModelText;
    const options = { ...generateOptions(values), logprobs: values.logprobs };
    const turn = await takeTurn(session, promptFor(pack, read), options, { write, isQuiet });
    const { timings, ...result } = turn.result;
    if (json) {
      const { variant, headerMs, weightsMs } = model.stats;
      const times = { ...timings, firstTokenMs: turn.firstTokenMs, loadMs: headerMs + weightsMs };
      const ledger = values.ledger ? { ledger: session.ledger } : {};
      const kept = values["dump-cache"] ? { kept: session.kept().map(promptOnly(result.promptIds.length)) } : {};
      printJson({
        ...result,
        timings: times,
        variant,
        model: model.name,
        memory: memoryParts(session),
        ...ledger,
        ...kept,
      });
    } else {
      printText("\n");
    }
    if (values.stats) note(describeTurn(session, turn));
    if (values.ledger && !json) note(describeLedger(session));
    return undefined;
  },
);

/** The positions of a layer's heads that are the prompt's. */
const promptOnly = (n: number) => (heads: readonly (readonly number[])[]) =>
  heads.map((head) => head.filter((p) => p < n));

/** MODEL and PROMPT out of at most two arguments. */
function splitPositionals(values: RunValues, positionals: readonly string[]): { given?: string; prompt?: string } {
  const [first, second] = positionals;
  if (positionals.length > 2) {
    throw new UsageError(
      `there are ${positionals.length} arguments, at most MODEL and PROMPT are taken; put the prompt in quotes`,
    );
  }
  if (first === undefined) return {};
  if (values.model !== undefined) {
    if (second !== undefined) throw new UsageError("the model is named twice, by --model and as an argument");
    return { prompt: first };
  }
  if (second !== undefined) return { given: first, prompt: second };
  // A name without a blank is no prompt: better to say that the file is missing than to tell a story about it.
  const isModel = isModelName(first) || (/\.gguf$/i.test(first) && (existsSync(first) || !/\s/.test(first)));
  return isModel ? { given: first } : { prompt: first };
}

function checkCombinations(values: RunValues, prompt: string | undefined): void {
  const refuse = (first: string, second: string): never => {
    throw new UsageError(`${first} and ${second} do not go together`);
  };
  const ids = values["prompt-ids"] !== undefined;
  if (ids && prompt !== undefined) refuse("--prompt-ids", "a PROMPT");
  if (ids && values.system !== undefined) refuse("--prompt-ids", "--system");
  if (values.pack !== undefined && values.system !== undefined) refuse("--pack", "--system");
  if (ids && values.raw) refuse("--prompt-ids", "--raw");
  if (values.raw && values.system !== undefined) refuse("--raw", "--system");
  if (values.chat && ids) refuse("--chat", "--prompt-ids");
  if (values.chat && values.json) refuse("--chat", "--json");
  if (values.chat && prompt === "-") refuse("--chat", "a PROMPT from stdin");
  if (values["dump-cache"] && !values.json) throw new UsageError("--dump-cache needs --json, where it is shown");
  if (values.logprobs !== undefined && !values.json)
    throw new UsageError("--logprobs needs --json, where they are shown");
}

/** What to continue. @throws ThimbleError empty_prompt, invalid_text, source_unreadable; UsageError */
async function readPrompt(values: RunValues, prompt: string | undefined): Promise<Prompt> {
  if (values["prompt-ids"] !== undefined) return { ids: await readIds(values["prompt-ids"]) };
  if (prompt === undefined && process.stdin.isTTY) {
    throw new UsageError("there is no prompt; give a PROMPT, pipe one in, or use --chat");
  }
  const given = prompt === undefined || prompt === "-" ? (await readStdin()).replace(/\r?\n$/, "") : prompt;
  if (values.raw) return { text: given };
  if (given === "") throw new ThimbleError("empty_prompt", "the prompt is empty; give a text to answer");
  if (values.system === undefined) return given;
  return [
    { role: "system", content: values.system },
    { role: "user", content: given },
  ];
}
