/**
 * The suite on Bun: `bun main.js MODEL`, simd.wasm beside it.
 * @module
 */
import { readFile } from "node:fs/promises";
import { loadModel } from "../../bindings/bun/index.ts";
import { reportConformance } from "./report.ts";

const location = process.argv[2]!;
const bytes = new Uint8Array(await readFile(location));
const version = `Bun ${process.versions.bun}, JavaScriptCore ${process.versions.webkit?.slice(0, 8)}`;
process.exitCode = (await reportConformance({ name: "bun", threads: true, loadModel, location, bytes }, version))
  ? 0
  : 1;
