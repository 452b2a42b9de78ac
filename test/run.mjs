/**
 * Runs bundled test files, each in a process of its own, as many at once as there are cores (4 at most), and fails unless
 * every test passed. uvu itself exits 0 when a hook throws: the rest of its suite is then neither run nor counted as failed,
 * only missing from "Passed".
 *
 *   node test/run.mjs build/test [PATTERN ...] [--at-once N]
 *
 * A pattern is a regular expression for paths below the folder; commas separate several. A file that passes is one line,
 * one that fails its whole output. With `--at-once 1` the output of a file is written as it comes.
 */
import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

/** Begun first, so that none of them is left when the others are done; a name that is missing here costs some seconds. */
const LONGEST = [
  "cli/run.test.js",
  "kernel/attend-packed.test.js",
  "cli/pack.test.js",
  "model/invariance.test.js",
  "bench/quality.test.js",
  "host/budget.test.js",
  "host/word-split.test.js",
  "host/plan-sessions.test.js",
  "model/prompt-end.test.js",
  "model/policy-table.test.js",
  "host/capsule.test.js",
  "host/resume.test.js",
  "cli/plan.test.js",
  "store/cli.test.js",
  "cli/failures.test.js",
];

const { values, positionals } = parseArgs({ allowPositionals: true, options: { "at-once": { type: "string" } } });
const [folder, ...patterns] = positionals;
const atOnce = Number(values["at-once"] ?? Math.min(4, availableParallelism()));
const wanted = patterns.flatMap((pattern) => pattern.split(",")).map((pattern) => new RegExp(pattern));
const files = readdirSync(folder, { recursive: true })
  .map((path) => path.replaceAll("\\", "/"))
  .filter((path) => path.endsWith(".test.js"))
  .filter((path) => wanted.length === 0 || wanted.some((pattern) => pattern.test(path)))
  .sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));

function rank(path) {
  const place = LONGEST.indexOf(path);
  return place < 0 ? LONGEST.length : place;
}

/**
 * Time for a process to end once its tests have. Node 20 can wait for good then for a compilation that is over
 * (NodePlatform::DrainTasks); so can a test that leaves something open, which does so again.
 */
const EXIT_MS = 30_000;

/** Runs a file to its end: what it wrote, and how many tests it has and passed; NaN where it did not come so far. */
function run(path) {
  const env = { ...process.env, ...(process.stdout.isTTY ? { FORCE_COLOR: "1" } : {}) };
  const child = spawn(process.execPath, ["--enable-source-maps", join(folder, path)], {
    env,
    stdio: ["inherit", "pipe", "pipe"],
  });
  let output = "";
  for (const [stream, live] of [
    [child.stdout, process.stdout],
    [child.stderr, process.stderr],
  ]) {
    stream.setEncoding("utf8").on("data", (text) => {
      output += text;
      if (atOnce === 1) live.write(text);
    });
  }
  let isStuck = false;
  let exitTimer;
  child.stdout.on("data", () => {
    // uvu's last line: the process has nothing left to do.
    if (/Duration:.*\n/.test(output)) exitTimer ??= setTimeout(() => (isStuck = child.kill("SIGKILL")), EXIT_MS);
  });
  return new Promise((resolve) => {
    child.on("close", (code, signal) => {
      clearTimeout(exitTimer);
      const end = output.slice(output.lastIndexOf("Total:"));
      const count = (name) => Number(new RegExp(`${name}:\\D*(\\d+)`).exec(end)?.[1]);
      const [total, passed] = [count("Total"), count("Passed")];
      resolve({
        output,
        total,
        passed,
        isStuck,
        isGood: code === 0 && signal === null && (total > 0 || /not run/i.test(output)) && passed === total,
      });
    });
  });
}

const start = performance.now();
const failed = [];
let nPassed = 0;
let nFailed = 0;
const queue = [...files];
const seconds = (since) => ((performance.now() - since) / 1000).toFixed(1).padStart(6);

async function work() {
  for (let path = queue.shift(); path !== undefined; path = queue.shift()) {
    const began = performance.now();
    let result = await run(path);
    if (result.isStuck) {
      console.log(`${path} did not end after its last test; once more`);
      result = await run(path);
    }
    const { output, total, passed, isGood } = result;
    if (atOnce > 1 && !isGood) process.stdout.write(output);
    console.log(`${isGood ? "ok  " : "FAIL"} ${seconds(began)} s  ${path}: ${passed} of ${total} tests passed`);
    nPassed += passed || 0;
    // A file that ends otherwise than by its tests has failed as well.
    nFailed += isGood ? 0 : Math.max(1, total - passed || 0);
    if (!isGood) failed.push(path);
  }
}

await Promise.all(Array.from({ length: atOnce }, work));
const sum = `${nPassed + nFailed} tests: ${nPassed} passed, ${nFailed} failed`;
console.log(`\n${sum} in ${files.length} files, ${seconds(start).trim()} s`);
if (failed.length > 0) console.log(`FAILED: ${failed.join(", ")}`);
if (failed.length > 0 || files.length === 0) process.exitCode = 1;
