/**
 * Options that commands share, and what they become in the library.
 * @module
 */
import { fileURLToPath } from "node:url";
import { BYTE_SIZE_WORDS, parseByteSize } from "../../host/byte-size.ts";
import { ThimbleError } from "../../host/errors.ts";
import { KV_FORMS } from "../../host/kv-cache.ts";
import { KV_FORMAT_PIECES, parseKvFormat } from "../../host/kv-format.ts";
import { DEFAULT_POLICY, POLICY_NAMES, parsePolicy } from "../../host/policy.ts";
import { PROMPT_ORDERS } from "../../host/prompt-layers.ts";
import { OVERFLOWS } from "../../host/token-turn.ts";
import {
  type GenerateOptions,
  type LoadOptions,
  loadModel,
  type Model,
  type PlanOptions,
  type SessionOptions,
} from "../node/index.ts";
import {
  choice,
  decimal,
  flag,
  integer,
  type Kind,
  list,
  MAX_COUNT,
  single,
  text,
  UsageError,
  type Values,
} from "./arguments.ts";
import { readBytes, readText } from "./input.ts";
import { note, oneLine } from "./output.ts";
import { createProgress } from "./progress.ts";

/** The model in the package, from dist/. */
const EMBEDDED = "../models/thimble-15m.Q4_0.gguf";

export const MODEL = {
  model: single(text("MODEL"), "The GGUF file to use, or a model's name: what is missing is pulled", {
    short: "m",
    default: "$THIMBLE_MODEL, else the model in the package",
  }),
} as const;

/** 134217728, "128MB", "1.5GiB": bytes. */
export const byteSize: Kind<number> = {
  placeholder: "SIZE",
  allowed: BYTE_SIZE_WORDS,
  read(given) {
    try {
      return parseByteSize("size", given);
    } catch {
      return undefined;
    }
  },
};

/** A multiple of a page of the cache. */
const pages = (fewest: number): Kind<number> => ({
  placeholder: "N",
  allowed: `a multiple of 32 from ${fewest} to 65536`,
  read(given) {
    const n = integer(fewest, 65_536).read(given);
    return n !== undefined && n % 32 === 0 ? n : undefined;
  },
});

/** What pages keep beside codes. */
const kvFormat: Kind<string> = {
  placeholder: "NAME[:NUMBER],...",
  allowed: `some of ${KV_FORMAT_PIECES.join(", ")}`,
  read(given) {
    parseKvFormat(given); // what is wrong with it says the library
    return given;
  },
};

/** A policy and its parameters. */
const policy: Kind<string> = {
  placeholder: "NAME[:PARAM=VALUE,...]",
  allowed: `one of ${POLICY_NAMES.join(", ")}, with its own parameters`,
  read(given) {
    parsePolicy(given); // what is wrong with it says the library
    return given;
  },
};

/** What decides how much memory a model takes. */
export const MEMORY = {
  budget: single(
    byteSize,
    "Most WebAssembly memory, never exceeded: the forms of keys and values, and unless --context says it the context, become what fits; thimble plan shows that beforehand",
    { default: "no limit but the system's" },
  ),
  context: single(integer(1), "Most tokens of the conversation", {
    short: "c",
    default: "what the model was trained for",
  }),
  keys: single(
    choice(...KV_FORMS),
    "How keys are kept once they are no longer recent: exactly, or in 8, 4.5 or 3.5 bits",
    {
      default: "q8, nearly lossless; or what the budget allows",
    },
  ),
  values: single(choice(...KV_FORMS), "The same for values, which lose less by it than keys", {
    default: "q8; or what the budget allows",
  }),
  "kv-window": single(pages(32), "Newest tokens kept at 8 bits where keys or values have fewer", { default: "64" }),
  "kv-sinks": single(pages(0), "First tokens kept at 8 bits where keys or values have fewer", { default: "32" }),
  "kv-group": single(choice("32", "64"), "Dims of a head that share a scale", { default: "64" }),
  "kv-rotation": single(
    choice("on", "off"),
    "Rotate queries and keys, which spreads large channels before keys are quantized",
    { default: "on where keys have fewer than 8 bits" },
  ),
  "kv-format": single(
    kvFormat,
    "What pages keep beside plain codes: of keys with fewer than 8 bits channels (scales by channel), mean, outliers:N; of such values factors; of both salient:N; of keys at 8 bits planes:P. docs/kv-cache.md has what each costs",
    { default: "none" },
  ),
  policy: single(
    policy,
    "What chooses the tokens that stay where --kv-ratio, --kv-slots or --kv-bytes keep fewer than all",
    {
      default: `${DEFAULT_POLICY} then, which keeps most and reads the prompt once more; else none`,
    },
  ),
  chunk: single(integer(1, 4096), "Prompt tokens computed together: more take more memory", { default: "64" }),
  threads: single(integer(1, 64), "Threads that compute; the tokens do not depend on it", { default: "1" }),
} as const;

