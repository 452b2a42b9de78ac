/**
 * Every policy on every form of pages at every budget, on a small random llama: one loop, in which each cell must keep what its
 * budget and dealing say, keep what is protected, keep the same in other chunks and in another build, leave books that add up,
 * and go on. Which slots are the best is the business of policy-formulas and policy-choices.
 *
 *   a cell = (policy, forms, budget): a fork of one prompt is evicted; the prompt itself is computed once for a (policy, forms)
 */
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Size } from "../../assembly/memory/status.ts";
import { CALIBRATION, calibrate } from "../../host/calibration.ts";
import { ThimbleError } from "../../host/errors.ts";
import { readHeader } from "../../host/gguf.ts";
import { modelDigest } from "../../host/head-scores.ts";
import { agesTwice, type CacheConfig, type CacheOptions } from "../../host/kv-cache.ts";
import { type EvictedSpan, Ledger } from "../../host/ledger.ts";
import type { LoadOptions } from "../../host/load-engine.ts";
import { loadFrom, type Model } from "../../host/model.ts";
import { planHeader } from "../../host/plan.ts";
import type { Platform } from "../../host/platform.ts";
import { POLICY_NAMES, type PolicyName, type PolicySpec, parsePolicy } from "../../host/policy.ts";
import { beginPrompt, endPrompt, heldPositions, promptRule } from "../../host/prompt-end.ts";
import { openSource } from "../../host/sources.ts";
import type { Keep } from "../../host/token-turn.ts";
import { type Audited, audit, auditEmpty, watchSessions } from "../cache/audit.ts";
import type { DecoderShape } from "../oracle/decoder.ts";
import { platform as node, randomIds, sameBits } from "./load.ts";
import { type Budget, checkDealing, guarded, streaming, sum, type Table } from "./policy-dealing.ts";
import { openRandom, randomWeights, writeModel } from "./random-llama.ts";

const test = suite("policies, forms, budgets");

/** Keys and values of a group of 64 dims or two of 32, not the same; two query heads a KV head. */
const SHAPE: DecoderShape = {
  nLayers: 2,
  hiddenDim: 32,
  ffnDim: 32,
  vocabSize: 40,
  nHeads: 4,
  sourceKvHeads: 2,
  nKvHeads: 2,
  keyDim: 48,
  valueDim: 40,
  grouping: "even",
  window: 0,
};
const { nLayers, nKvHeads } = SHAPE;
const HEADS = nLayers * nKvHeads;
const WEIGHTS = randomWeights(SHAPE, 31);
const FILE = writeModel(SHAPE, WEIGHTS);
const HEADER = await readHeader(openSource(FILE, "table.gguf"));
/** Sinks, pages in the cache's form, recent pages and an open one. */
const N = 100;
const CONTEXT = 192;
/** Tokens that go on behind it, past the end of a page, and the budget where they do; two elsewhere. */
const AFTER = 35;
const LONG = 80;
const IDS = randomIds(N + AFTER, SHAPE.vocabSize, 8);

/** Parameters for a prompt of 100 tokens; a policy that is new must be given a line. */
const PARAMETERS: Record<PolicyName, string> = {
  streaming: "",
  "duo-attention": "sinks=8,recent=50",
  razor: "sinks=4,recent=40",
  "key-norm": "",
  "key-diff": "",
  snapkv: "window=16",
  pyramidkv: "window=8,kernel=3,beta=4",
  adakv: "window=16,safeguard=0.3",
  criticalkv: "window=16",
  criticaladakv: "window=16,safeguard=0.3",
  "expected-attention": "future=50",
  "adakv-expected": "covariance=0",
  "criticalkv-expected": "",
  "q-filter": "",
  simlayerkv: "threshold=0", // all layers are lazy
  finch: "window=16",
  chunkkv: "window=16,chunk=10",
  "observed-attention": "",
  kvzip: "chunk=32",
  "kvzip-layerwise": "chunk=32",
  compactor: "chunk=32,sketch=12",
  leverage: "sketch=12",
  "non-causal-attention": "chunk=32",
  h2o: "",
  tova: "",
  lagkv: "sinks=3,lag=20",
};

/** What pages may look like with a policy. */
const FORMS: Record<string, CacheOptions> = {
  f32: { keys: "f32", values: "f32" },
  q8: { keys: "q8", values: "q8" },
  "q8, groups of 32, rotated": { keys: "q8", values: "q8", kvGroup: 32, kvRotation: true },
  "q8 in planes": { keys: "q8", values: "q8", kvFormat: "planes:0.1" },
  "q8, q4": { keys: "q8", values: "q4" },
  q4: { keys: "q4", values: "q4" },
  "q3, groups of 32, no sinks": { keys: "q3", values: "q3", kvGroup: 32, kvSinks: 0 },
};
/** What they may not: it belongs to a page or a head as a whole. */
const REFUSED = ["channels", "mean", "outliers:2", "factors", "salient:2", "heads:0.1"];

