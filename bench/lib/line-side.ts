/**
 * A side in a process of its own, spoken to in lines of JSON (serve-lines.ts and sides/llama-cpp.py are the other end):
 * the child says {"ready": info} once, then answers every request with {"value", "cpu"} or {"error"}. Processes of their
 * own keep one side's memory, compiled code and crashes away from the others, and let each run on its own Node or Python.
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Request, Sample, Side } from "./interleave.ts";
import type { SideInfo } from "./results.ts";

/** A child that takes longer for one request hangs: 7,000 tokens on a busy machine take two minutes. */
const TIMEOUT_MS = 600_000;
/** What is kept of a child's last words. */
const KEPT_CHARACTERS = 4000;

type Answer = Partial<Sample> & { readonly ready?: SideInfo; readonly error?: string };

/** Path of a bundled program, `name` without its suffix: the bundles lie beside the main program as bench/ does. */
export function program(name: string): string {
  return fileURLToPath(new URL(`./${name}.js`, import.meta.url));
}

export interface Command {
  readonly program: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** Starts the child and waits until it is ready. @throws Error with the child's last words */
export async function openLineSide(name: string, command: Command): Promise<Side> {
  const child = spawn(command.program, command.args, {
    stdio: ["pipe", "pipe", "pipe"],
    env: { ...process.env, ...command.env },
  });
  const answers = answersOf(child);
  const { ready } = await answers.next();
  if (ready === undefined) throw new Error(`${name} did not say that it is ready`);
  return {
    name,
    info: ready,
    async measure(request: Request) {
      child.stdin!.write(`${JSON.stringify(request)}\n`);
      const { value, cpu, error } = await answers.next();
      if (value === undefined) throw new Error(error ?? `${name} gave no value`);
      return cpu === undefined ? { value } : { value, cpu };
    },
    async close() {
      child.stdin!.end();
      await answers.ended;
    },
  };
}

function answersOf(child: ChildProcess): { next(): Promise<Answer>; ended: Promise<void> } {
  let lastWords = "";
  child.stderr!.setEncoding("utf8").on("data", (text: string) => {
    lastWords = (lastWords + text).slice(-KEPT_CHARACTERS);
  });
  child.stdin!.on("error", () => {}); // a child that died is reported by its end
  const failure = new Promise<Error>((resolve) => {
    child.on("error", resolve);
    child.on("close", (code, signal) => resolve(new Error(`ended with ${signal ?? code}: ${errorLine(lastWords)}`)));
  });
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  return {
    ended: failure.then(() => {}),
    async next() {
      const timer = setTimeout(() => child.kill("SIGKILL"), TIMEOUT_MS);
      try {
        for (;;) {
          const { value: line, done } = await lines.next();
          if (done) throw await failure;
          if (line.startsWith("{")) return JSON.parse(line) as Answer; // libraries may print lines of their own
        }
      } finally {
        clearTimeout(timer);
      }
    },
  };
}

/** Of what a failed program wrote, the line that says why. */
export function errorLine(words: string): string {
  const lines = words.trim().split("\n").reverse();
  return (lines.find((line) => /^\s*\w*(Error|Exception)\b.*: /.test(line)) ?? lines[0] ?? "").trim();
}
