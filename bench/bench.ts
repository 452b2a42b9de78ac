/**
 * `npm run bench -- [options]`: ours alone. Results go to bench/results; `npm run bench:report` writes docs/benchmarks.md
 * from them. `npm run bench -- FILE.gguf` is `npm run bench:memory -- FILE.gguf`.
 * @module
 */
import { spawnSync } from "node:child_process";
import { parseArgs } from "node:util";
import { commandOf, counts, nodeProgram, runParts } from "./lib/command-line.ts";
import type { Plan } from "./lib/interleave.ts";
import { program } from "./lib/line-side.ts";
import { modelFile } from "./lib/models.ts";
import type { PartResult } from "./lib/results.ts";
import { type Build, kernelsWasm, VARIANTS } from "./lib/variants.ts";
import { attentionPart } from "./parts/attention.ts";
import { kernelsPart } from "./parts/kernels.ts";
import { loadPart } from "./parts/load.ts";
import { policiesPart } from "./parts/policies.ts";
import { tokensPart } from "./parts/tokens.ts";

const USAGE = `npm run bench -- [options]
  --only LIST          parts to run: kernels,attention,tokens,policies,load,memory (default all)
  --model FILE         GGUF file for tokens, load and memory (default SmolLM2-135M Q4_0, made when missing)
  --models DIR         folder of the model files (default .cache/smollm2)
  --rounds N           counted rounds (default 5; kernels take three times as many)
  --node PATH          the Node that runs the runtime: a path, "current" (default) or "peers", the one that
                       bench:peers installs
  --peers DIR          folder the peers are installed in (default .cache/peers)
  --prompt N           for policies: tokens of the prompt (default 4096)
  --policies LIST      for policies: names (default all that the results lack)
  --kernels NAME=FILE  for kernels: a test build to time in place of the variants'; several are interleaved
  --results DIR        where the JSON files go (default bench/results)`;

const log = (line: string): void => console.error(line);

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: "string", default: "kernels,attention,tokens,policies,load,memory" },
    model: { type: "string" },
    models: { type: "string", default: ".cache/smollm2" },
    rounds: { type: "string", default: "5" },
    node: { type: "string", default: "current" },
    peers: { type: "string", default: ".cache/peers" },
    prompt: { type: "string", default: "4096" },
    policies: { type: "string" },
    kernels: { type: "string", multiple: true, default: [] },
    results: { type: "string", default: "bench/results" },
    help: { type: "boolean", default: false },
  },
});

const model = async (): Promise<string> =>
  values.model ?? modelFile("Q4_0", { folder: values.models, peersDir: values.peers, log });
const node = (): Promise<string> => nodeProgram(values.node, values.peers, log);

function plan(part: string, times: number, warmups: number): Plan {
  return { rounds: times * counts(values.rounds)[0]!, warmups, log: (line) => log(`[${part}] ${line}`) };
}

function builds(): Build[] {
  if (values.kernels.length === 0) return VARIANTS.map((name) => ({ name, file: kernelsWasm(name) }));
  return values.kernels.map((each) => {
    const [name, file] = each.split("=");
    if (name === undefined || file === undefined) throw new RangeError(`--kernels ${each}: expected NAME=FILE`);
    return { name, file };
  });
}

/** The script of its own that was here first; it prints, and its lines are kept. */
async function memoryPart(file: string): Promise<PartResult> {
  const { stdout, stderr, status } = spawnSync(process.execPath, [program("memory"), file], { encoding: "utf8" });
  if (status !== 0) throw new Error(stderr);
  console.log(stdout.trim());
  return { part: "memory", sides: {}, skipped: [], cases: [], notes: stdout.trim().split("\n") };
}

const [file] = positionals;
if (values.help) console.log(USAGE);
else if (file !== undefined) await memoryPart(file);
else {
  await runParts(values.only, values.results, commandOf("bench"), {
    kernels: async () => kernelsPart(builds(), await node(), plan("kernels", 3, 2)),
    attention: async () => attentionPart(builds(), await node(), plan("attention", 1, 1)),
    tokens: async () => tokensPart(await model(), await node(), plan("tokens", 1, 1)),
    policies: async () =>
      policiesPart({
        model: await model(),
        node: await node(),
        prompt: counts(values.prompt)[0]!,
        only: values.policies?.split(","),
        plan: plan("policies", 1, 1),
        results: values.results,
        command: commandOf("bench"),
      }),
    load: async () => loadPart(await model(), await node(), plan("load", 1, 1)),
    memory: async () => memoryPart(await model()),
  });
}
