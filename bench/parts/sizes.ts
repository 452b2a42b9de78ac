/** Bytes to download: the modules, and our own code bundled and minified, each with gzip -9. @module */
import { readdir, readFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import type { CaseResult } from "../lib/results.ts";

export async function sizes(): Promise<CaseResult[]> {
  const all: CaseResult[] = [];
  const modules = (await readdir("dist")).filter((name) => name.endsWith(".wasm")).sort();
  for (const name of modules) all.push(size(name, await readFile(`dist/${name}`)));
  all.push(size("core: ids in, ids out", await minified("host/core.ts")));
  all.push(size("everything for a browser, dependencies included", await minified("dist/browser.js")));
  return all;
}

function size(what: string, bytes: Uint8Array): CaseResult {
  const samples = { gzip: [gzipSync(bytes, { level: 9 }).length], plain: [bytes.length] };
  return { case: what, unit: "bytes", samples, cpu: {} };
}

async function minified(entryPoint: string): Promise<Uint8Array> {
  const { outputFiles } = await build({
    entryPoints: [entryPoint],
    bundle: true,
    minify: true,
    write: false,
    format: "esm",
    platform: "neutral",
    mainFields: ["module", "main"],
    logLevel: "warning",
  });
  return outputFiles[0]!.contents;
}
