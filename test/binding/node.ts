/**
 * The suite on Node by itself, as hosts.ts runs it: `node main.js MODEL`, simd.wasm beside it.
 * @module
 */
import { readFile } from "node:fs/promises";
import { loadModel } from "../../bindings/node/index.ts";
import { reportConformance } from "./report.ts";

const location = process.argv[2]!;
const bytes = new Uint8Array(await readFile(location));
const version = `Node ${process.version.slice(1)}, V8 ${process.versions.v8}`;
process.exitCode = (await reportConformance({ name: "node", threads: true, loadModel, location, bytes }, version))
  ? 0
  : 1;
