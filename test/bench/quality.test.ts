/**
 * The quality harness on the embedded model and small items: what it counts is compared with `perplexity`, which goes another
 * way; the whole prompt at every policy; a run that was ended against one that was not; and tables made of figures by hand.
 */
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { estimate } from "../../bench/lib/statistics.ts";
import { curvesOf } from "../../bench/quality/curves.ts";
import { encodeParts, evalItems, splitAnswer } from "../../bench/quality/eval-items.ts";
import { bytesShare, found, kept, nllChange } from "../../bench/quality/figures.ts";
import { type Item, nllStops, parseNumbers, recallStops, type Stop, selectItems } from "../../bench/quality/items.ts";
import { Prefix, sessionBytes } from "../../bench/quality/prefix.ts";
import { readReference, referenceItems } from "../../bench/quality/reference-items.ts";
import { type QualityRun, runQuality } from "../../bench/quality/run.ts";
import { type Cases, readModel, Store, storedModels } from "../../bench/quality/store.ts";
import {
  leastTable,
  missingText,
  overviewTable,
  recallTable,
  referenceRecallTable,
  referenceTable,
} from "../../bench/quality/tables.ts";
import { turnsItems } from "../../bench/quality/turns-items.ts";
import {
  filesFor,
  loadOptionsOf,
  measuredWith,
  parseFormat,
  splitPolicies,
  variantsOf,
} from "../../bench/quality/variants.ts";
import { curvePlot } from "../../bench/report/svg-curves.ts";
import { cacheConfig, pageSizes } from "../../host/kv-cache.ts";
import type { LoadOptions } from "../../host/load-engine.ts";
import { perplexity } from "../../host/perplexity.ts";
import { DEFAULT_MODEL, load } from "../model/load.ts";

const EVAL = "models/eval";
const PROMPT = 160;
const GRADED = 70;
const NLL = `nll/eval/${PROMPT}`;
const ALL = { only: [], tokens: [], documents: undefined, shard: { index: 0, count: 1 } };
const open = (options: LoadOptions) => load(DEFAULT_MODEL, options);

const model = await open({ contextLength: 64 });
const { tokenizer } = model;
const prompts = await evalItems(EVAL, tokenizer);
const turns = await turnsItems(EVAL, tokenizer);
await model.close();

/** A short document, a list of 20 pairs, and a conversation of three questions about such a list. */
const document = prompts[0]!.ids.slice(300, 300 + PROMPT + GRADED + 1);
const ITEMS: readonly Item[] = [
  { name: "0", ids: document, stops: nllStops("eval", document, [PROMPT], GRADED) },
  ...selectItems(prompts, { ...ALL, only: ["recall/kv20"], documents: parseNumbers("0") }),
];

interface Outcome {
  readonly cases: Cases;
  readonly text: string;
}

let folders = 0;
const root = await mkdtemp(join(tmpdir(), "thimble-quality-"));

async function run(
  options: Partial<QualityRun>,
  { folder = `${++folders}`, shard = { index: 0, count: 1 }, atMost = Number.POSITIVE_INFINITY } = {},
): Promise<Outcome & { readonly done: number }> {
  const kept = await Store.open(join(root, folder), "tiny", shard, { command: "npm run quality", items: { [NLL]: 1 } });
  let puts = 0;
  const store: QualityRun["store"] = {
    has: (...args) => kept.has(...args),
    put: async (...args) => {
      if (++puts > atMost) throw new Error("ended");
      await kept.put(...args);
    },
  };
  const variants = variantsOf(["streaming", "snapkv:window=32"], [0.5]);
  const formats = [parseFormat("q8")];
  const done = await runQuality({
    load: open,
    formats,
    variants,
    items: ITEMS,
    log: () => {},
    ...options,
    store,
  }).catch((error: Error) => {
    if (error.message !== "ended") throw error;
    return -1;
  });
  const text = await readFile(join(root, folder, "tiny.json"), "utf8").catch(() => "");
  return { cases: (await readModel(join(root, folder), "tiny"))!.cases, text, done };
}

test.after(() => rm(root, { recursive: true }));

