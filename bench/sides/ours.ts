/** `node ours.js MODEL VARIANT [THREADS [KEYS:VALUES]]`: our runtime on Node as a side (lib/line-side.ts). @module */
import { basename } from "node:path";
import type { KvFormName } from "../../host/kv-cache.ts";
import { serveLines } from "../lib/serve-lines.ts";
import type { BenchVariant } from "../lib/variants.ts";
import { measureOurs } from "../ours.ts";
import { measureTokens, warmUp } from "./tokens.ts";

const [model, variant, count = "1", forms = "f32:f32"] = process.argv.slice(2) as [
  string,
  BenchVariant,
  string?,
  string?,
];
const [keys, values] = forms.split(":") as [KvFormName, KvFormName];
const threads = Number(count);
const ours = await measureOurs({ model, threads, variant, keys, values });
await warmUp(ours);
const info = {
  runtime: `thimble, ${variant}`,
  host: `Node ${process.version}, V8 ${process.versions.v8}`,
  model: basename(model),
  cache: keys === values ? `${keys} pages` : `${keys} keys, ${values} values`,
  threads,
  weightBytes: ours.weightBytes(),
  cacheBytesPerToken: ours.cacheBytesOf(1),
};
await serveLines(info, (request) => measureTokens(ours, request));
