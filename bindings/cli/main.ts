#!/usr/bin/env node
/**
 * The command line tool: finds the command and carries it out.
 * @module
 */
import { readFileSync } from "node:fs";
import { UsageError } from "./arguments.ts";
import { type Command, EXIT, fail } from "./command.ts";
import { generalHelp } from "./help.ts";
import { closeLine, endQuietlyOnBrokenPipe, printText } from "./output.ts";

/** Loaded when asked for: a command does not wait for what others need. */
const COMMANDS: Readonly<Record<string, () => Promise<{ command: Command }>>> = {
  run: () => import("./run.ts"),
  inspect: () => import("./inspect.ts"),
  plan: () => import("./plan.ts"),
  pack: () => import("./pack.ts"),
  perplexity: () => import("./perplexity.ts"),
  calibrate: () => import("./calibrate.ts"),
  "calibrate-heads": () => import("./calibrate-heads.ts"),
  pull: () => import("./pull.ts"),
  list: () => import("./list.ts"),
  rm: () => import("./rm.ts"),
};

/** Nothing has to be put in order before the end, so the end comes at once, whatever is going on. */
function endOnInterrupt(): void {
  process.on("SIGINT", () => {
    closeLine();
    process.exit(EXIT.interrupted);
  });
}

/** From the package.json beside dist/. */
function version(): string {
  const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as {
    version: string;
  };
  return version;
}

async function help(): Promise<string> {
  const loaded = await Promise.all(Object.values(COMMANDS).map((load) => load()));
  return generalHelp(
    version(),
    loaded.map(({ command }) => command.manual),
  );
}

async function main(args: readonly string[]): Promise<number> {
  const [first, ...others] = args;
  if (first === "--version" || first === "--help" || first === "-h" || first === "help") {
    printText(first === "--version" ? `${version()}\n` : await help());
    return EXIT.ok;
  }
  if (first !== undefined && Object.hasOwn(COMMANDS, first)) {
    const { command } = await COMMANDS[first]!();
    return command.execute(others);
  }
  const names = Object.keys(COMMANDS).join(", ");
  const problem = first === undefined ? "there is no command" : `there is no command "${first}"`;
  return fail(new UsageError(`${problem}; the commands are ${names}`), "thimble", false);
}

endQuietlyOnBrokenPipe();
endOnInterrupt();
process.exitCode = await main(process.argv.slice(2));
