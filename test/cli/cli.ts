/**
 * Runs the command line tool as users do: a process with arguments, stdin, stdout, stderr and an exit code. `npm run
 * build:test` bundles it into build/, from the sources at hand, so that no stale dist/ is tested.
 * @module
 */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { temporaryFolder } from "../temporary.ts";

/** Beside the package's folders, as dist/ is: the tool finds its model and version from there. */
const FOLDER = "build";

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Surroundings {
  readonly input?: string | Uint8Array;
  readonly env?: Readonly<Record<string, string>>;
}

export async function start(
  args: readonly string[],
  { env }: Surroundings = {},
): Promise<ChildProcessWithoutNullStreams> {
  const { THIMBLE_MODEL: _, ...inherited } = process.env;
  return spawn(process.execPath, [`${FOLDER}/cli.js`, ...args], { env: { ...inherited, ...env } });
}

/** Runs to the end. */
export async function thimble(args: readonly string[], surroundings: Surroundings = {}): Promise<Outcome> {
  const child = await start(args, surroundings);
  child.stdin.on("error", () => {}); // a tool that ends early does not read it
  child.stdin.end(surroundings.input ?? "");
  return outcome(child);
}

export async function outcome(child: ChildProcessWithoutNullStreams): Promise<Outcome> {
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (piece) => {
    stdout += piece;
  });
  child.stderr.setEncoding("utf8").on("data", (piece) => {
    stderr += piece;
  });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, stdout, stderr }));
  });
}

/** Writes a file into a fresh temporary folder and gives its path. */
export async function temporaryFile(name: string, content: string | Uint8Array): Promise<string> {
  const path = join(temporaryFolder(), name);
  await writeFile(path, content);
  return path;
}
