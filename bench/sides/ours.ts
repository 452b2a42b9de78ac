/** `node ours.js MODEL VARIANT [THREADS]`: our runtime on Node as a side (lib/line-side.ts). @module */
import { basename } from "node:path";
import { serveLines } from "../lib/serve-lines.ts";
import type { BenchVariant } from "../lib/variants.ts";
import { measureOurs } from "../ours.ts";
import { measureTokens, warmUp } from "./tokens.ts";

const [model, variant, count = "1"] = process.argv.slice(2) as [string, BenchVariant, string?];
const threads = Number(count);
const ours = await measureOurs({ model, threads, variant });
await warmUp(ours);
const info = {
  runtime: `thimble, ${variant}`,
  host: `Node ${process.version}, V8 ${process.versions.v8}`,
  model: basename(model),
  cache: "f32 pages",
  threads,
  weightBytes: ours.weightBytes(),
  cacheBytesPerToken: ours.cacheBytesOf(1),
};
await serveLines(info, (request) => measureTokens(ours, request));
