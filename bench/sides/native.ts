/** `node native.js MODEL PEERS_DIR`: llama.cpp native through node-llama-cpp as a side (lib/line-side.ts). @module */
import { basename } from "node:path";
import { serveLines } from "../lib/serve-lines.ts";
import { measureNative } from "../native.ts";
import { measureTokens } from "./tokens.ts";

const [model, peersDir] = process.argv.slice(2) as [string, string];
const native = await measureNative({ peersDir, model, threads: 1 });
const { release, backend, systemInfo, threads, log } = native.info;
const info = {
  runtime: release,
  host: `Node ${process.version}`,
  backend,
  systemInfo,
  model: basename(model),
  threads,
};
await serveLines({ ...info, cache: "f16", log }, (request) => measureTokens(native, request));
