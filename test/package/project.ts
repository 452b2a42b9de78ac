/**
 * A clean project in a temporary folder, with the packed package and what else is asked for, installed by npm without
 * install scripts.
 * @module
 */
import { type ExecFileOptions, execFile } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { temporaryFolder } from "../temporary.ts";

const exec = promisify(execFile);

export interface Project {
  readonly folder: string;
  /** Writes files, by path. */
  write(files: Readonly<Record<string, string>>): Promise<void>;
  /** Runs a program of node_modules/.bin, or any other by its path. @returns what it printed @throws with its output */
  run(program: string, args: readonly string[], options?: ExecFileOptions): Promise<string>;
}

/** @param packages name@version, or files */
export async function makeProject(name: string, packages: readonly string[]): Promise<Project> {
  const folder = temporaryFolder(name);
  const project: Project = {
    folder,
    async write(files) {
      for (const [path, text] of Object.entries(files)) {
        await mkdir(dirname(join(folder, path)), { recursive: true });
        await writeFile(join(folder, path), text);
      }
    },
    async run(program, args, options = {}) {
      const file = program.includes("/") || program === "npm" ? program : join(folder, "node_modules/.bin", program);
      try {
        const { stdout } = await exec(file, args, { cwd: folder, maxBuffer: 1 << 26, timeout: 300_000, ...options });
        return String(stdout);
      } catch (error) {
        const { stdout, stderr, message } = error as Error & { stdout?: string; stderr?: string };
        throw new Error(`${program} ${args.join(" ")}: ${stdout || ""}${stderr || message}`);
      }
    },
  };
  await project.write({ "package.json": JSON.stringify({ name, private: true, type: "module" }) });
  await project.run("npm", ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--save-exact", ...packages]);
  return project;
}