/** Tokens that stay in any case where `keep` is slots or bytes, and pins always. */
const SINKS = 8;
const WINDOW = 16;
const PIN = { first: 60, end: 63 };
const TABLE: Table = { nLayers, nKvHeads, tokens: N, pin: PIN, byScore: [1, 2, 3, 0] };
/** Of the pass that repeats a prompt; no part of these ids. */
const WORDING = { before: [1, 2], after: [3, 4], first: [5, 6], next: [7] };
const SIZES = { activations: "f32", contextLength: CONTEXT, kvWindow: 32 } as const;
const PASS = { host: { pause: async () => {} }, check: () => {} };

/** The plain build with the references, whose books can be read, and what this host would run. */
const modules = new Map<string, WebAssembly.Module>();
function compiled(path: string): WebAssembly.Module {
  const module = modules.get(path) ?? new WebAssembly.Module(readFileSync(path));
  modules.set(path, module);
  return module;
}
const CHECKED: Platform = { ...node, wasm: async () => compiled("build/wasm/test.wasm") };
const HOST: Platform = { ...node, wasm: async (name) => compiled(`dist/${name}.wasm`) };

/** What has to be calibrated, once for the model. */
const calibrated = openRandom(SHAPE, WEIGHTS, { contextLength: CONTEXT, ...CALIBRATION }).then(async (model) => {
  const filters = await calibrate(model, [IDS]);
  const digest = await modelDigest(model.calibrated);
  await model.close();
  const scores = [
    [0.9, 0.2],
    [0.3, 0.7],
  ];
  const scored = (kind: "duo" | "razor") =>
    ({ thimble: "head-scores", version: 1, kind, model: digest, tokens: 9, scores }) as const;
  const options: Partial<Record<PolicyName, LoadOptions>> = {
    "q-filter": { filters },
    "duo-attention": { headScores: scored("duo") },
    razor: { headScores: scored("razor") },
  };
  return options;
});

interface Opened {
  readonly model: Model;
  readonly policy: PolicySpec;
}

async function open(platform: Platform, name: PolicyName, given: LoadOptions): Promise<Opened> {
  const policy = PARAMETERS[name] === "" ? name : `${name}:${PARAMETERS[name]}`;
  const calibration = (await calibrated)[name];
  const options: LoadOptions = { ...SIZES, ...given, ...calibration, policy };
  const model = await loadFrom(platform, openSource(FILE, "table.gguf"), options);
  model.engine.wording = () => WORDING;
  return { model, policy: parsePolicy(policy) };
}

/** In the bytes that are planned for a prompt, its fork and a fork of that, and how to read the books. */
async function openChecked(name: PolicyName, forms: CacheOptions): Promise<Opened & { readonly audited: Audited }> {
  const policy = PARAMETERS[name] === "" ? name : `${name}:${PARAMETERS[name]}`;
  const { total } = planHeader(HEADER, { ...SIZES, ...forms, policy, sessions: 3 }).memory;
  const opened = await open(CHECKED, name, { ...forms, sessions: 3, variant: "simd", budget: total });
  const { engine, stats } = opened.model;
  return { ...opened, audited: { engine, plan: stats.plan, limit: total, open: watchSessions(engine) } };
}

/** Tokens [from, to); logits of the last one. */
function feed({ engine }: Model, session: number, from: number, to: number): Float32Array {
  const { maxRows } = engine.sizes;
  for (let at = from; at < to; at += maxRows) {
    const rows = IDS.slice(at, Math.min(to, at + maxRows)).map((input, i) => ({ session, input, position: at + i }));
    engine.forward(rows.map((row) => ({ ...row, logits: row.position === to - 1 })));
  }
  return engine.logits(0).slice();
}

/** A session that holds the prompt, all rows observed that are to be. */
function prompted(model: Model): number {
  const { engine } = model;
  const session = engine.openSession();
  beginPrompt(engine, session, 0);
  feed(model, session, 0, N);
  return session;
}

/** Fewest slots that a session may be given. */
function fewestSlots(policy: PolicySpec): number {
  const least = SINKS + WINDOW + Size.PAGE_SLOTS;
  return policy.dealing === "heads" ? Math.max(least, streaming(policy, CONTEXT)) : least;
}