test("nothing goes at ratio 0, and the values of the whole prompt are found", async () => {
  const policies = ["streaming", "snapkv", "adakv", "tova", "lagkv"];
  const { cases } = await run({ items: ITEMS.slice(0, 2), variants: variantsOf(policies, [0]) });
  for (const [of, variants] of Object.entries(cases)) {
    assert.is(Object.keys(variants).length, policies.length + 1);
    for (const figures of Object.values(variants)) assert.equal(figures, variants["q8 full"], of);
  }
  for (const mode of ["A", "B"]) {
    const [, whole, logProbability] = cases[`recall/kv20/240/${mode}`]!["q8 full"]!["0"]!;
    assert.is(whole, 1);
    assert.ok(logProbability! < 0 && logProbability! > -0.1);
  }
});

test("a value with one wrong digit is not found", async () => {
  const [item] = selectItems(prompts, { ...ALL, only: ["recall/kv20/240/A"], documents: parseNumbers("0") });
  const stops = item!.stops.map((stop) => ({ ...stop, tail: [...stop.tail.slice(0, -1), stop.tail.at(-2)!] }));
  const { cases } = await run({ items: [{ ...item!, stops }], variants: variantsOf([], []) });
  assert.is(cases["recall/kv20/240/A"]!["q8 full"]!["0"]![1], 0);
});

test("nats of a cut prompt are those of perplexity, and less stays in fewer bytes", async () => {
  const { cases } = await run({
    items: ITEMS.slice(0, 1),
    variants: variantsOf(["streaming", "snapkv:window=32", "snapkv"], [0.5, 0.75]),
  });
  const figures = cases[NLL]!;
  for (const [name, policy, keep] of [
    ["full", "snapkv", {}],
    ["streaming@0.75", "streaming", { keep: { ratio: 0.75 } }],
    ["snapkv@0.5", "snapkv", { keep: { ratio: 0.5 } }],
    ["snapkv:window=32@0.5", "snapkv:window=32", { keep: { ratio: 0.5 } }],
  ] as const) {
    await using other = await open({ contextLength: 256, policy });
    // The first of them is the row before the cut.
    const { nll } = await perplexity(other, document, { from: PROMPT, ...keep });
    const mean = nll.slice(1).reduce((a, b) => a + b) / GRADED;
    assert.is(figures[`q8 ${name}`]!["0"]![1], Math.round(mean * 1e6) / 1e6, name);
  }
  const bytes = (name: string): number => figures[`q8 ${name}`]!["0"]![0]!;
  assert.is(bytes("streaming@0.5") < bytes("full") && bytes("streaming@0.75") < bytes("streaming@0.5"), true);
  assert.is.not(figures["q8 streaming@0.75"]!["0"]![1], figures["q8 full"]!["0"]![1]);
});

test("policies that look at all rows, or read the prompt once more, choose what a session that has them chooses", async () => {
  const policies = ["kvzip:chunk=64", "expected-attention", "h2o", "compactor:chunk=32,sketch=8"];
  const { cases } = await run({ items: ITEMS.slice(0, 1), variants: variantsOf(policies, [0.5, 0.75]) });
  for (const policy of policies) {
    await using other = await open({ contextLength: 512, policy });
    const { nll } = await perplexity(other, document, { from: PROMPT, keep: { ratio: 0.75 } });
    const mean = nll.slice(1).reduce((a, b) => a + b) / GRADED;
    assert.is(cases[NLL]![`q8 ${policy}@0.75`]!["0"]![1], Math.round(mean * 1e6) / 1e6, policy);
  }
});

test("bytes are those of the pages that the pool has given", async () => {
  await using some = await open({ contextLength: 256, policy: "snapkv", keys: "q8", values: "q4" });
  const prefix = new Prefix(some, document);
  const partial = await prefix.endAt(90);
  const { aged, open: openBytes } = pageSizes(some.engine.sizes.cache, some.config);
  const short = partial.fork(variantsOf([], [])[0]!);
  const prompt = await prefix.endAt(PROMPT);
  const [full, half] = variantsOf(["streaming"], [0.5]).map((variant) => prompt.fork(variant));
  const { exports } = some.engine.runtime;
  const heads = exports.imageHeads();
  const recent = exports.pageSize(exports.headPage(full!, 0, 0));
  assert.is(sessionBytes(some, short), heads * (2 * recent + openBytes)); // two pages are full
  // Of five pages of a head, sinks and recent ones are its own, at 8 bits.
  assert.is(sessionBytes(some, full!), exports.sessionPages(full!) * aged + heads * 3 * recent);
  assert.is(exports.headSlots(half!, 0), 96);
  assert.is(sessionBytes(some, half!), heads * 3 * recent);
  for (const each of [partial, prompt, prefix]) each.close();
});

