/**
 * `npm run quality -- [options]`: what a policy, a page format and a budget cost in quality: nats of the text that follows a
 * cut prompt, values found in it, and questions asked one after another. Results are kept in bench/results/quality after every
 * unit; `npm run quality:report` writes docs/quality.md from them.
 * @module
 */
import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { parseArgs } from "node:util";
import { openFile } from "../bindings/node/file-source.ts";
import type { LoadOptions } from "../host/load-engine.ts";
import { loadFrom } from "../host/model.ts";
import { platform } from "./ours.ts";
import { evalItems } from "./quality/eval-items.ts";
import { countItems, parseNumbers, selectItems } from "./quality/items.ts";
import { referenceFiles } from "./quality/reference-files.ts";
import { REFERENCE_VOCABULARY, readReference, referenceItems } from "./quality/reference-items.ts";
import { itemsWithin, runQuality } from "./quality/run.ts";
import { Store, writeWhole } from "./quality/store.ts";
import { turnsItems } from "./quality/turns-items.ts";
import {
  filesFor,
  measuredWith,
  type PolicyFiles,
  parseFormat,
  splitPolicies,
  variantsOf,
} from "./quality/variants.ts";

const USAGE = `npm run quality -- [options]
  --model FILE       GGUF file (default the embedded model)
  --reference DIR    documents and prompts as ids of SmolLM2's vocabulary: docs/docs.json, docs.u16, retrieval.json; and
                     quality_raw.json and quality.md, whose figures for the same policies are kept beside ours; its Q-filters
                     and head scores are taken where no others are given
  --only LIST        beginnings of case names: nll,recall/passkey,turns/facts/2048/A (default all)
  --tokens LIST      lengths of contexts (default all)
  --documents LIST   items of each kind by number: 0-3,7 (default all)
  --formats LIST     KEYS[:VALUES[:GROUP[:WINDOW[:ROTATION[:KVFORMAT]]]]], + between the names of a KVFORMAT; "exact" is
                     f32 pages and activations (default q8)
  --policies LIST    with parameters, and +sSINKSrWINDOW for tokens that stay: snapkv:window=32,key-diff+s4r64; "none"
                     (default all, without those whose file is not given: ${measuredWith({}).join(",")})
  --filters FILE     of thimble calibrate, for q-filter
  --head-scores FILE of thimble calibrate-heads, for duo-attention and razor
  --ratios LIST      shares of a prompt that go (default 0.25,0.5,0.75,0.9)
  --shard I/N        of the items, those with number % N = I, into a file of their own
  --threads N        threads that compute (default 1)
  --results DIR      where results are kept (default bench/results/quality)
  --list             only say what would run`;

const { values } = parseArgs({
  options: {
    model: { type: "string", default: "models/thimble-15m.Q4_0.gguf" },
    reference: { type: "string" },
    only: { type: "string", default: "" },
    tokens: { type: "string", default: "" },
    documents: { type: "string" },
    formats: { type: "string", default: "q8" },
    policies: { type: "string" },
    filters: { type: "string" },
    "head-scores": { type: "string" },
    ratios: { type: "string", default: "0.25,0.5,0.75,0.9" },
    shard: { type: "string", default: "0/1" },
    threads: { type: "string", default: "1" },
    results: { type: "string", default: "bench/results/quality" },
    list: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

const EVAL = "models/eval";
const log = (line: string): void => console.error(line);
const numbers = (list: string): number[] => list.split(",").filter(Boolean).map(Number);

/** What another can repeat: which items and variants, not where files lie here nor which shard this is. */
function command(): string {
  const options = Object.entries({
    ...values,
    model: basename(values.model),
    reference: values.reference && "DIR",
    filters: values.filters && "FILE",
    "head-scores": values["head-scores"] && "FILE",
    results: undefined,
    shard: undefined,
  });
  const said = options.flatMap(([name, value]) =>
    typeof value === "string" && value !== "" ? [`--${name} ${value}`] : [],
  );
  return `npm run quality -- ${said.join(" ")}`;
}

async function main(): Promise<void> {
  const [index = 0, count = 1] = values.shard.split("/").map(Number);
  if (!(Number.isInteger(index) && Number.isInteger(count) && index >= 0 && index < count)) {
    throw new RangeError(`--shard ${values.shard}: expected I/N, as 0/2 and 1/2`);
  }
  const shard = { index, count };
  const ratios = numbers(values.ratios);
  if (ratios.some((ratio) => !(ratio >= 0 && ratio < 1))) {
    throw new RangeError(`--ratios ${values.ratios}: expected shares from 0 on, below 1`);
  }
  const scores = values["head-scores"];
  const given: PolicyFiles = {
    ...(values.filters === undefined ? {} : { filters: new Uint8Array(await readFile(values.filters)) }),
    ...(scores === undefined ? {} : { headScores: await readFile(scores, "utf8") }),
  };
  const open = async (options: LoadOptions) =>
    loadFrom(platform, await openFile(values.model), { ...options, threads: Number(values.threads) });
  /** Calibrations belong to weights as a load has them. */
  const filesByActivations = new Map<LoadOptions["activations"], PolicyFiles>();
  const filesAt = async (activations: LoadOptions["activations"]): Promise<PolicyFiles> => {
    if (values.reference === undefined) return given;
    const known = filesByActivations.get(activations);
    if (known !== undefined) return known;
    await using model = await open({ contextLength: 64, ...(activations && { activations }) });
    const files = { ...(await referenceFiles(values.reference, model)), ...given };
    filesByActivations.set(activations, files);
    return files;
  };
  const load = async (options: LoadOptions) =>
    open({ ...options, ...filesFor(options.policy, await filesAt(options.activations)) } as LoadOptions);

  // The tokenizer and the trained context, from a small load.
  const { items, contextLength } = await (async () => {
    await using model = await open({ contextLength: 64 });
    const ours = [...(await evalItems(EVAL, model.tokenizer)), ...(await turnsItems(EVAL, model.tokenizer))];
    const isTheirs = model.config.vocabSize === REFERENCE_VOCABULARY;
    if (values.reference !== undefined && !isTheirs) throw new RangeError("--reference has ids of another vocabulary");
    const theirs = values.reference === undefined ? [] : await referenceItems(values.reference);
    return { items: [...theirs, ...ours], contextLength: model.config.trainedContext };
  })();
  const files = await filesAt(undefined);
  const policies = values.policies === undefined ? measuredWith(files) : splitPolicies(values.policies);
  const variants = variantsOf(values.policies === "none" ? [] : policies, ratios, files);
  const formats = values.formats.split(",").map(parseFormat);
  const only = values.only.split(",").filter(Boolean);
  const documents = values.documents === undefined ? undefined : parseNumbers(values.documents);
  const wanted = selectItems(items, { only, tokens: numbers(values.tokens), documents, shard });
  const within = itemsWithin(wanted, contextLength, log);
  if (values.list) {
    for (const { name, stops } of within) console.log(`${name}\t${stops.map(({ of }) => of).join(" ")}`);
    return;
  }
  const from = { command: command(), items: countItems(itemsWithin(items, contextLength, () => {})) };
  const store = await Store.open(values.results, basename(values.model, ".gguf"), shard, from);
  if (values.reference !== undefined) {
    const lines = JSON.stringify(await readReference(values.reference)).replaceAll("},", "},\n");
    await writeWhole(`${values.results}-reference.json`, `${lines}\n`);
  }
  const done = await runQuality({ load, formats, variants, items: within, store, log });
  log(`${done} units; npm run quality:report writes docs/quality.md`);
}

if (values.help) console.log(USAGE);
else await main();