export const LOADING = {
  ...MEMORY,
  activations: single(
    choice("int8", "f32"),
    "Arithmetic of the matrix products; f32 is a slow oracle that needs up to 7 times the memory",
    { default: "int8" },
  ),
  filters: single(text("FILE"), "What --policy q-filter chooses by, as thimble calibrate wrote it for this model"),
  "head-scores": single(
    text("FILE"),
    "What thimble calibrate-heads has found, for the policies duo-attention and razor",
  ),
  variant: single(choice("auto", "simd", "relaxed"), "Build of the WebAssembly module; all give the same tokens", {
    default: "auto: the fastest that runs here",
  }),
} as const;

export const OUTPUT = {
  json: flag("Print one JSON object instead of text"),
  quiet: flag("No progress bars and notes on stderr, only errors", { short: "q" }),
} as const;

/** What stays of prompts, and how those of which a part stays are computed. */
export const KEEPING = {
  "kv-ratio": single(
    decimal(0, 0.999),
    "Share of the prompt's tokens that goes when the prompt ends, in every KV head",
  ),
  "kv-slots": single(integer(1), "Tokens that every KV head keeps when a prompt ends"),
  "kv-bytes": single(byteSize, "The same in bytes of keys and values over all heads"),
  prompts: single(
    choice(...PROMPT_ORDERS),
    "Such prompts go through all layers in chunks, or all of one through one layer after the other: one layer at a time then holds the whole prompt; the tokens are the same",
    { default: "auto: layers where --budget has no room otherwise" },
  ),
} as const;

/** What happens when the context is full. */
export const FORGETTING = {
  overflow: single(
    choice(...OVERFLOWS),
    "When the context is full: end the turn, fail, or evict the oldest tokens and go on",
    {
      default: "stop",
    },
  ),
  ...KEEPING,
  sinks: single(integer(0, 65_536), "First tokens that are never evicted", { default: "32, with --kv-ratio 0" }),
  window: single(integer(0, 65_536), "Newest tokens that are never evicted", { default: "64, with --kv-ratio 0" }),
} as const;

const temperature: Kind<number> = {
  placeholder: "X",
  allowed: "0, or a number from 0.001 to 100",
  read: (given) => decimal(0, 0).read(given) ?? decimal(0.001, 100).read(given),
};

const bias: Kind<readonly [id: number, bias: number]> = {
  placeholder: "ID=BIAS",
  allowed: "a token id, =, and a number from -100 to 100 or -inf",
  read(given) {
    const [, id, value] = /^(\d{1,10})=(.+)$/.exec(given) ?? [];
    if (id === undefined || value === undefined) return undefined;
    const amount = /^-inf(inity)?$/i.test(value) ? Number.NEGATIVE_INFINITY : decimal(-100, 100).read(value);
    return amount === undefined ? undefined : [Number(id), amount];
  },
};

