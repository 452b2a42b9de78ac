/**
 * `npm run bench:stream-policies -- [options]`: what policies keep while streaming, at the same size: nats of an endless text, and
 * needles that are asked for when more has gone by than the session holds. The same text and needles under each policy, so that
 * nats are compared block by block. Goes on where it was left; docs/streaming.md is written after each policy.
 * @module
 */
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { Size } from "../assembly/memory/status.ts";
import { openFile } from "../bindings/node/file-source.ts";
import type { LoadOptions } from "../host/load-engine.ts";
import { loadFrom } from "../host/model.ts";
import { perplexity } from "../host/perplexity.ts";
import { POLICY_NAMES, parsePolicy } from "../host/policy.ts";
import { describeMachine } from "./lib/results.ts";
import { platform } from "./ours.ts";
import { NEEDLE_FORMS, type NeedleForm, needles } from "./stream/needles.ts";
import { FOLDER, type PolicyResults } from "./stream/policy-results.ts";
import { fillers } from "./stream/text.ts";

/** They choose by files that are made of texts; simlayerkv cannot hold a session to a size. */
const LEFT_OUT = ["q-filter", "duo-attention", "razor", "simlayerkv"];
const USAGE = `npm run bench:stream-policies -- [options]
  --model FILE     GGUF file (default the embedded model)
  --policies LIST  default all but ${LEFT_OUT.join(", ")}
  --tokens N       tokens that go through (default 12000)
  --slots N        tokens that each KV head holds at most, on average (default 960: 7% of the f16 bytes of 4,096 in 4-bit pages)
  --context N      tokens that a head can hold where heads differ (default 512 beyond the slots)
  --keys FORM --values FORM   (default q4)
  --needles N      needles for each distance (default 3)
  --ask FORM       of the needles: ${Object.keys(NEEDLE_FORMS).join(", ")} (default pass-key, which the embedded model knows)`;

const { values } = parseArgs({
  options: {
    model: { type: "string", default: "models/thimble-15m.Q4_0.gguf" },
    policies: { type: "string" },
    tokens: { type: "string", default: "12000" },
    slots: { type: "string", default: "960" },
    context: { type: "string" },
    keys: { type: "string", default: "q4" },
    values: { type: "string", default: "q4" },
    needles: { type: "string", default: "3" },
    ask: { type: "string", default: "pass-key" },
    help: { type: "boolean", default: false },
  },
});

const BLOCK = 500;
const DISTANCES = [512, 1024, 2048, 4096];
/** Tokens whose keys and values in f16 are the whole that shares are of. */
const WHOLE = 4096;

async function main(): Promise<void> {
  const [slots, tokens, count] = [values.slots, values.tokens, values.needles].map(Number) as [number, number, number];
  const context = Number(values.context ?? slots + 512);
  const forms = `${values.keys}:${values.values}`;
  const form = values.ask as NeedleForm;
  if (!Object.hasOwn(NEEDLE_FORMS, form))
    throw new RangeError(`--ask ${form}: ${Object.keys(NEEDLE_FORMS).join(" or ")}`);
  const name = basename(values.model, ".gguf");
  const file = join(FOLDER, `${name}-${slots}-${forms.replace(":", "-")}.json`);
  const known = JSON.parse(await readFile(file, "utf8").catch(() => "{}")) as Partial<PolicyResults>;
  const { cpu, cores, os, node } = await describeMachine();
  const all = known.tokens === tokens ? [...(known.policies ?? [])] : [];
  const names = values.policies?.split(/,(?![a-z]+=)/) ?? POLICY_NAMES.filter((name) => !LEFT_OUT.includes(name));
  await mkdir(FOLDER, { recursive: true });
  for (const policy of names.filter((policy) => !all.some((one) => one.policy === policy && one.context === context))) {
    const { keys, values: kept } = values as unknown as LoadOptions & { keys: string };
    const options = { contextLength: context, policy, keys, values: kept } as LoadOptions;
    await using model = await loadFrom(platform, await openFile(values.model), options);
    const ids = await fillers(model, tokens);
    console.error(`${policy}: ${ids.length} tokens through ${slots} slots`);
    const { nll } = await perplexity(model, ids, { overflow: "evict", keep: { slots } });
    const from = 2 * slots;
    const nats = Array.from({ length: Math.floor((nll.length - from) / BLOCK) }, (_, i) =>
      mean(nll.slice(from + i * BLOCK, from + (i + 1) * BLOCK)),
    );
    const found = await needles(model, ids, { slots, count, distances: DISTANCES, form });
    const machine = `${cpu}, ${cores} cores, ${os}, Node ${node}, ${model.stats.variant}`;
    const { nLayers, nKvHeads, keyDim, valueDim } = model.config;
    const nHeads = nLayers * nKvHeads;
    const state = parsePolicy(policy).observed ? 4 * (context + Size.PAGE_SLOTS) : 0; // for all that a head can hold
    const bytes = nHeads * ((slots * model.stats.plan.page) / Size.PAGE_SLOTS + state);
    all.push({ policy, context, date: new Date().toISOString().slice(0, 10), machine, bytes, nats, found });
    const results: PolicyResults = {
      ...{ model: name, slots, forms, tokens, policies: all },
      command: `npm run bench:stream-policies -- --model ${basename(values.model)} --tokens ${tokens} --slots ${slots} --keys ${keys} --values ${kept}${form === "pass-key" ? "" : ` --ask ${form}`}`,
      f16Bytes: WHOLE * nHeads * (keyDim + valueDim) * 2,
    };
    await writeFile(`${file}.part`, `${JSON.stringify(results, null, 1)}\n`);
    await rename(`${file}.part`, file);
  }
}

function mean(of: readonly number[]): number {
  return of.reduce((sum, x) => sum + x, 0) / of.length;
}

if (values.help) console.log(USAGE);
else await main();
