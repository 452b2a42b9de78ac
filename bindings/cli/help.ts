/**
 * Help texts from option tables.
 * @module
 */
import type { Option, OptionTable } from "./arguments.ts";

const WIDTH = 100;
const INDENT = 30;

/** What help says besides the options. */
export interface Manual {
  readonly name: string;
  /** Half a line. */
  readonly summary: string;
  /** What follows `thimble NAME`, one entry for each way to call it. */
  readonly usage: readonly string[];
  /** Paragraphs. */
  readonly about: readonly string[];
  /** Values of an option that need more words than fit beside it: a title, and names with what they are. */
  readonly lists?: readonly { readonly title: string; readonly entries: readonly (readonly [string, string])[] }[];
  /** Command lines and what they do. */
  readonly examples: readonly (readonly [command: string, what: string])[];
}

export function commandHelp(manual: Manual, table: OptionTable): string {
  const usage = manual.usage.map((line, i) => `${i === 0 ? "Usage: " : "       "}thimble ${manual.name} ${line}`);
  const options = Object.entries(table).map(([name, option]) => optionHelp(name, option));
  const examples = manual.examples.flatMap(([command, what]) => [`  # ${what}`, `  ${command}`]);
  const about = manual.about.map((paragraph) => wrap(paragraph, WIDTH, "").trimStart()).join("\n\n");
  const lists = (manual.lists ?? []).map(
    ({ title, entries }) =>
      `${wrap(title, WIDTH, "")}\n${entries.map(([name, what]) => entry(`  ${name}`, what)).join("\n")}`,
  );
  const parts = [`Options:\n${options.join("\n")}`, ...lists, `Examples:\n${examples.join("\n")}`];
  return `${[usage.join("\n"), about, ...parts].join("\n\n")}\n`;
}

export function generalHelp(version: string, manuals: readonly Manual[]): string {
  const commands = manuals.map(({ name, summary }) => `  ${name.padEnd(17)}${summary}`);
  return `thimble ${version}: language models in a thimbleful of memory

Usage: thimble COMMAND [arguments]

Commands:
${commands.join("\n")}

  thimble COMMAND --help tells about one command, with examples; thimble --version the version.

Examples:
  # Ask the model that comes with the package
  thimble run "Tell me a story about a fox."
  # Talk to a model of your own
  thimble run --chat -m model.gguf
  # Fetch a better one, and use it by its name
  thimble pull smollm2-135m
  # See whether a file can run here before you load it
  thimble inspect model.gguf
  # See what fits in 128 MB, and run within it
  thimble plan model.gguf --budget 128MB
  thimble run --chat -m model.gguf --budget 128MB

Environment:
  THIMBLE_MODEL   the model when none is given, instead of the one in the package
  THIMBLE_DEBUG   1: stack traces with errors
  HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE
                  the hub's files, address, access and offline mode, as its own tools have them
  XDG_CACHE_HOME  other models are in its folder thimble/
  NO_COLOR        no colours or frames in tables

Exit codes: 0 done, 1 error, 2 wrong usage, 130 interrupted.
`;
}

function optionHelp(name: string, option: Option): string {
  const { short, alias } = option;
  const names = [
    ...(short === undefined ? [] : [`-${short}`]),
    ...(alias === undefined ? [] : [`--${alias}`]),
    `--${name}`,
  ];
  const placeholder = option.form === "flag" ? "" : ` ${option.kind.placeholder}`;
  const allowed = option.form === "flag" ? undefined : option.kind.allowed;
  const remarks = [
    ...(allowed === undefined ? [] : [allowed]),
    ...(option.form === "list" ? ["may be given again"] : []),
    ...(option.default === undefined ? [] : [`default ${option.default}`]),
  ];
  const what = remarks.length === 0 ? option.help : `${option.help} (${remarks.join("; ")})`;
  return entry(`  ${names.join(", ")}${placeholder}`, what);
}

/** A name and what it is beside it, or below where it is long. */
function entry(head: string, what: string): string {
  const body = wrap(what, WIDTH - INDENT, " ".repeat(INDENT));
  return head.length + 2 > INDENT ? `${head}\n${body}` : head + body.slice(head.length);
}

/** Lines of at most `width` characters behind `indent`. */
function wrap(paragraph: string, width: number, indent: string): string {
  const lines: string[] = [];
  let line = "";
  for (const word of paragraph.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  return [...lines, line].map((one) => indent + one).join("\n");
}
