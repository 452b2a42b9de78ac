/**
 * `npm run quality:report`: writes docs/quality.md and docs/plots/quality-*.svg from what is in bench/results/quality. No
 * figure is written by hand.
 * @module
 */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { curvesOf } from "./quality/curves.ts";
import type { Reference } from "./quality/reference-items.ts";
import { type QualityResults, readModel, storedModels } from "./quality/store.ts";
import {
  bestTable,
  bytesText,
  leastTable,
  missingText,
  overviewTable,
  recallTable,
  referenceRecallTable,
  referenceTable,
  turnsTable,
} from "./quality/tables.ts";
import { curvePlot } from "./report/svg-curves.ts";

const { values } = parseArgs({
  options: {
    results: { type: "string", default: "bench/results/quality" },
    docs: { type: "string", default: "docs" },
  },
});

const INTRODUCTION = `# Quality against bytes

Written by \`npm run quality:report\` from \`bench/results/quality/*.json\`; do not edit. What a policy, a form of pages and a
budget cost: this is what to read before choosing one. A prompt is computed once and cut down in a fork for each variant.

- **pages, policy**: the form of keys and values (\`keys:values\`; one name is both), the policy, and the share of the prompt's
  slots that goes. "all" keeps everything. \`+s4r64\` keeps the first 4 and the newest 64 tokens besides.
- **bytes**: of the pages that hold the prompt when it has ended, headers, scales and positions included, of those that the
  whole prompt takes in 8-bit pages. The open page that the next token begins (f32, one a head) is the same for all.
- **nats**: mean -ln p of 256 tokens that follow a prompt of so many tokens, all of them predicted by rows that see the cut
  cache; the change in per cent against the whole prompt in 8-bit pages, document by document.
- **found**: values asked for that are found: the answer's beginning is given, and each token of the value must be the most
  likely one. A: the context is cut before the question is known; B: question and context are cut together.
- **turns**: six questions one after another about one context, with the right answers in the history. A and B as before, only
  the first question is known in B; C is B, and every later question ends a prompt that is cut to as many slots again.
- **kept**: e^-(change of nats) times the share of values found, recall and turns alike, against the whole prompt: text and
  retrieval together, by which policies are ranked.
- ± is one standard error over documents or prompts; "(5 of 16)" says that documents are missing. At each share that goes,
  policies stand in the order of what they keep, or of nats where nothing was asked.`;

async function main(): Promise<void> {
  const models = await storedModels(values.results);
  const reference = await readFile(`${values.results}-reference.json`, "utf8").then(
    (text) => JSON.parse(text) as Reference,
    (): Reference => ({ nll: {}, recall: {} }),
  );
  await mkdir(`${values.docs}/plots`, { recursive: true });
  const sections: string[] = [];
  for (const model of models) sections.push(await section((await readModel(values.results, model))!, reference));
  await writeFile(`${values.docs}/quality.md`, `${[INTRODUCTION, ...sections].join("\n\n")}\n`);
  console.log(`${values.docs}/quality.md, from ${models.join(", ") || "nothing"}`);
}

async function section(results: QualityResults, reference: Reference): Promise<string> {
  const { model, runs, cases } = results;
  const images: string[] = [];
  for (const [name, curves] of Object.entries(curvesOf(cases))) {
    const file = `plots/quality-${model.replaceAll(".", "-").toLowerCase()}-${name}.svg`;
    await writeFile(`${values.docs}/${file}`, curvePlot(curves));
    images.push(`![${curves.title}](${file})`);
  }
  const has = (start: string, end = ""): boolean =>
    Object.keys(cases).some((of) => of.startsWith(start) && of.endsWith(end));
  const best = bestTable(cases);
  const least = leastTable(cases);
  const compared = referenceTable(cases, reference.nll);
  const foundThere = referenceRecallTable(cases, reference.recall);
  return [
    `## ${model}`,
    titled(
      "What keeps most, in 8-bit pages, in bytes that are at most 10% of the whole prompt's beyond the share that was to stay:",
      best,
    ),
    titled("The least bytes that keep so much:", least),
    bytesText(cases),
    overviewTable(results),
    ...images,
    titled("### Found, the question unknown (A)", has("recall/", "/A") ? recallTable(results, "A") : ""),
    titled("### Found, the question known (B)", has("recall/", "/B") ? recallTable(results, "B") : ""),
    titled("### Turns", has("turns/") ? turnsTable(results) : ""),
    titled(`### Beside the reference\n\n${REFERENCE}`, compared),
    titled("Values found, in other samples of the same form of prompt:", foundThere),
    missingText(results),
    `Runs:\n\n${runs.map(({ command, date }) => `    ${command}  # ${date}`).join("\n")}`,
  ]
    .filter((part) => part !== "")
    .join("\n\n");
}

/** Nothing without a table. */
function titled(title: string, table: string): string {
  return table === "" ? "" : `${title}\n\n${table}`;
}

const REFERENCE = `Change of nats a token against one's own full cache, on the same documents, as "ours, the reference's: the difference ± its
standard error (documents, where they are fewer)"; bold is beyond two errors. The reference: kvpress 0.5.5's policies on
SmolLM2-135M-Instruct Q4_1 dequantized, in f32 arithmetic with an f32 cache (transformers, one GPU). Of twenty differences one
is beyond two errors by chance; with few documents more are. Where \`lagkv\` may keep fewer than the sinks and the last partition,
which share one score in the reference (0.9 of 2,048 tokens), the reference drops any of them, ours keeps sinks and newest.`;

await main();
