/**
 * `npm run bench:report`: writes docs/benchmarks.md and docs/plots/*.svg from the JSON files in bench/results, whatever of
 * them is there. No figure is written by hand.
 * @module
 */
import { mkdir, writeFile } from "node:fs/promises";
import { readPart, type StoredPart } from "./lib/results.ts";
import { median } from "./lib/statistics.ts";
import { NATIVE, NATIVE_CACHES, ORT_INT8 } from "./report/bars.ts";
import { PLOTS } from "./report/plots.ts";
import { policiesTable } from "./report/policies-table.ts";
import { barPlot } from "./report/svg-bars.ts";
import { barsTable, comparisonTable, OURS, plainTable } from "./report/tables.ts";

const RESULTS = "bench/results";
const PARTS = [
  "native",
  "caches",
  "wllama",
  "onnxruntime",
  "tokens",
  "attention",
  "policies",
  "kernels",
  "load",
  "memory",
] as const;
const WLLAMA = ["wllama 2.4.0", "wllama 3.8.1"];

const INTRODUCTION = `# Benchmarks

Written by \`npm run bench:report\` from \`bench/results/*.json\`, where every sample is; do not edit. \`npm run bench\` measures
ours alone, \`npm run bench:peers\` against other runtimes; both install what they need.

- The model is SmolLM2-135M-Instruct. All sides of a comparison read the same file, compute on one thread and are measured
  in turn in one run (A B A B); figures are medians of the rounds, ratios medians of the rounds' own ratios. Ratios travel
  better than figures, and neither travels far: another processor is another result.
- The machine is shared with other work. "By processor time" is the ratio of what each side did in a second of its own
  processor time; where it differs much from the ratio, other programs took the core. Where the median of processor time
  over wall time is far below 1, all figures are low.
- These are our measurements of other people's work, on one machine and in one setting. Their makers claim none of it, and
  a bar is a goal we set for ourselves: a missed one is shown as missed.
- "simd" is the baseline build, "relaxed" the one with relaxed SIMD. Native is an AVX2 build of llama.cpp, since no machine
  with AVX-512 was at hand.`;

type Section = (part: StoredPart) => string;