test("a run that was ended goes on to the same file, and shards together are the whole", async () => {
  const whole = await run({});
  assert.is(whole.done, 3 * (1 + 2)); // variants of one stop, and of two
  const folder = "resumed";
  assert.is((await run({}, { folder, atMost: 4 })).done, -1);
  const resumed = await run({}, { folder });
  assert.is(resumed.done, whole.done - 4);
  assert.is(resumed.text, whole.text);
  assert.is((await run({}, { folder })).done, 0);
  assert.equal(await readdir(join(root, folder)), ["tiny.json"]);

  const parts = [0, 1].map((index) => ({ index, count: 2 }));
  for (const shard of parts) {
    await run({ items: selectItems(ITEMS, { ...ALL, shard }) }, { folder: "shards", shard });
  }
  assert.equal(await readdir(join(root, "shards")), ["tiny.0of2.json", "tiny.1of2.json"]);
  assert.equal(await storedModels(join(root, "shards")), ["tiny"]);
  assert.equal(sortedCases((await readModel(join(root, "shards"), "tiny"))!.cases), sortedCases(whole.cases));
  assert.is((await run({}, { folder: "shards" })).done, 0);
});

test("items of one case in several files", async () => {
  for (const [index, figure] of [0.1234567, 2].entries()) {
    const store = await Store.open(join(root, "files"), "a.b", { index, count: 2 }, { command: "", items: { x: 2 } });
    assert.is(store.has("x", "q8 full", "0"), index === 1);
    await store.put("x", "q8 full", `${index}`, [100, figure]);
  }
  const { cases, items } = (await readModel(join(root, "files"), "a.b"))!;
  assert.equal(cases, { x: { "q8 full": { "0": [100, 0.123457], "1": [100, 2] } } });
  assert.equal(items, { x: 2 });
  assert.is(await readModel(join(root, "files"), "a"), undefined);
});

const sortedCases = (cases: Cases): unknown =>
  Object.fromEntries(
    Object.entries(cases)
      .sort()
      .map(([of, variants]) => [of, Object.entries(variants).sort()]),
  );

test("turns: every answer is found in the whole prompt, and a session that is cut again stays small", async () => {
  const { ids, stops } = shortTurns();
  const item: Item = { name: "0", ids, stops };
  const { cases } = await run({ items: [item], variants: variantsOf(["streaming"], [0.25]) });
  for (const { of } of stops) assert.equal(cases[of]!["q8 full"]!["0"]!.slice(1), [1, 1, 1], of);
  const cut = (mode: string): number[] => cases[`turns/pairs/128/${mode}`]!["q8 streaming@0.25"]!["0"]!;
  assert.equal(cut("A").slice(1).length, 3);
  assert.is(cut("B")[0], cut("C")[0]);
});

/** The list of the first prompt about 20 pairs, and three of them asked for. */
function shortTurns(): Item {
  const pairs = ["red hat: 40713", "old bike: 92268", "tiny mole: 35190", "dark pond: 81654", "shiny fork: 27403"];
  const asked = [1, 3, 4].map((i) => pairs[i]!.split(": "));
  const text = `<|im_start|>user\nHere is a list of keys and values.\n${pairs.join("\n")}`;
  const parts = asked.flatMap(([key, value], i) => [
    `${i === 0 ? "\n\n" : ".<|im_end|>\n<|im_start|>user\n"}What is the value of ${key}?<|im_end|>\n<|im_start|>assistant\n`,
    `The value of ${key} is`,
    ` ${value}`,
  ]);
  const [head, ...tail] = encodeParts(tokenizer, [text, ...parts]);
  const ids = [...head!, ...tail.flat()];
  const borders = [head!.length];
  for (const part of tail) borders.push(borders.at(-1)! + part.length);
  const stops = ["A", "B", "C"].map((mode): Stop => {
    const end = mode === "A" ? head!.length : borders[1]! - 1;
    const groups = [0, 1, 2].map((turn) => {
      const [from, to] = [borders[3 * turn + 2]! - end, borders[3 * turn + 3]! - end];
      return Array.from({ length: to - from }, (_, i) => from + i);
    });
    const ends = mode === "C" ? { ends: [1, 2].map((turn) => borders[3 * turn + 1]! - end) } : {};
    return { of: `turns/pairs/128/${mode}`, measure: "turns", end, tail: ids.slice(end), groups, ...ends };
  });
  return { name: "0", ids, stops };
}

