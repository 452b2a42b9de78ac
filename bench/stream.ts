/**
 * `npm run bench:stream -- [options]`: does an endless stream stay what it was? Tokens without end go through a session of a
 * fixed size, under each policy: memory, tokens a second and nats by tenths of the way, and needles that are asked for after so
 * many tokens. Rates are held against a session of fixed length that is computed in between, nats against a session that begins
 * with each tenth. Results are kept in bench/results/stream.json by policy, and docs/streaming.md is written after each.
 * @module
 */
import { readFile, writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { openFile } from "../bindings/node/file-source.ts";
import { loadFrom, type Model } from "../host/model.ts";
import { perplexity } from "../host/perplexity.ts";
import { describeMachine } from "./lib/results.ts";
import { median } from "./lib/statistics.ts";
import { platform } from "./ours.ts";
import { reportStream } from "./report/stream.ts";
import { type Found, needles } from "./stream/needles.ts";
import { readPolicies } from "./stream/policy-results.ts";
import { fillers } from "./stream/text.ts";

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
/** Tokens between marks, and tokens computed of the session of fixed length at each. */
const PIECE = 500;
const YARDSTICK = 256;
/** Tokens of a tenth that are graded in a session which begins with it, when it has held twice what it may. */
const GRADED = 4096;

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
  /** Tokens in the time in which the session of fixed length takes one, median. */
  readonly paces: readonly number[];
  readonly nats: readonly number[];
  /** Nats of some of its tokens beyond those of a session that begins with the tenth, and the standard error. */
  readonly beyond: readonly { readonly mean: number; readonly error: number }[];
  readonly wasmBytes: readonly number[];
  readonly rssBytes: readonly number[];
  /** Share of needles found, by distance. */
  readonly found: readonly Found[];
}

/** A session of fixed length: says how fast the machine is now. */
class Yardstick {
  readonly #model: Model;
  readonly #session: number;
  readonly #ids: readonly number[];
  readonly #length: number;

  constructor(model: Model, ids: readonly number[], slots: number) {
    this.#model = model;
    this.#session = model.engine.openSession();
    this.#length = Math.floor(slots / 2);
    this.#ids = ids.slice(0, this.#length + YARDSTICK);
    this.#feed(this.#session, 0, this.#length);
  }

  /** Milliseconds of YARDSTICK tokens, in a fork: pages of every form could not be cut back. */
  measure(): number {
    const fork = this.#model.engine.forkSession(this.#session);
    const start = performance.now();
    this.#feed(fork, this.#length, this.#ids.length);
    const elapsed = performance.now() - start;
    this.#model.engine.runtime.exports.sessionClose(fork);
    return elapsed;
  }

  close(): void {
    this.#model.engine.runtime.exports.sessionClose(this.#session);
  }

  #feed(session: number, from: number, to: number): void {
    const { maxRows } = this.#model.engine.sizes;
    for (let at = from; at < to; at += maxRows) {
      const rows = this.#ids.slice(at, Math.min(to, at + maxRows));
      this.#model.forward(rows.map((input, i) => ({ session, input, position: at + i })));
    }
  }
}

interface Mark {
  readonly done: number;
  /** Milliseconds of the tokens since the mark before, and of the yardstick after them. */
  readonly took: number;
  readonly yard: number;
  readonly rss: number;
  readonly wasm: number;
}