const SECTIONS: Readonly<Record<string, readonly [title: string, body: Section]>> = {
  native: [
    "Against llama.cpp native",
    (
      part,
    ) => `Tokens a second. The ratio is to the faster of the two native builds in that case. Their cache is f16, ours f32.

${comparisonTable(part, NATIVE, NATIVE)}`,
  ],
  caches: [
    "Forms of the cache",
    (part) => `Tokens a second, Q4_0 weights, against llama.cpp native (node-llama-cpp) with the named cache.

${comparisonTable(part, NATIVE_CACHES, NATIVE_CACHES, ["relaxed, f32 pages", "relaxed, q8 pages", "relaxed, q4 pages"])}`,
  ],
  wllama: [
    "Against wllama in Chromium",
    (
      part,
    ) => `${part.notes?.join("; ")}. Tokens a second, and seconds from a Blob in the page to the first token (below 1 is better).
The ratio of rates is to wllama 2.4.0, that of seconds to the faster; the Q4_0 file. wllama 2 is timed without sampling, wllama 3 by its
own clock: both leave out work that our times have in them.

${comparisonTable(part, WLLAMA, WLLAMA)}`,
  ],
  onnxruntime: [
    "Against onnxruntime-web",
    (
      part,
    ) => `GMAC/s of one linear layer, f32 in and out, on one Node; ours is Q4 with activations quantized in the time. The ratio is
to its int8 product. Its outputs are copied out of its memory, as an application gets them (6 MB at 128 rows); ours are
not, but pay some 50,000 calls from JavaScript at 128 rows.

${comparisonTable(part, [...ORT_INT8, "4-bit MatMulNBits", "4-bit MatMulNBits, accuracy level 4"], ORT_INT8)}`,
  ],
  tokens: [
    "Ours alone: tokens and the memory roof",
    (
      part,
    ) => `The Q4_0 file. The roof is a WebAssembly loop that only reads; the share counts weights and cache once for each token.

${plainTable(part, part.cases, [...OURS, "roof"])}`,
  ],
  attention: [
    "Ours alone: attention and the memory roof",
    (
      part,
    ) => `One token's attention over 32,768 slots of all heads of the model, one thread: GB/s of the pages it reads. The roof is a
WebAssembly loop that only reads the same pages, in the same process, in turns with it; the share is of the best round of
the roof.

${plainTable(part, part.cases, [...OURS, "roof"])}`,
  ],
  policies: [
    "Ours alone: what policies cost",
    (
      part,
    ) => `${part.notes?.[0]}. Each policy against a model without one, in turns, one thread, 8-bit pages: what is left of its rate, which
is the median of the rounds' ratios. Half of the prompt is kept; the other side then has as many slots. The prompt's end is timed
apart, and its share is of the prefill.

${policiesTable(part)}`,
  ],
  kernels: [
    "Ours alone: kernels",
    (
      part,
    ) => `"From cache" stays in the second-level cache or near it. "From memory" is 21 MB in 4 bits and 40 MB in 8: a server's
third-level cache may hold the former. GEMM is 64 tokens. Attention is one token over all heads of the model.

${plainTable(part, part.cases, Object.keys(part.sides))}`,
  ],
  load: [
    "Ours alone: load and sizes",
    (part) => {
      const isSize = ({ unit }: { unit: string }): boolean => unit === "bytes";
      const [times, sizes] = [part.cases.filter((each) => !isSize(each)), part.cases.filter(isSize)];
      return `A one-token prompt, the Q4_0 file; gzip -9.

${plainTable(part, times, OURS)}

${plainTable(part, sizes, ["gzip", "plain"])}`;
    },
  ],
  memory: ["Ours alone: memory", (part) => `\`\`\`text\n${part.notes?.join("\n")}\n\`\`\``],
};

/** Where and how a part was measured. */
function origin(part: StoredPart): string {
  const { cpu, cores, os, simd, node } = part.machine;
  const loads = part.cases.flatMap((each) => Object.values(each.cpu).flat());
  const lines = [
    `\`${part.command}\`, ${part.date}; ${cpu} (${simd.join(", ")}), ${cores} cores, ${os}, Node ${node}.`,
    ...(loads.length > 0 ? [`Median of processor time over wall time: ${median(loads).toFixed(2)}.`] : []),
    ...Object.entries(part.sides).map(([name, info]) => {
      const known = ["runtime", "host", "backend", "llamaCpp", "cache"].flatMap((key) => info[key] ?? []);
      return `\n- ${name}: ${known.join("; ")}`;
    }),
    ...part.skipped.map(({ side, reason }) => `\n- not measured: ${side}: ${reason.split("\n")[0]}`),
  ];
  return lines.join(" ").replace(/ \n/g, "\n").replace("\n- ", "\n\n- ");
}

async function main(): Promise<void> {
  const parts: StoredPart[] = [];
  for (const name of PARTS) {
    const part = await readPart(RESULTS, name);
    if (part !== undefined) parts.push(part);
  }
  await mkdir("docs/plots", { recursive: true });
  const sections = await Promise.all(parts.map(section));
  const bars = `## Bars\n\nOf two peers, the faster counts.\n\n${barsTable(parts)}`;
  await writeFile("docs/benchmarks.md", `${[INTRODUCTION, bars, ...sections].join("\n\n")}\n`);
  console.log(`docs/benchmarks.md, from ${parts.map(({ part }) => part).join(", ")}`);
}

async function section(part: StoredPart): Promise<string> {
  const [title, body] = SECTIONS[part.part]!;
  const plot = PLOTS[part.part]?.(part);
  if (plot !== undefined) await writeFile(`docs/plots/${part.part}.svg`, barPlot(plot));
  const image = plot === undefined ? [] : [`![${plot.title}](plots/${part.part}.svg)`];
  return [`## ${title}`, body(part), ...image, origin(part)].join("\n\n");
}

await main();
