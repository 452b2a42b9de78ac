/**
 * What a command is made of, and how it is carried out: arguments, help, and failures with their exit codes.
 * @module
 */
import { ThimbleError } from "../../host/errors.ts";
import { flag, type OptionTable, readArguments, UsageError, type Values } from "./arguments.ts";
import { commandHelp, type Manual } from "./help.ts";
import { note, oneLine, printJson, printText } from "./output.ts";

export const EXIT = { ok: 0, failed: 1, usage: 2, interrupted: 130 } as const;

export interface Command {
  readonly manual: Manual;
  /** Does what `args` say and gives the exit code; never throws. */
  execute(args: readonly string[]): Promise<number>;
}

const HELP = { help: flag("Show this help", { short: "h" }) } as const;

/** `run` gives an exit code other than 0, or nothing. */
export function defineCommand<T extends OptionTable>(
  manual: Manual,
  table: T,
  run: (values: Values<T>, positionals: readonly string[]) => Promise<number | undefined>,
): Command {
  const all = { ...table, ...HELP };
  return {
    manual,
    async execute(args) {
      let wantsJson = false;
      try {
        if (wantsHelp(args)) {
          printText(commandHelp(manual, all));
          return EXIT.ok;
        }
        const { values, positionals } = readArguments(all, args);
        wantsJson = "json" in values && values.json === true;
        return (await run(values as unknown as Values<T>, positionals)) ?? EXIT.ok;
      } catch (error) {
        return fail(error, `thimble ${manual.name}`, wantsJson);
      }
    },
  };
}

/** Help is wanted even where the rest of the line is wrong. */
function wantsHelp(args: readonly string[]): boolean {
  const end = args.indexOf("--");
  const options = end < 0 ? args : args.slice(0, end);
  return options.includes("--help") || options.includes("-h");
}

/** Says on stderr, in one line, what went wrong; with `wantsJson` also on stdout. Gives the exit code. */
export function fail(error: unknown, caller: string, wantsJson: boolean): number {
  const isUsage = error instanceof UsageError;
  if (isUsage) note(`${caller}: ${oneLine(error.message)}; see ${caller} --help`);
  else note(failureLine(error));
  if (process.env.THIMBLE_DEBUG === "1" && error instanceof Error) note(String(error.stack));
  if (isUsage) return EXIT.usage;
  if (wantsJson) {
    const { code, message, file, needed, available } = describe(error);
    printJson({ error: { code, message, file, needed, available } });
  }
  return EXIT.failed;
}

export function failureLine(error: unknown): string {
  const { code, message } = describe(error);
  return `thimble: ${code}: ${oneLine(message)}`;
}

function describe(error: unknown): Pick<ThimbleError, "message" | "file" | "needed" | "available"> & { code: string } {
  if (error instanceof ThimbleError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return { code: "internal", message, file: undefined, needed: undefined, available: undefined };
}