/** Pages of each head that those take. */
function pagesFor(policy: PolicySpec): number {
  return Math.ceil(fewestSlots(policy) / Size.PAGE_SLOTS);
}

/** Bytes of so many pages of every head. */
function bytesOf({ stats }: Model, pages: number): number {
  return pages * HEADS * stats.plan.page;
}

/** Shares, and slots and bytes from the fewest on; nothing is protected where a share is asked for. */
function budgets(model: Model, policy: PolicySpec): Budget[] {
  const ratio = (goes: number): Budget => {
    const slots = Math.max(1, Math.floor(N * (1 - goes) + 1e-9));
    return { options: { keep: { ratio: goes } }, slots, share: 1 - goes, sinks: 0, window: 0 };
  };
  const guards = { sinks: SINKS, window: WINDOW };
  const counted = (keep: Keep, slots: number): Budget => {
    return { options: { keep, ...guards }, slots: Math.min(N, slots), share: Math.min(1, slots / N), ...guards };
  };
  const ratios = [0, 0.25, 0.5, 0.9, 0.999].map(ratio);
  const slots = [fewestSlots(policy), LONG].map((n) => counted({ slots: n }, n));
  if (policy.name === "simlayerkv") return [...ratios, ...slots]; // bytes hold for all layers
  const bytes = [pagesFor(policy), 4].map((n) =>
    counted({ bytes: bytesOf(model, n) + 7 * (n - 2) }, n * Size.PAGE_SLOTS),
  );
  return [...ratios, ...slots, ...bytes];
}

type Kept = readonly Uint32Array[];

/** Pages of the pool that heads hold; those of their own are the session's. */
function pooledPages(cache: CacheConfig, kept: Kept): number {
  const own = agesTwice(cache) ? cache.sinkPages + cache.recentPages : 0;
  return sum(kept.map(({ length }) => Math.max(0, Math.ceil(length / Size.PAGE_SLOTS) - own)));
}

/** What went is in the ledger, token by token and byte by byte, and pages are as many as the rest takes. */
function checkBytes(
  { model, policy }: Opened,
  session: number,
  { options }: Budget,
  spans: readonly EvictedSpan[],
  kept: Kept,
): void {
  const { engine, stats } = model;
  const ledger = new Ledger();
  ledger.add(spans, N, 0, policy.name);
  const missing = new Uint32Array(N).fill(HEADS);
  for (const position of kept.flatMap((positions) => [...positions])) missing[position]! -= 1;
  const slotBytes = stats.plan.page / Size.PAGE_SLOTS;
  assert.is(
    ledger.totals.bytes,
    sum(Array.from(missing, (heads) => Math.round(heads * slotBytes))),
    "the ledger's bytes",
  );
  assert.is(ledger.totals.tokens, missing.filter((heads) => heads > 0).length, "the ledger's tokens");
  const most = options.keep?.bytes;
  if (most !== undefined) {
    const taken = sum(kept.map(({ length }) => Math.ceil(length / Size.PAGE_SLOTS) * stats.plan.page));
    // Heads that do not keep alike may each begin one page more, and so may whole chunks.
    const isAlike = policy.dealing === "uniform" && policy.name !== "chunkkv";
    assert.ok(taken <= most + (isAlike ? 0 : bytesOf(model, 1)), `${taken} bytes`);
  }
  if (spans.length === 0) return; // its pages are as they were
  assert.is(engine.runtime.exports.sessionPages(session), pooledPages(engine.sizes.cache, kept), "pages of what stays");
}

/** It goes on, and so does a fork of it. */
function goOn(model: Model, session: number, n: number): Float32Array {
  const { engine } = model;
  const fork = engine.forkSession(session);
  const logits = feed(model, session, N, N + n);
  assert.ok(logits.every(Number.isFinite), "finite logits");
  assert.ok(sameBits(feed(model, fork, N, N + n), logits), "its fork goes on alike");
  engine.runtime.exports.sessionClose(fork);
  return logits;
}

/** What stays in a fork of the prompt, and what has gone. */
async function end({ model }: Opened, session: number, { options }: Budget) {
  const { engine } = model;
  const { exports } = engine.runtime;
  exports.sessionPin(session, PIN.first, PIN.end);
  const { spans } = await endPrompt(engine, session, promptRule(engine, options)!, IDS.slice(0, N), PASS);
  return { kept: heldPositions(engine, session), spans };
}

/** What a cell leaves: the same in any chunks and builds. */
interface Left {
  readonly kept: Kept;
  /** Behind the tokens that follow; undefined where it did not go on. */
  readonly logits: Float32Array | undefined;
}

type RunCell = (session: number, budget: Budget) => Promise<Left>;

