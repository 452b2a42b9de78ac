/**
 * What Node and Bun do where something of a host is missing: `HOST main.js MODEL no-module|no-simd|no-memory`, the
 * build beside it. Of the last two the host was started so.
 * @module
 */
import { readFile, rename } from "node:fs/promises";
import process from "node:process";
import { loadModel, ThimbleError } from "../../bindings/node/index.ts";
import { type Check, runChecks } from "./conformance.ts";
import { GREEDY_TEXT } from "./digest.ts";
import { printResult, printTotal } from "./report.ts";

const model = new Uint8Array(await readFile(process.argv[2]!));

async function codeOf(): Promise<string> {
  try {
    await using loaded = await loadModel(model);
    await using session = loaded.session();
    const { text } = await session.complete("Tell me a short story about a fox.", { temperature: 0, maxTokens: 40 });
    return text === GREEDY_TEXT ? "none" : `none, and it writes ${text}`;
  } catch (error) {
    return error instanceof ThimbleError ? error.code : `no ThimbleError: ${error}`;
  }
}

function same(actual: string, expected: string): void {
  if (actual !== expected) throw new Error(`${actual} instead of ${expected}`);
}

const noSimd: Check = {
  name: "a host without WebAssembly SIMD is unsupported_runtime",
  async run() {
    same(await codeOf(), "unsupported_runtime");
    return "";
  },
};
const noModule: Check = {
  name: "a module that was not deployed beside the script is wasm_unreadable",
  async run() {
    const files = ["simd.wasm", "relaxed.wasm"].map((name) => new URL(name, import.meta.url));
    for (const file of files) await rename(file, new URL(`${file}.away`));
    try {
      same(await codeOf(), "wasm_unreadable");
    } finally {
      for (const file of files) await rename(new URL(`${file}.away`), file);
    }
    same(await codeOf(), "none");
    return "and none once it is there";
  },
};
const noMemory: Check = {
  name: "memory that the host refuses is out_of_memory",
  async run() {
    same(await codeOf(), "out_of_memory");
    return "";
  },
};

const checks: Readonly<Record<string, Check>> = { "no-module": noModule, "no-simd": noSimd, "no-memory": noMemory };
const results = await runChecks([checks[process.argv[3]!]!], printResult);
process.exit(printTotal(results) ? 0 : 1);
