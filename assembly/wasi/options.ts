/**
 * What the command line says: the options of `thimble run` that the command has, with the same names, limits and defaults. What
 * cannot be meant is one line on stderr and exit code 2.
 */
import { argument, argumentCount, isText, lengthOfArgument, openArguments, readCount, readDecimal } from "./arguments";
import { endLine, Exit, exit, Fd, need, put, putBytes } from "./io";
import { RunChoice } from "./model-config";
import { proc_exit } from "./preview1";
import { Sampling } from "./sampler";

@unmanaged
export class Options {
  /** The model file and the prompt; 0: none. */
  model: usize;
  prompt: usize;
  system: usize;
  maxTokens: u64;
  seed: u64;
  hasSeed: u32;
  raw: u32;
  ignoreEos: u32;
  /** Print ids instead of text. */
  ids: u32;
  /** Print the ids of the prompt, and end. */
  tokenize: u32;
  stats: u32;
}

const MOST_COUNT: i64 = 0x7fffffff;
const MOST_SEED: i64 = 9007199254740991;

/** Lines of the help. */
function help(): void {
  line("Usage: thimble.wasm MODEL [PROMPT] [options]");
  line("");
  line("Prints the model's answer to PROMPT and a newline. Without a PROMPT, or with -, the prompt is read");
  line("from stdin, less one newline at its end. MODEL is a file of thimble pack --wasi, in a folder that");
  line("the host has opened for the command.");
  line("");
  line("      --system TEXT      What the model is told before the prompt");
  line("      --raw              Continue the prompt as it is, without the chat template");
  line("  -n, --max-tokens N     Most tokens to generate (default 1024)");
  line("      --temperature X    How freely tokens are drawn: 0 the most likely one, or 0.001 to 100 (default 0.7)");
  line("      --top-k N          Draw from the N most likely tokens; 0 is all (default 40)");
  line("      --top-p X          Draw from the fewest that reach this probability together (default 0.95)");
  line("      --min-p X          Leave out tokens less probable than this share of the first (default 0.05)");
  line("      --seed N           The same seed gives the same text (default: drawn)");
  line("      --ignore-eos       Go on past the end of the model's turn");
  line("  -c, --context N        Most tokens of prompt and answer (default: what the file has)");
  line("      --keys, --values   How keys and values are kept: f32, q8, q4, q3 (default q8)");
  line("      --chunk N          Prompt tokens computed together, 1 to 4096 (default 64)");
  line("      --ids              Print token ids instead of text");
  line("      --tokenize         Print the token ids of the prompt and compute nothing");
  line("      --stats            Tell tokens and times on stderr");
  line("  -h, --help             Show this help");
  line("");
  line("Exit codes: 0 done, 1 error, 2 wrong usage.");
}

function line(text: string): void {
  put(text);
  endLine(Fd.STDOUT);
}

function usage(): void {
  put("; see --help");
  exit(Exit.USAGE);
}

let given: usize = 0;
let nameLength: u32 = 0;

/** Says which option takes what. */
function refuse(allowed: string, value: usize): void {
  put("thimble: ");
  putBytes(given, nameLength);
  put(value == 0 ? " needs a value: " : " takes ");
  put(allowed);
  if (value != 0) {
    put(', got "');
    putBytes(value, lengthOfArgument(value));
    put('"');
  }
  usage();
}

function count(value: usize, min: i64, max: i64, allowed: string): u64 {
  const n = readCount(value, lengthOfArgument(value));
  if (n < min || n > max) refuse(allowed, value);
  return n;
}

function decimal(value: usize, min: f64, max: f64, allowed: string): f64 {
  const x = readDecimal(value, lengthOfArgument(value));
  if (!(x >= min && x <= max)) refuse(allowed, value);
  return x;
}

function form(value: usize): u32 {
  const n = lengthOfArgument(value);
  if (isText(value, n, "f32")) return 0;
  if (isText(value, n, "q8")) return 1;
  if (isText(value, n, "q4")) return 2;
  if (!isText(value, n, "q3")) refuse("f32, q8, q4 or q3", value);
  return 3;
}

// @ts-ignore: decorator
@inline
function isOption(name: string): bool {
  return isText(given, nameLength, name);
}