test("items: values and nothing else are graded, and the same on every machine", () => {
  for (const { ids, stops } of [...prompts, ...turns]) {
    for (const { of, end, tail, groups } of stops) {
      assert.equal(tail.slice(0, ids.length - end), ids.slice(end, end + tail.length), of);
      assert.ok(groups.flat().every((i) => i > 0 && i < tail.length));
    }
  }
  const [first] = selectItems(prompts, { ...ALL, only: ["recall/passkey/1024/A"] });
  const [{ tail, groups }] = first!.stops as [Stop];
  assert.is(tokenizer.decode(groups[0]!.map((i) => tail[i]!)), " 84034");
  const [conversation] = selectItems(turns, { ...ALL, only: ["turns/facts/1024/C"] });
  const [stop] = conversation!.stops as [Stop];
  const said = tokenizer.decode([...stop.tail]);
  for (const group of stop.groups) {
    const value = tokenizer.decode(group.map((i) => stop.tail[i]!)).trim();
    assert.match(value, /^\d{5}$/);
    assert.ok(tokenizer.decode([...conversation!.ids.slice(0, stop.end)]).includes(` is ${value}.`), value);
    assert.ok(said.includes(value));
  }
  for (const end of stop.ends!) assert.ok(tokenizer.decode([...stop.tail.slice(0, end)]).endsWith("assistant\n"));
  assert.equal(splitAnswer("The magic numbers are 912941, 0839 and 9393."), [
    "The magic numbers are",
    " 912941, 0839 and 9393",
  ]);
  const modes = recallStops("recall/x/4", [1, 2, 3, 4], 2, [5, 6, 7], 2);
  assert.equal(
    modes.map(({ end, tail, groups }) => [end, tail, groups]),
    [
      [2, [3, 4, 5, 6, 7], [[3, 4]]],
      [3, [4, 5, 6, 7], [[2, 3]]],
    ],
  );
});

test("policies that choose by a file are measured where it is given, and only they are loaded with it", () => {
  const filters = new Uint8Array(8);
  assert.not.ok(measuredWith({}).some((name) => ["q-filter", "duo-attention", "razor"].includes(name)));
  assert.ok(measuredWith({ filters }).includes("q-filter"));
  const headScores = JSON.stringify({ kind: "razor" });
  assert.ok(measuredWith({ headScores }).includes("razor"));
  assert.not.ok(measuredWith({ headScores }).includes("duo-attention"));
  assert.is(variantsOf(["q-filter"], [0.5], { filters })[1]!.name, "q-filter@0.5");
  assert.throws(() => variantsOf(["razor"], [0.5], { filters }), /razor needs --head-scores FILE/);
  assert.equal(filesFor("q-filter", { filters, headScores }), { filters });
  assert.equal(filesFor("razor", { filters, headScores }), { headScores });
  assert.equal(filesFor("snapkv", { filters, headScores }), {});
});

test("what cannot be run is refused", async () => {
  assert.throws(() => parseFormat("q5"), /keys/);
  assert.throws(() => parseFormat("q4:q4:48"), /kvGroup/);
  assert.throws(() => variantsOf(["snapvk"], [0.5]), /no policy/);
  assert.throws(() => variantsOf(["snapkv+s4"], [0.5]), /no policy/);
  assert.throws(() => variantsOf(["q-filter"], [0.5]), /q-filter needs --filters FILE/);
  assert.throws(() => parseNumbers("1-x"), /numbers and ranges/);
  assert.throws(() => splitAnswer("No."), /no value/);
  assert.equal(splitPolicies("snapkv:window=32,kernel=7,key-diff+s4r64"), [
    "snapkv:window=32,kernel=7",
    "key-diff+s4r64",
  ]);
  // Pages whose scales belong to all of their slots have no policies: the whole prompt remains.
  const { cases } = await run({ items: ITEMS.slice(1, 2), formats: [parseFormat("q4:q4:64:64:off:channels")] });
  assert.equal(Object.keys(cases["recall/kv20/240/A"]!), ["q4:q4:64:64:off:channels full"]);
});

