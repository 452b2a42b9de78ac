/**
 * `npm run bench:stream -- [options]`: does an endless stream stay what it was? Tokens without end go through a session of a
 * fixed size, under each policy: memory, tokens a second and nats by tenths of the way, and needles that are asked for after so
 * many tokens. Results are kept in bench/results/stream.json by policy; `--report` writes docs/streaming.md from them.
 * @module
 */
import { readFile, writeFile } from "node:fs/promises";
import { arch, version } from "node:os";
import { parseArgs } from "node:util";
import { openFile } from "../bindings/node/file-source.ts";
import { loadFrom, type Model } from "../host/model.ts";
import { perplexity } from "../host/perplexity.ts";
import { median } from "./lib/statistics.ts";
import { platform } from "./ours.ts";
import { encodeParts } from "./quality/eval-items.ts";
import { reportStream } from "./report/stream.ts";

const USAGE = `npm run bench:stream -- [options]
  --policies LIST  what the session is thinned by (default streaming,h2o,kvzip,snapkv,key-diff,expected-attention)
  --tokens N       tokens that go through (default 200000)
  --slots N        tokens that each KV head holds at most, on average (default 1024)
  --keys FORM --values FORM   (default q8)
  --needles N      needles for each distance (default 6); 0: none
  --report         only write docs/streaming.md`;