export const GENERATION = {
  "max-tokens": single(integer(0), "Most tokens to generate; 0 only evaluates the prompt", {
    short: "n",
    default: "1024",
  }),
  temperature: single(temperature, "How freely tokens are drawn; 0 takes the most likely one", {
    alias: "temp",
    default: "0.7",
  }),
  "top-k": single(integer(0, MAX_COUNT), "Draw from the N most likely tokens; 0 is all", { default: "40" }),
  "top-p": single(decimal(0, 1), "Draw from the fewest tokens that reach this probability together; 1 is off", {
    default: "0.95",
  }),
  "min-p": single(decimal(0, 1), "Leave out tokens less probable than this share of the most likely one; 0 is off", {
    default: "0.05",
  }),
  "repeat-penalty": single(decimal(0.1, 10), "Makes recent tokens less likely; 1 is off", { default: "1" }),
  "presence-penalty": single(decimal(-2, 2), "Taken from the logit of every recent token", { default: "0" }),
  "frequency-penalty": single(decimal(-2, 2), "Taken from the logit of a recent token for each time it occurs", {
    default: "0",
  }),
  "repeat-last-n": single(integer(-1, MAX_COUNT), "How many tokens are recent, prompt included; -1 is all", {
    default: "64",
  }),
  "logit-bias": list(bias, "Added to the logit of a token; -inf bans it"),
  seed: single(integer(0), "The same seed gives the same text", { default: "drawn, and reported with --json" }),
  stop: list(text("TEXT"), "End before this text"),
  "ignore-eos": flag("Go on past the end of the model's turn"),
  special: flag("Write control tokens into the text"),
} as const;

/** `thimble run` takes all of these. */
export const RUN = {
  ...MODEL,
  system: single(text("TEXT"), "What the model is told before the conversation"),
  pack: single(text("FILE"), "Begin with a prompt that thimble pack has computed; loads in milliseconds"),
  chat: flag("Talk to the model, turn by turn; /help there tells more"),
  raw: flag("Continue the prompt as it is, without the file's chat template"),
  "prompt-ids": single(text("IDS"), "Continue these token ids (1,2,3 or [1, 2, 3] or @FILE) instead of a text"),
  ...GENERATION,
  ...FORGETTING,
  ledger: flag("Tell on stderr, or in the JSON, what was evicted"),
  "dump-cache": flag("Add to the JSON which prompt tokens each layer and KV head keeps"),
  logprobs: single(integer(0, 20), "Report each token's log-probability and N alternatives; needs --json"),
  ...LOADING,
  stats: flag("Tell tokens, times and memory on stderr"),
  ...OUTPUT,
} as const;

export type RunValues = Values<typeof RUN>;

/** The path or name of the model: as given, else from the options, the environment, the package. */
export function modelPath(values: Values<typeof MODEL>, given?: string): string {
  return given ?? values.model ?? (process.env.THIMBLE_MODEL || fileURLToPath(new URL(EMBEDDED, import.meta.url)));
}

/** The model where it is the only argument. @throws UsageError */
export function onlyModel(values: Values<typeof MODEL>, positionals: readonly string[]): string | undefined {
  if (positionals.length > 1) throw new UsageError(`there are ${positionals.length} arguments, at most MODEL is taken`);
  if (positionals.length === 1 && values.model !== undefined)
    throw new UsageError("the model is named twice, by --model and as an argument");
  return positionals[0];
}

type KeepValues = Partial<Values<typeof KEEPING>>;
type LoadValues = Values<typeof LOADING & Pick<typeof OUTPUT, "quiet">> & KeepValues;