test("the whole prompt is held in the same pages, whatever policies are measured beside it", () => {
  const pagesFor = (policies: readonly string[]) => {
    const { options } = loadOptionsOf(parseFormat("q4"), variantsOf(policies, [0.5]));
    return cacheConfig(options);
  };
  const { policy: _, ...alone } = pagesFor([]);
  const { policy: __, ...beside } = pagesFor(["key-norm"]);
  assert.equal(alone, beside);
});

/** Two documents of one length, two prompts: figures that can be checked by hand. */
const BY_HAND: Cases = {
  "nll/reference/2048": {
    "q8 full": { "0": [1000, 2], "1": [1000, 3], "2": [1000, 9] },
    "q8 snapkv@0.5": { "0": [500, 2.1], "1": [500, 3.3] },
  },
  "recall/passkey/1024/A": {
    "q8 full": { "0": [800, 1, -0.1], "1": [800, 1, -0.1] },
    "q8 snapkv@0.5": { "0": [400, 0, -2], "1": [400, 1, -0.2] },
  },
};

test("figures by hand", () => {
  const near = (a: number, b: number): void => assert.ok(Math.abs(a - b) < 1e-12, `${a} ${b}`);
  near(estimate([1, 2, 3, 6]).mean, 3);
  near(estimate([1, 2, 3, 6]).error, Math.sqrt(14 / 3 / 4));
  assert.is(Number.isNaN(estimate([1]).error), true);
  const change = nllChange(BY_HAND, "nll/reference/2048", "q8 snapkv@0.5")!;
  near(change.mean, 0.2);
  near(change.error, 0.1);
  assert.is(change.n, 2);
  near(bytesShare(BY_HAND, "q8 snapkv@0.5"), 0.5);
  const names = [{ of: "recall/passkey/1024/A", measure: "recall", kind: "passkey", tokens: 1024, mode: "A" }] as const;
  near(found(BY_HAND, names, "q8 snapkv@0.5")!.mean, 0.5);
  near(kept(BY_HAND, "q8 snapkv@0.5")!, Math.exp(-0.2) * 0.5);
  const results = {
    model: "",
    runs: [],
    items: { "nll/reference/2048": 16, "recall/passkey/1024/A": 2 },
    cases: BY_HAND,
  };
  const overview = overviewTable(results);
  assert.match(overview, /nats, 2048 \| found, A \|/);
  assert.match(overview, /q8, all \| 100% \| 4\.667 \(3 of 16\) \| 1\.00 ± 0\.00 \| 100%/);
  assert.match(overview, /q8, snapkv 0\.5 \| 50% \| \+8\.00% ± 4\.00 \(2 of 16\) \| 0\.50 ± 0\.50 \| 41%/);
  assert.match(recallTable({ ...results, items: { "recall/passkey/1024/A": 5 } }, "A"), /passkey \(2 of 5\) \|/);

  assert.is(missingText(results), "Not measured, or in part: nll/reference/2048 (3 of 16).");
  assert.match(leastTable(BY_HAND), /\| 50% \| q8, all \| 100% \| 100% \|$/);

  const theirs = { full: { "0": 2, "1": 3 }, "snapkv@0.5": { "0": 2.1, "1": 3.1 } };
  const far = { ...theirs, "snapkv@0.5": { "0": 2.601, "1": 3.8 } };
  assert.match(
    referenceTable(BY_HAND, { "2048": theirs }),
    /^1 of 1 differences .*\| q8, snapkv 0\.5 \| \+0\.2000, \+0\.1000: \+0\.1000 ± 0\.1000 \|$/s,
  );
  assert.match(referenceTable(BY_HAND, { "2048": far }), /^0 of 1 differences .*\*\*\+0\.2000, .*\*\* \|$/s);
  assert.is(referenceTable(BY_HAND, {}), "");
});