async function flatness(model: Model, ids: readonly number[], slots: number) {
  const marks: Mark[] = [];
  const yardstick = new Yardstick(model, ids, slots);
  const start = performance.now();
  let last = { done: 0, at: start };
  const { nll } = await perplexity(model, ids, {
    overflow: "evict",
    keep: { slots },
    onProgress: (done) => {
      if (done < last.done + PIECE) return;
      const took = ((performance.now() - last.at) * PIECE) / (done - last.done);
      const yard = yardstick.measure();
      marks.push({ done, took, yard, rss: process.memoryUsage.rss(), wasm: model.stats.peakBytes });
      last = { done, at: performance.now() };
      if (marks.length % 20 === 0) {
        process.stderr.write(`\r${done} of ${ids.length} tokens, ${Math.round((last.at - start) / 1000)} s `);
      }
    },
  });
  yardstick.close();
  process.stderr.write("\n");
  const tenths = Array.from({ length: PARTS }, (_, i) => [i / PARTS, (i + 1) / PARTS].map((x) => x * ids.length));
  const within = ([low, high]: number[]) => marks.filter(({ done }) => done > low! && done <= high!);
  const rates = tenths.map((tenth) => median(within(tenth).map(({ took }) => (PIECE * 1000) / took)));
  const paces = tenths.map((tenth) => median(within(tenth).map(({ took, yard }) => PIECE / took / (YARDSTICK / yard))));
  const nats = tenths.map(([low, high]) => mean(nll.slice(Math.floor(low!), Math.floor(high!))));
  const beyond: { mean: number; error: number }[] = [];
  for (const [low] of tenths) beyond.push(await beyondFresh(model, ids, nll, Math.floor(low!), slots));
  const ends = tenths.map((tenth) => within(tenth).at(-1)!);
  return { rates, paces, nats, beyond, wasmBytes: ends.map(({ wasm }) => wasm), rssBytes: ends.map(({ rss }) => rss) };
}

/** What the stream pays for tokens behind `low`, beyond what a session pays that begins there. */
async function beyondFresh(model: Model, ids: readonly number[], nll: readonly number[], low: number, slots: number) {
  const part = ids.slice(low, low + 2 * slots + GRADED);
  const fresh = await perplexity(model, part, { overflow: "evict", keep: { slots }, from: 2 * slots });
  const apart = fresh.nll.map((x, i) => nll[low + 2 * slots + i - 1]! - x);
  const middle = mean(apart);
  const variance = mean(apart.map((x) => (x - middle) ** 2));
  return { mean: middle, error: Math.sqrt(variance / apart.length) };
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, x) => sum + x, 0) / values.length;
}

/** In place of an earlier result of the same, if there is one. */
async function keep(known: StreamResult[], result: StreamResult): Promise<void> {
  const isSame = ({ policy, slots, forms }: StreamResult): boolean =>
    policy === result.policy && slots === result.slots && forms === result.forms;
  const at = known.findIndex(isSame);
  known.splice(at < 0 ? known.length : at, at < 0 ? 0 : 1, result);
  await writeFile(RESULTS, `${JSON.stringify(known, null, 1)}\n`);
  await writeReport(known);
}

async function writeReport(known: readonly StreamResult[]): Promise<void> {
  await writeFile("docs/streaming.md", reportStream(known, await readPolicies()));
}

async function main(): Promise<void> {
  const known = JSON.parse(await readFile(RESULTS, "utf8").catch(() => "[]")) as StreamResult[];
  const slots = Number(values.slots);
  const { cpu, cores, os, node } = await describeMachine();
  const names = values.report ? [] : values.policies.split(/,(?![a-z]+=)/);
  for (const policy of names) {
    const options = { contextLength: slots + 512, policy, keys: values.keys, values: values.values } as never;
    await using model = await loadFrom(platform, await openFile(FILE), options);
    const ids = await fillers(model, Number(values.tokens));
    console.error(`${policy}: ${ids.length} tokens through ${slots} slots`);
    const result: StreamResult = {
      ...{ policy, date: new Date().toISOString().slice(0, 10), tokens: ids.length, slots },
      ...(await flatness(model, ids, slots)),
      found: [],
      command: `npm run bench:stream -- --tokens ${values.tokens} --slots ${slots} --keys ${values.keys} --values ${values.values}`,
      machine: `${cpu}, ${cores} cores, ${os}, Node ${node}, ${model.stats.variant}`,
      forms: `${values.keys}:${values.values}`,
    };
    await keep(known, result);
    await keep(known, {
      ...result,
      found: await needles(model, ids, { slots, count: Number(values.needles), distances: DISTANCES }),
    });
  }
  if (names.length === 0) await writeReport(known);
}

if (values.help) console.log(USAGE);
else await main();
