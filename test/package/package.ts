/**
 * The package as it is published: `node build/package/package.js [NODE_MODULES_OF_HOSTS]`. Packs what dist holds
 * (`npm run build`), installs the tarball into clean projects, and has it found, typed, bundled and run by the tools people
 * use. Bundles for pages run in Chromium, the bundle for workerd in Miniflare. The last line is `N passed, N failed`.
 * @module
 */
import { execFileSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { runChecks } from "../binding/conformance.ts";
import { printResult, printTotal } from "../binding/report.ts";
import { temporaryFolder } from "../temporary.ts";
import { bundleChecks } from "./bundles.ts";
import { hostChecks } from "./hosts.ts";
import { makeProject } from "./project.ts";
import { typeChecks } from "./types.ts";

const hosts = resolve(process.argv[2] ?? "build/hosts/node_modules");
const packed = temporaryFolder("pack");
const args = ["pack", "--ignore-scripts", "--json", "--pack-destination", packed];
const list = JSON.parse(execFileSync("npm", args, { stdio: ["ignore", "pipe", "ignore"] }).toString()) as unknown;
// Newer versions of npm key the list by name.
const [info] = Object.values(list as Record<string, { filename: string; size: number; files: { path: string }[] }>);
const tarball = join(packed, info!.filename);
console.log(`${info!.filename}: ${info!.size} bytes, ${info!.files.length} files`);

const contents = {
  name: "the tarball has what exports name, no script runs at install, and nothing in it comes from elsewhere",
  async run() {
    const manifest = JSON.parse(await readFile("package.json", "utf8")) as {
      exports: object;
      sideEffects: boolean;
      scripts: Record<string, string>;
    };
    const paths = new Set(info!.files.map(({ path }) => `./${path}`));
    const named = JSON.stringify(manifest.exports).match(/"\.\/(dist|models|package\.json)[^"]*"/g)!;
    for (const path of named.map((quoted) => quoted.slice(1, -1))) {
      const isThere = path.includes("*") ? [...paths].some((p) => p.endsWith(".gguf")) : paths.has(path);
      if (!isThere) throw new Error(`exports name ${path}, which is not packed`);
    }
    if (manifest.sideEffects !== false) throw new Error("sideEffects is not false");
    for (const script of ["preinstall", "install", "postinstall"]) {
      if (manifest.scripts[script] !== undefined) throw new Error(`there is a script ${script}`);
    }
    const foreign = info!.files.filter(
      ({ path }) => !/^(dist|models)\/|^(LICENSE|README\.md|package\.json)$/.test(path),
    );
    if (foreign.length > 0) throw new Error(`packed: ${foreign.map(({ path }) => path)}`);
    const cdn = /https?:\/\/[\w.-]*(jsdelivr|unpkg|cdnjs|esm\.sh|skypack)/;
    for (const path of [...paths].filter((path) => path.endsWith(".js"))) {
      if (cdn.test(await readFile(path, "utf8"))) throw new Error(`${path} names a CDN`);
    }
    return `${new Set(named).size} paths`;
  },
};

const project = await makeProject("hosts", [tarball]);
const results = await runChecks(
  [contents, ...hostChecks(project, hosts), ...typeChecks(tarball, hosts), ...bundleChecks(tarball, hosts)],
  printResult,
);
process.exitCode = printTotal(results) ? 0 : 1;
