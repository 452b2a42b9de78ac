/**
 * Runs the conformance suite on the hosts this machine has: `node build/hosts/hosts.js [--report FILE] [HOST ...]`, hosts of
 * host-list.ts. Without names it runs those that are there and says which it did not run; a host asked for by name must be
 * there. `--report` writes what the hosts measured as a table (docs/runtimes.md). Needs the modules and workers of dist.
 * The last line is `N passed, N failed` over all hosts.
 * @module
 */
import { spawn } from "node:child_process";
import { copyFile, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type BuildOptions, build } from "esbuild";
import { HOSTS, OUT } from "./host-list.ts";
import type { Measured } from "./measure.ts";
import { runtimesTable } from "./runtimes-table.ts";

/** What lies beside a binding's bundle. */
const BUILT = [
  ...["simd", "relaxed", "simd-threads", "relaxed-threads", "relaxed-probe"].map((name) => `${name}.wasm`),
  ...["worker.js", "browser-worker.js"],
];
/** A host that takes longer hangs. */
const TIMEOUT_MS = 300_000;

interface Run {
  readonly passed: number;
  readonly failed: number;
  readonly measured: readonly Measured[];
  /** Lines of checks that the host could not run. */
  readonly notRun: readonly string[];
}

async function bundle(name: string, options: BuildOptions): Promise<void> {
  const entryPoints = {
    main: `test/binding/${name}.ts`,
    ...(name === "page-checks" ? { "model-worker": "bindings/browser/model-worker.ts" } : {}),
  };
  const outdir = join(OUT, name);
  await build({ entryPoints, outdir, bundle: true, format: "esm", sourcemap: true, logLevel: "warning", ...options });
  await mkdir(outdir, { recursive: true });
  for (const file of BUILT) await copyFile(`dist/${file}`, join(outdir, file));
}

/** Runs a host to its end, its output passed on. Returns its counts; one that gives none has failed. */
function run([program, ...args]: readonly string[]): Promise<Run> {
  const child = spawn(program!, args, {
    stdio: ["ignore", "pipe", "inherit"],
    timeout: TIMEOUT_MS,
    env: {
      ...process.env,
      NODE_OPTIONS: "--enable-source-maps",
      DENO_DIR: join(OUT, "cache"),
      DENO_NO_UPDATE_CHECK: "1",
    },
  });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
    process.stdout.write(text.replace(/^RUNTIME .*\n/gm, ""));
  });
  return new Promise((done) => {
    child.on("error", (error) => {
      console.log(`it did not start: ${error.message}`);
      done({ passed: 0, failed: 1, measured: [], notRun: [] });
    });
    child.on("close", (code, signal) => {
      const [, passed, failed] = /^(\d+) passed, (\d+) failed\n$/m.exec(output.slice(-100)) ?? [];
      const isClean = code === 0 && passed !== undefined;
      if (child.killed) console.log(`it was stopped after ${TIMEOUT_MS / 1000} s`);
      else if (!isClean) console.log(`it ended with ${signal ?? `exit status ${code}`}`);
      const measured = [...output.matchAll(/^RUNTIME (.*)$/gm)].map(([, json]) => JSON.parse(json!) as Measured);
      const notRun = [...output.matchAll(/^-- {3}(.*) \(\d+ ms\): (NOT RUN.*)$/gm)].map(
        ([, name, why]) => `"${name}": ${why}`,
      );
      done({ passed: Number(passed ?? 0), failed: Math.max(Number(failed ?? 0), isClean ? 0 : 1), measured, notRun });
    });
  });
}

const asked = process.argv.slice(2);
const at = asked.indexOf("--report");
const reportFile = at < 0 ? undefined : asked.splice(at, 2)[1];
const unknown = asked.filter((name) => HOSTS[name] === undefined);
if (unknown.length > 0) throw new Error(`no host ${unknown.join(", ")}; there are ${Object.keys(HOSTS).join(", ")}`);

let passed = 0;
let failed = 0;
const notRun: string[] = [];
const measured: Measured[] = [];
for (const name of asked.length > 0 ? asked : Object.keys(HOSTS)) {
  const { bundles, find, missing, command } = HOSTS[name]!;
  const program = await find();
  if (program === undefined) {
    notRun.push(`${name}: NOT RUN, ${missing}`);
    if (asked.length > 0) failed += 1;
    continue;
  }
  console.log(`\n== ${name}`);
  for (const [entry, options] of Object.entries(bundles)) await bundle(entry, options);
  const start = performance.now();
  const counts = await run(command(program));
  console.log(`${name}: ${((performance.now() - start) / 1000).toFixed(1)} s`);
  passed += counts.passed;
  failed += counts.failed;
  measured.push(...counts.measured);
  notRun.push(...counts.notRun.map((line) => `${name}: ${line}`));
}
const digests = new Set(measured.map(({ digest }) => digest));
if (digests.size === 1) passed += 1;
if (digests.size > 1) failed += 1;
console.log(`\n${digests.size > 1 ? "FAIL" : "ok  "} ${measured.length} hosts, digests of 3 prompts: ${[...digests]}`);
if (reportFile !== undefined) await writeFile(reportFile, runtimesTable(measured, notRun));
console.log([...notRun, `${passed} passed, ${failed} failed`].join("\n"));
process.exitCode = failed === 0 ? 0 : 1;