const { values } = parseArgs({
  options: {
    policies: { type: "string", default: "streaming,h2o,kvzip,snapkv,key-diff,expected-attention" },
    tokens: { type: "string", default: "200000" },
    slots: { type: "string", default: "1024" },
    keys: { type: "string", default: "q8" },
    values: { type: "string", default: "q8" },
    needles: { type: "string", default: "6" },
    report: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

const FILE = "models/thimble-15m.Q4_0.gguf";
const RESULTS = "bench/results/stream.json";
const PARTS = 10;
const DISTANCES = [256, 512, 1024, 2048, 4096, 8192, 16384];
/** Tokens before a needle. */
const BEFORE = 300;

export interface StreamResult {
  readonly policy: string;
  readonly date: string;
  readonly command: string;
  readonly machine: string;
  readonly tokens: number;
  readonly slots: number;
  readonly forms: string;
  /** Of each tenth: median tokens a second, mean nats, bytes of WebAssembly memory and resident ones at its end. */
  readonly rates: readonly number[];
  readonly nats: readonly number[];
  readonly wasmBytes: readonly number[];
  readonly rssBytes: readonly number[];
  /** Share of needles found, by distance. */
  readonly found: readonly { readonly distance: number; readonly found: number; readonly of: number }[];
}

/** The filler of our longest retrieval prompts, one after the other; none is repeated. */
async function fillers(model: Model, tokens: number): Promise<number[]> {
  const lines = (await readFile("models/eval/retrieval.jsonl", "utf8")).trim().split("\n");
  const prompts = lines.map((line) => JSON.parse(line) as { prompt: string; context_tokens: number });
  const seen = new Set<string>();
  const ids: number[] = [];
  for (const { prompt } of prompts.sort((a, b) => b.context_tokens - a.context_tokens)) {
    const body = prompt.slice(prompt.indexOf("\n\n") + 2, prompt.lastIndexOf("\n\n"));
    const sentences = body.split(/(?<=[.!?]) /).filter((sentence) => !seen.has(sentence) && !/\d/.test(sentence));
    for (const sentence of sentences) seen.add(sentence);
    ids.push(...model.tokenizer.encode(` ${sentences.join(" ")}`));
    if (ids.length >= tokens) return ids.slice(0, tokens);
  }
  // More than there is: from the beginning again, far beyond what any session still holds.
  for (let i = 0; ids.length < tokens; ++i) ids.push(ids[i]!);
  return ids;
}

async function flatness(model: Model, ids: readonly number[], slots: number) {
  const marks: { done: number; at: number; rss: number; wasm: number }[] = [];
  const start = performance.now();
  const { nll } = await perplexity(model, ids, {
    overflow: "evict",
    keep: { slots },
    onProgress: (done) => {
      if (done < (marks.at(-1)?.done ?? 0) + 500) return;
      marks.push({ done, at: performance.now(), rss: process.memoryUsage.rss(), wasm: model.stats.peakBytes });
      if (marks.length % 20 === 0) {
        process.stderr.write(`\r${done} of ${ids.length} tokens, ${Math.round((performance.now() - start) / 1000)} s `);
      }
    },
  });
  process.stderr.write("\n");
  const tenths = Array.from({ length: PARTS }, (_, i) => [i / PARTS, (i + 1) / PARTS].map((x) => x * ids.length));
  const within = ([low, high]: number[]) => marks.filter(({ done }) => done > low! && done <= high!);
  const rates = tenths.map((tenth) => {
    const of = within(tenth);
    return median(of.slice(1).map((mark, i) => ((mark.done - of[i]!.done) * 1000) / (mark.at - of[i]!.at)));
  });
  const nats = tenths.map(([low, high]) => {
    const part = nll.slice(Math.floor(low!), Math.floor(high!));
    return part.reduce((sum, x) => sum + x, 0) / part.length;
  });
  const last = tenths.map((tenth) => within(tenth).at(-1)!);
  return { rates, nats, wasmBytes: last.map(({ wasm }) => wasm), rssBytes: last.map(({ rss }) => rss) };
}

async function needles(model: Model, filler: readonly number[], slots: number, count: number) {
  const found: { distance: number; found: number; of: number }[] = [];
  for (const distance of DISTANCES) {
    let hits = 0;
    for (let n = 0; n < count; ++n) {
      const key = String(10_000 + ((n * 7919 + distance * 104_729) % 90_000));
      const from = (n * 9973 + distance) % Math.max(1, filler.length - distance - BEFORE);
      const head = "<|im_start|>user\nThere is important information hidden in this text. Find it and remember it.\n\n";
      const needle = ` The pass key is ${key}. Remember it. ${key} is the pass key.`;
      const asked = "\n\nWhat is the pass key?<|im_end|>\n<|im_start|>assistant\nThe pass key is";
      const encode = (text: string): number[] => encodeParts(model.tokenizer, [text])[0]!;
      const ids = [
        ...encode(head),
        ...filler.slice(from, from + BEFORE),
        ...encode(needle),
        ...filler.slice(from + BEFORE, from + BEFORE + distance),
      ];
      const session = model.session({ overflow: "evict", keep: { slots } });
      await session.complete({ ids }, { maxTokens: 0 });
      const { text } = await session.complete({ ids: encode(asked) }, { maxTokens: 6, temperature: 0 });
      if (text.trim().startsWith(key)) hits += 1;
      session.close();
    }
    found.push({ distance, found: hits, of: count });
    console.error(`needles behind ${distance} tokens: ${hits} of ${count}`);
  }
  return found;
}

async function main(): Promise<void> {
  const known = JSON.parse(await readFile(RESULTS, "utf8").catch(() => "[]")) as StreamResult[];
  const slots = Number(values.slots);
  const names = values.report ? [] : values.policies.split(/,(?![a-z]+=)/);
  for (const policy of names) {
    const options = { contextLength: slots + 512, policy, keys: values.keys, values: values.values } as never;
    await using model = await loadFrom(platform, await openFile(FILE), options);
    const ids = await fillers(model, Number(values.tokens));
    console.error(`${policy}: ${ids.length} tokens through ${slots} slots`);
    const flat = await flatness(model, ids, slots);
    const found = await needles(model, ids, slots, Number(values.needles));
    const result: StreamResult = {
      ...{ policy, date: new Date().toISOString().slice(0, 10), tokens: ids.length, slots, ...flat, found },
      command: `npm run bench:stream -- --tokens ${values.tokens} --slots ${slots} --keys ${values.keys} --values ${values.values}`,
      machine: `${arch()}, ${version().split(" ")[0]}, Node ${process.version}, ${model.stats.variant}`,
      forms: `${values.keys}:${values.values}`,
    };
    const isSame = (other: StreamResult): boolean =>
      other.policy === policy && other.slots === slots && other.forms === result.forms;
    const at = known.findIndex(isSame);
    known.splice(at < 0 ? known.length : at, at < 0 ? 0 : 1, result);
    await writeFile(RESULTS, `${JSON.stringify(known, null, 1)}\n`);
  }
  await writeFile("docs/streaming.md", reportStream(known));
}

if (values.help) console.log(USAGE);
else await main();