test("a reference folder: its documents, its prompts, and its figures in our names", async () => {
  const folder = join(root, "reference");
  await mkdir(join(folder, "docs"), { recursive: true });
  const ids = Uint16Array.from({ length: 2 * 2400 }, (_, i) => i);
  const sample = {
    form: "magic_number",
    tokens: 1024,
    sample: 5,
    pre: [1, 2, 3],
    post: [4, 5],
    ans: [9, 8, 7, 6, 5, 4, 3],
  };
  const known = { "knorm+s4r64@0.5": { "0": 3 }, "duo_h0.25": { "0": 5 }, "simlayer_t0.9_r256": { "0": 6 } };
  const nll = { "2048": { full: { "0": 2 }, ...known, "cur@0.5": { "0": 4 } } };
  const table = (mode: string, cell: string): string =>
    `## Retrieval, form magic_number, mode ${mode}: text\n\n| variant | 1024 | all lengths |\n|---|---|---|\n` +
    `| full | 1.00±0.00 (-0.21) | – |\n| snapkv_w64k5@0.5 | ${cell} | – |\n| cur@0.5 | 1.00±0.00 (-0.2) | – |\n`;
  await Promise.all([
    writeFile(join(folder, "docs/docs.json"), JSON.stringify({ shape: [2, 2400] })),
    writeFile(join(folder, "docs/docs.u16"), ids),
    writeFile(join(folder, "docs/retrieval.json"), JSON.stringify({ samples: [sample] })),
    writeFile(join(folder, "quality_raw.json"), JSON.stringify({ nll })),
    writeFile(
      join(folder, "quality.md"),
      `# Figures\n${table("A", "0.14±0.10 (-1.61)")}\n${table("B", "–")}\n## Other\n`,
    ),
  ]);
  const items = await referenceItems(folder);
  assert.equal(
    items.map(({ name, stops }) => [name, stops.map(({ of, end }) => `${of} ${end}`)]),
    [
      ["0", ["nll/reference/2048 2048"]],
      ["1", ["nll/reference/2048 2048"]],
      ["5", ["recall/reference_magic_number/1024/A 3", "recall/reference_magic_number/1024/B 4"]],
    ],
  );
  assert.equal(items[1]!.stops[0]!.tail.slice(0, 2), [2400 + 2048, 2400 + 2049]);
  assert.is(items[1]!.stops[0]!.groups[0]!.length, 256);
  assert.equal(items[2]!.stops[0]!.groups, [[3, 4, 5, 6, 7, 8]]); // after the question and the one that is given
  const reference = await readReference(folder);
  const ours = {
    "key-norm+s4r64@0.5": { "0": 3 },
    "duo-attention:heads=0.25@0.5": { "0": 5 },
    "simlayerkv:threshold=0.9@0.87329": { "0": 6 }, // 259 of 2,048 stay
  };
  assert.equal(reference.nll, { "2048": { full: { "0": 2 }, ...ours } });
  assert.is(Math.floor(2048 * (1 - 0.87329)), 259);
  assert.equal(reference.recall, {
    "1024/A": { full: [1, 0], "snapkv@0.5": [0.14, 0.1] },
    "1024/B": { full: [1, 0] },
  });
  const cases = { "recall/reference_magic_number/1024/A": { "q8 snapkv@0.5": { "0": [9, 1, 0], "1": [9, 1, 0] } } };
  assert.match(referenceRecallTable(cases, reference.recall), /1\.00 ± 0\.00 \| 0\.14 ± 0\.10 \| \*\*no\*\* \| 2 \|$/);
});

test("plots have a curve for each policy, within their frame", () => {
  const plots = curvesOf({
    ...BY_HAND,
    "nll/reference/4096": { "q8 full": { "0": [1, 2] }, "q8 snapkv@0.9": { "0": [0.1, 3] } },
  });
  assert.equal(Object.keys(plots), ["nll", "recall-A"]);
  assert.equal(
    plots.nll!.curves.map(({ name }) => name),
    ["all, by pages", "snapkv"],
  );
  const svg = curvePlot(plots.nll!);
  assert.is(svg.match(/<circle/g)!.length, 3);
  for (const [, y] of svg.matchAll(/cy="([^"]+)"/g)) assert.ok(Number(y) >= 44 && Number(y) <= 368, y);
});

test.run();