export function memoryOptions(values: Values<typeof MEMORY> & KeepValues): PlanOptions {
  const { budget, context, keys, values: valueForm, chunk, threads } = values;
  const options = {
    budget,
    contextLength: context,
    keys,
    values: valueForm,
    kvWindow: values["kv-window"],
    kvSinks: values["kv-sinks"],
    kvGroup: values["kv-group"] === undefined ? undefined : Number(values["kv-group"]),
    kvRotation: values["kv-rotation"] === undefined ? undefined : values["kv-rotation"] === "on",
    kvFormat: values["kv-format"],
    policy: values.policy ?? (keepOption(values) === undefined ? undefined : DEFAULT_POLICY),
    keep: keepOption(values),
    prompts: values.prompts,
    chunk,
    threads,
  };
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

/** Loads with a progress bar, and says what a user should know of the file. */
export async function openModel(path: string, values: LoadValues, more: LoadOptions = {}): Promise<Model> {
  const { quiet, threads = 1 } = values;
  const scores = values["head-scores"];
  const headScores = scores === undefined ? {} : { headScores: await readText(scores) };
  const filters = values.filters === undefined ? undefined : await readBytes(values.filters);
  const progress = await createProgress("Loading", "bytes", quiet);
  try {
    const model = await loadModel(path, {
      ...memoryOptions(values),
      ...headScores,
      ...(values.activations === undefined ? {} : { activations: values.activations }),
      ...(values.variant === undefined ? {} : { variant: values.variant }),
      ...(filters === undefined ? {} : { filters }),
      onProgress: ({ loaded, total }) => progress.update(loaded, total),
      ...more,
    });
    const { stats, config } = model;
    if (stats.contextLength < (more.contextLength ?? values.context ?? config.trainedContext) && !quiet) {
      const forms = `${stats.keys} keys and ${stats.values} values`;
      note(`thimble: the budget has room for ${stats.contextLength} of ${config.trainedContext} tokens, with ${forms}`);
    }
    if (stats.threads < threads && !quiet) note("thimble: no workers here; it computes on one thread");
    return model;
  } catch (error) {
    const isTheirs = error instanceof ThimbleError && error.code.startsWith("calibration_");
    if (!isTheirs) throw error;
    throw new ThimbleError(error.code, error.message, { file: values.filters ?? scores!, cause: error });
  } finally {
    progress.stop();
  }
}

export function generateOptions(values: Values<typeof GENERATION>): GenerateOptions {
  return {
    maxTokens: values["max-tokens"],
    temperature: values.temperature,
    topK: values["top-k"],
    topP: values["top-p"],
    minP: values["min-p"],
    repetitionPenalty: values["repeat-penalty"],
    presencePenalty: values["presence-penalty"],
    frequencyPenalty: values["frequency-penalty"],
    penaltyLastN: values["repeat-last-n"],
    logitBias: new Map(values["logit-bias"]),
    seed: values.seed,
    stop: values.stop,
    ignoreEos: values["ignore-eos"],
    special: values.special,
  };
}

/** What is to be kept, if anything is said. @throws UsageError where more than one is */
function keepOption(values: KeepValues): SessionOptions["keep"] {
  const wishes = Object.entries({ ratio: values["kv-ratio"], slots: values["kv-slots"], bytes: values["kv-bytes"] });
  const given = wishes.filter(([, value]) => value !== undefined);
  if (given.length > 1) throw new UsageError("--kv-ratio, --kv-slots and --kv-bytes do not go together");
  return given.length === 0 ? undefined : Object.fromEntries(given);
}

/** @throws UsageError where --policy and what it is to keep do not go together */
export function sessionOptions(values: Values<typeof FORGETTING & typeof MEMORY>): SessionOptions {
  const { overflow, sinks, window, policy } = values;
  const keep = keepOption(values);
  if (keep === undefined && policy !== undefined)
    throw new UsageError("--policy needs --kv-ratio, --kv-slots or --kv-bytes");
  return { overflow, sinks, window, ...(keep === undefined ? {} : { keep }) };
}

/** Notes on what a user should know before reading the answer. */
export function warn(model: Model, isRaw: boolean): void {
  for (const warning of model.tokenizer.warnings) note(`thimble: ${oneLine(warning)}`);
  if (model.hasChatTemplate || isRaw) return;
  note("thimble: the file has no chat template; the prompt is continued as raw text (--raw says that this is meant)");
}
