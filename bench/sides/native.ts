/** `node native.js MODEL PEERS_DIR [F16 | Q8_0]`: llama.cpp native through node-llama-cpp as a side (lib/line-side.ts). @module */
import { basename } from "node:path";
import { serveLines } from "../lib/serve-lines.ts";
import { measureNative } from "../native.ts";
import { measureTokens } from "./tokens.ts";

const [model, peersDir, cacheType = "F16"] = process.argv.slice(2) as [string, string, string?];
const native = await measureNative({ peersDir, model, threads: 1, cacheType });
const { release, backend, systemInfo, threads, log } = native.info;
const info = {
  runtime: release,
  host: `Node ${process.version}`,
  backend,
  systemInfo,
  model: basename(model),
  threads,
};
await serveLines({ ...info, cache: cacheType, log }, (request) => measureTokens(native, request));