/** An option without a value; false: it is none of these. */
function readFlag(options: Options): bool {
  if (isOption("--raw")) options.raw = 1;
  else if (isOption("--ignore-eos")) options.ignoreEos = 1;
  else if (isOption("--ids")) options.ids = 1;
  else if (isOption("--tokenize")) options.tokenize = 1;
  else if (isOption("--stats")) options.stats = 1;
  else if (isOption("--help") || isOption("-h")) {
    help();
    proc_exit(0);
  } else return false;
  return true;
}

const COUNT = "an integer from 0";
const SHARE = "a number from 0 to 1, with at most 15 digits";

/** An option with its value; false: there is none of that name. */
function readValue(options: Options, sampling: Sampling, choice: RunChoice, value: usize): bool {
  if (isOption("--system")) options.system = value;
  else if (isOption("-n") || isOption("--max-tokens")) options.maxTokens = count(value, 0, MOST_SEED, COUNT);
  else if (isOption("--seed")) {
    options.seed = count(value, 0, MOST_SEED, "an integer from 0 to 9007199254740991");
    options.hasSeed = 1;
  } else if (isOption("--temperature") || isOption("--temp")) {
    const allowed = "0, or a number from 0.001 to 100 with at most 15 digits";
    sampling.temperature = decimal(value, 0, 100, allowed);
    if (sampling.temperature != 0) sampling.temperature = decimal(value, 0.001, 100, allowed);
  } else if (isOption("--top-k")) sampling.topK = <u32>count(value, 0, MOST_COUNT, COUNT);
  else if (isOption("--top-p")) sampling.topP = decimal(value, 0, 1, SHARE);
  else if (isOption("--min-p")) sampling.minP = decimal(value, 0, 1, SHARE);
  else if (isOption("-c") || isOption("--context")) choice.context = <u32>count(value, 1, MOST_COUNT, "an integer from 1");
  else if (isOption("--chunk")) choice.chunk = <u32>count(value, 1, 4096, "an integer from 1 to 4096");
  else if (isOption("--keys")) choice.keys = form(value);
  else if (isOption("--values")) choice.values = form(value);
  else return false;
  return true;
}

/** Whether an option of that name would take a value. */
function takesValue(): bool {
  return (
    isOption("--system") || isOption("-n") || isOption("--max-tokens") || isOption("--seed") || isOption("--temperature") ||
    isOption("--temp") || isOption("--top-k") || isOption("--top-p") || isOption("--min-p") || isOption("-c") ||
    isOption("--context") || isOption("--chunk") || isOption("--keys") || isOption("--values")
  );
}

function readPositional(options: Options, text: usize): void {
  if (options.model == 0) options.model = text;
  else if (options.prompt == 0) options.prompt = text;
  else {
    put("thimble: there are more arguments than MODEL and PROMPT; put the prompt in quotes");
    usage();
  }
}

/** Reads all arguments into the three records. */
export function readOptions(options: Options, sampling: Sampling, choice: RunChoice): void {
  openArguments();
  options.maxTokens = 1024;
  sampling.temperature = 0.7;
  sampling.topK = 40;
  sampling.topP = 0.95;
  sampling.minP = 0.05;
  choice.chunk = 64;
  choice.keys = 1;
  choice.values = 1;
  let onlyTexts = false;
  for (let i: u32 = 1; i < argumentCount(); ++i) {
    const text = argument(i);
    const n = lengthOfArgument(text);
    if (onlyTexts || n < 2 || load<u8>(text) != 45) {
      readPositional(options, text);
      continue;
    }
    if (isText(text, n, "--")) {
      onlyTexts = true;
      continue;
    }
    given = text;
    nameLength = 0;
    while (nameLength < n && load<u8>(text + nameLength) != 61) ++nameLength;
    const isInline = nameLength < n;
    if (takesValue()) {
      if (!isInline && i + 1 == argumentCount()) refuse("one behind it", 0);
      readValue(options, sampling, choice, isInline ? text + nameLength + 1 : argument(++i));
    } else if (isInline || !readFlag(options)) {
      put("thimble: there is no option ");
      putBytes(text, n);
      usage();
    }
  }
  if (options.model == 0) {
    put("thimble: there is no model; give a file of thimble pack --wasi");
    usage();
  }
  if (options.raw != 0 && options.system != 0) {
    put("thimble: --raw and --system do not go together");
    usage();
  }
}

export function newOptions(): Options {
  return changetype<Options>(need(offsetof<Options>()));
}
