/**
 * `npm run bench:peers -- [options]`: ours against other runtimes, each part interleaved in one run. The results go to
 * bench/results; `npm run bench:report` writes docs/benchmarks.md from them.
 * @module
 */
import { parseArgs } from "node:util";
import { commandOf, counts, nodeProgram, runParts } from "./lib/command-line.ts";
import type { Plan } from "./lib/interleave.ts";
import { MODEL_TYPES, type ModelType, modelFile } from "./lib/models.ts";
import { NODE } from "./lib/peers-folder.ts";
import { versusCaches } from "./versus-caches.ts";
import { versusNative } from "./versus-native.ts";
import { versusOnnxruntime } from "./versus-onnxruntime.ts";
import { versusWllama } from "./versus-wllama.ts";

const USAGE = `npm run bench:peers -- [options]
  --only LIST      parts to run: native,caches,wllama,ort (default all)
  --peers DIR      folder the peers are installed in (default .cache/peers)
  --models DIR     folder of the model files, made there when missing (default .cache/smollm2)
  --model FILE     for native: one file of your own in place of the three
  --types LIST     for native: model files to run (default Q4_0,Q4_1,Q8_0)
  --prefill LIST   for native: prompt lengths (default 512)
  --decode LIST    for native: context lengths to decode behind (default 128,7168)
  --tokens N       tokens a decode is timed over (default 48)
  --rounds N       counted rounds (default 5; ort takes three times as many)
  --node PATH      the Node that runs our side and onnxruntime-web: a path, "current", or "peers"
                   (default: ${NODE}, installed into the folder)
  --python PATH    for native: a Python that has llama-cpp-python (default THIMBLE_LLAMA_PYTHON)
  --chromium PATH  for wllama (default /usr/bin/chromium)
  --results DIR    where the JSON files go (default bench/results)`;

const { values } = parseArgs({
  options: {
    only: { type: "string", default: "native,caches,wllama,ort" },
    peers: { type: "string", default: ".cache/peers" },
    models: { type: "string", default: ".cache/smollm2" },
    model: { type: "string" },
    types: { type: "string", default: MODEL_TYPES.join() },
    prefill: { type: "string", default: "512" },
    decode: { type: "string", default: "128,7168" },
    tokens: { type: "string", default: "48" },
    rounds: { type: "string", default: "5" },
    node: { type: "string", default: "peers" },
    python: { type: "string", default: process.env.THIMBLE_LLAMA_PYTHON ?? "" },
    chromium: { type: "string", default: "/usr/bin/chromium" },
    results: { type: "string", default: "bench/results" },
    help: { type: "boolean", default: false },
  },
});

const log = (line: string): void => console.error(line);
const peersDir = values.peers;
const node = (): Promise<string> => nodeProgram(values.node, peersDir, log);
const model = (type: ModelType): Promise<string> => modelFile(type, { folder: values.models, peersDir, log });

function plan(part: string): Plan {
  return { rounds: counts(values.rounds)[0]!, warmups: 1, log: (line) => log(`[${part}] ${line}`) };
}

/** Files by the name their cases go under. */
async function nativeModels(): Promise<Record<string, string>> {
  const file = values.model;
  if (file !== undefined) return { [/\.([^.]+)\.gguf$/.exec(file)?.[1] ?? "model"]: file };
  const asked = values.types.split(",");
  const models: Record<string, string> = {};
  for (const type of MODEL_TYPES) if (asked.includes(type)) models[type] = await model(type);
  return models;
}

if (values.help) console.log(USAGE);
else {
  await runParts(values.only, values.results, commandOf("bench:peers"), {
    native: async () =>
      versusNative({
        models: await nativeModels(),
        peersDir,
        python: values.python === "" ? undefined : values.python,
        node: await node(),
        prefill: counts(values.prefill),
        decode: counts(values.decode),
        tokens: counts(values.tokens)[0]!,
        plan: plan("native"),
      }),
    caches: async () =>
      versusCaches({
        model: await model("Q4_0"),
        peersDir,
        node: await node(),
        decode: counts(values.decode),
        tokens: counts(values.tokens)[0]!,
        plan: plan("caches"),
      }),
    wllama: async () =>
      versusWllama({
        model: await model("Q4_0"),
        peersDir,
        chromium: values.chromium,
        tokens: counts(values.tokens)[0]!,
        plan: plan("wllama"),
      }),
    ort: async () => versusOnnxruntime({ peersDir, node: await node(), plan: plan("ort") }),
  });
}
