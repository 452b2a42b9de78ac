/**
 * The suite on Deno: `deno run --allow-read main.js MODEL`, everything in one bundle, simd.wasm beside it.
 * @module
 */
import { readFile } from "node:fs/promises";
import process from "node:process";
import { loadModel } from "../../bindings/deno/index.ts";
import { reportConformance } from "./report.ts";

const location = process.argv[2]!;
const bytes = new Uint8Array(await readFile(location));
const versions: Record<string, string | undefined> = process.versions;
const version = `Deno ${versions.deno}, V8 ${versions.v8}`;
process.exitCode = (await reportConformance({ name: "deno", threads: true, loadModel, location, bytes }, version))
  ? 0
  : 1;
