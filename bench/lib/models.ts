/**
 * The model files of the bench: SmolLM2-135M-Instruct, Q4_1 as a Python package carries it, and Q4_0 and Q8_0 made from it
 * by requantize.py, so that both sides of a comparison read one file. Looked for in a folder, made there when missing.
 * @module
 */
import { execFile } from "node:child_process";
import { access, rename } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

export const MODEL_TYPES = ["Q4_0", "Q4_1", "Q8_0"] as const;
export type ModelType = (typeof MODEL_TYPES)[number];

export interface ModelFolder {
  readonly folder: string;
  /** Where the package gguf goes, for requantize.py. */
  readonly peersDir: string;
  readonly log: (line: string) => void;
}

/** Path of the model in a type. @throws Error when it can neither be found, fetched nor made */
export async function modelFile(type: ModelType, { folder, peersDir, log }: ModelFolder): Promise<string> {
  const file = join(folder, `SmolLM2-135M-Instruct.${type}.gguf`);
  if (await exists(file)) return file;
  if (type === "Q4_1") {
    log(`fetching ${file}`);
    await run("bash", ["test/smollm2/fetch.sh", folder]);
    return file;
  }
  const source = await modelFile("Q4_1", { folder, peersDir, log });
  const packages = join(peersDir, "python");
  if (!(await exists(join(packages, "gguf")))) {
    log("installing the Python package gguf");
    const where = ["--target", packages];
    await run("python3", ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", ...where, "gguf==0.19.0"]);
  }
  log(`making ${file}`);
  const env = { ...process.env, PYTHONPATH: packages };
  await run("python3", ["bench/requantize.py", source, `${file}.part`, "--type", type.toLowerCase()], { env });
  await rename(`${file}.part`, file); // a file that is there is whole
  return file;
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
