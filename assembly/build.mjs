/**
 * Compiles targets of asconfig.json, as many at once as there are cores (4 at most), and only those that are older than what
 * they are made of: an install builds all, and the tests after it need not again.
 *
 *   node assembly/build.mjs simd relaxed [TARGET ...]
 */
import { spawn } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, statSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname } from "node:path";

const ENTRIES = {
  wasi: "assembly/wasi/main.ts",
  test: "assembly/reference.ts",
  "test-relaxed": "assembly/reference.ts",
};
const COMPILER = "node_modules/assemblyscript";

const { targets } = JSON.parse(readFileSync("asconfig.json", "utf8"));
const sources = readdirSync("assembly", { recursive: true }).map((path) => `assembly/${path.replaceAll("\\", "/")}`);
const newest = Math.max(...[...sources, "asconfig.json", `${COMPILER}/package.json`].map(changed));

/** Milliseconds; 0 where there is nothing. */
function changed(path) {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

function compile(target) {
  const { outFile } = targets[target] ?? {};
  if (outFile === undefined) throw new Error(`asconfig.json has no target ${target}`);
  if (changed(outFile) > newest) return Promise.resolve();
  mkdirSync(dirname(outFile), { recursive: true });
  const args = [`${COMPILER}/bin/asc.js`, ENTRIES[target] ?? "assembly/index.ts", "--target", target];
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { stdio: "inherit" });
    child.on("error", reject);
    child.on("close", (code) => (code === 0 ? resolve() : reject(new Error(`target ${target} does not compile`))));
  });
}

const queue = process.argv.slice(2);
async function work() {
  for (let target = queue.shift(); target !== undefined; target = queue.shift()) await compile(target);
}
await Promise.all(Array.from({ length: Math.min(4, availableParallelism()) }, work));