function checkedCell(opened: Opened): RunCell {
  return async (session, budget) => {
    const { policy, model } = opened;
    const { kept, spans } = await end(opened, session, budget);
    checkDealing(TABLE, policy, budget, kept);
    const held = kept.map((positions) => new Set(positions));
    for (const position of guarded(TABLE, policy, budget)) {
      for (const [head, of] of held.entries()) assert.ok(of.has(position), `${position} stays in head ${head}`);
    }
    checkBytes(opened, session, budget, spans, kept);
    return { kept, logits: goOn(model, session, budget.slots === LONG ? AFTER : 2) };
  };
}

function plainCell(opened: Opened): RunCell {
  return async (session, budget) => {
    const { kept } = await end(opened, session, budget);
    return { kept, logits: budget.slots === LONG ? feed(opened.model, session, N, N + AFTER) : undefined };
  };
}

/** Budgets on forks of one prompt; `after` is called behind each. */
async function runBudgets(
  opened: Opened,
  where: string,
  which: readonly Budget[],
  run: RunCell,
  after = () => {},
): Promise<Left[]> {
  const { engine } = opened.model;
  const { exports } = engine.runtime;
  const parent = prompted(opened.model);
  const all: Left[] = [];
  for (const budget of which) {
    try {
      const session = engine.forkSession(parent);
      all.push(await run(session, budget));
      exports.sessionClose(session);
      after();
    } catch (cause) {
      throw new Error(`${where}, ${JSON.stringify(budget.options.keep)}: ${(cause as Error).message}`, { cause });
    }
  }
  exports.sessionClose(parent);
  assert.is(exports.poolFreePages(), exports.poolPages(), `${where}: no page is lost`);
  return all;
}

async function refusalOf(run: () => unknown): Promise<readonly [string, string | undefined]> {
  try {
    await run();
    return ["none", undefined];
  } catch (error) {
    const { code, subject } = error as ThimbleError;
    return [error instanceof ThimbleError ? code : String(error), subject];
  }
}

/** A budget below the tightest is refused; nothing is opened or taken for it. */
async function checkRefusals({ model, policy }: Opened, { open: sessions }: Audited): Promise<void> {
  const state = () => [sessions.size, model.engine.runtime.exports.poolPages(), model.stats.peakBytes];
  const before = state();
  for (const keep of [
    { ratio: 1 },
    { slots: fewestSlots(policy) - 1 },
    { bytes: bytesOf(model, pagesFor(policy)) - (policy.name === "simlayerkv" ? 0 : 1) },
  ]) {
    const refusal = await refusalOf(() => model.session({ keep, sinks: SINKS, window: WINDOW }));
    assert.equal(refusal, ["invalid_option", "keep"], `${policy.name}, ${JSON.stringify(keep)}`);
  }
  assert.equal(state(), before);
}

/** Scores are what chunks and builds could change, and a few budgets show it. */
function isCompared({ ratio, slots }: Keep): boolean {
  return ratio === 0.5 || ratio === 0.999 || slots !== undefined;
}

for (const [label, forms] of Object.entries(FORMS)) {
  test(`pages in ${label}: every policy, every budget`, async () => {
    for (const name of POLICY_NAMES) {
      const { audited, ...checked } = await openChecked(name, forms);
      await checkRefusals(checked, audited);
      const cells = budgets(checked.model, checked.policy);
      const all = await runBudgets(checked, `${name}, ${label}`, cells, checkedCell(checked), () => audit(audited));
      auditEmpty(audited);
      const plain = await open(HOST, name, { ...forms, chunk: 7 });
      const some = cells.filter(({ options }) => isCompared(options.keep!));
      const others = await runBudgets(plain, `${name}, ${label}, chunks of 7`, some, plainCell(plain));
      for (const [i, budget] of some.entries()) {
        const cell = `${name}, ${label}, ${JSON.stringify(budget.options.keep)}: chunks and build do not matter`;
        const { kept, logits } = all[cells.indexOf(budget)]!;
        assert.is(others[i]!.kept.join("; "), kept.join("; "), cell);
        assert.ok(others[i]!.logits === undefined || sameBits(others[i]!.logits, logits!), cell);
      }
      await Promise.all([checked.model.close(), plain.model.close()]);
    }
  });
}

test("what belongs to a page or a head as a whole does not go with any policy", async () => {
  for (const name of POLICY_NAMES) {
    for (const kvFormat of REFUSED) {
      const refused = await refusalOf(() => open(HOST, name, { keys: "q4", values: "q4", kvFormat }));
      assert.equal(refused, ["invalid_option", "kvFormat"], `${name}, ${kvFormat}`);
    }
  }
});

test.run();
