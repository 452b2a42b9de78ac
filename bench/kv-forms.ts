/**
 * `npm run quality:forms -- MODEL.gguf DOCUMENTS.u16 [options]`: what the forms of the cache cost. The mean -ln p of whole
 * documents, every token through the cache, paired document by document against f32 pages. Documents are token ids, u16,
 * --length of them each. Results are kept in a JSON file after every document, so that a run can be taken up again.
 * @module
 */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { parseArgs } from "node:util";
import { openFile } from "../bindings/node/file-source.ts";
import type { KvFormName } from "../host/kv-cache.ts";
import { loadFrom } from "../host/model.ts";
import { perplexity } from "../host/perplexity.ts";
import { platform } from "./ours.ts";

const USAGE = `npm run quality:forms -- MODEL.gguf DOCUMENTS.u16 [options]
  --length N      ids of a document in the file (default 7425)
  --tokens N      ids to run of each (default 2048)
  --documents N   documents to run (default 6)
  --forms LIST    KEYS:VALUES[:GROUP[:WINDOW[:ROTATION[:FORMAT]]]], ..., with + between the names of a format (default ${"q8:q8,q8:q4,q4:q4,q3:q3"}); f32:f32 always runs
  --out FILE      where results are kept (default bench/results/kv-forms.json)`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    length: { type: "string", default: "7425" },
    tokens: { type: "string", default: "2048" },
    documents: { type: "string", default: "6" },
    forms: { type: "string", default: "q8:q8,q8:q4,q4:q4,q3:q3" },
    out: { type: "string", default: "bench/results/kv-forms.json" },
    help: { type: "boolean", default: false },
  },
});
const [file, documents] = positionals;
if (values.help || file === undefined || documents === undefined) {
  console.log(USAGE);
  process.exit(values.help ? 0 : 2);
}

/** Mean nats a token, by "tokens/form/document". */
type Results = Record<string, number>;
const results: Results = JSON.parse(await readFile(values.out, "utf8").catch(() => "{}"));
const bytes = await readFile(documents);
const all = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 1);
const [length, tokens, count] = [Number(values.length), Number(values.tokens), Number(values.documents)];
const key = (form: string, document: number): string => `${tokens}/${form}/${document}`;

for (const form of ["f32:f32", ...values.forms.split(",")]) {
  const missing = Array.from({ length: count }, (_, i) => i).filter((i) => results[key(form, i)] === undefined);
  if (missing.length > 0) {
    const [keys, kvValues, group = "64", window = "64", rotation, ...format] = form.split(":") as [
      KvFormName,
      KvFormName,
      ...string[],
    ];
    const cache = {
      ...{ keys, values: kvValues, kvGroup: Number(group), kvWindow: Number(window) },
      ...(rotation === undefined || rotation === "" ? {} : { kvRotation: rotation === "on" }),
      kvFormat: format.join(":").replaceAll("+", ","),
    };
    const model = await loadFrom(platform, await openFile(file), { ...cache, contextLength: tokens, maxOutputs: 64 });
    for (const i of missing) {
      const { meanNll } = await perplexity(model, [...all.subarray(i * length, i * length + tokens)]);
      results[key(form, i)] = meanNll;
      await mkdir(dirname(values.out), { recursive: true });
      await writeFile(values.out, `${JSON.stringify(results, null, 1)}\n`);
    }
    await model.close();
  }
  const deltas = Array.from({ length: count }, (_, i) => results[key(form, i)]! - results[key("f32:f32", i)]!);
  const base = Array.from({ length: count }, (_, i) => results[key("f32:f32", i)]!).reduce((a, b) => a + b) / count;
  const mean = deltas.reduce((a, b) => a + b) / count;
  const error = Math.sqrt(deltas.reduce((sum, d) => sum + (d - mean) ** 2, 0) / Math.max(1, count - 1) / count);
  const percent = (x: number): string => ((100 * x) / base).toFixed(3);
  console.log(
    `${form}: ${(base + mean).toFixed(4)} nats, ${percent(mean)}% ± ${percent(error)}% against f32 (${count} documents of ${tokens} tokens)`,
  );
}
