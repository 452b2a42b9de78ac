/**
 * The prompt slots that each policy keeps of 1,024, half of them, against those of kvpress 0.5.5 on the same weights
 * (THIMBLE_REFERENCE, policies/): mean Jaccard index over layers and KV heads at least 0.97 in float arithmetic, 0.93 in the
 * product's.
 */
import { existsSync, readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { digestsOf } from "../../host/capsule/digest.ts";
import { writeFilters } from "../../host/filters.ts";
import type { LoadOptions } from "../../host/load-engine.ts";
import type { Model } from "../../host/model.ts";
import { parsePolicy } from "../../host/policy.ts";
import { beginPrompt, evictPrompt, heldPositions } from "../../host/prompt-end.ts";
import { repeatContext } from "../../host/repeat.ts";
import { load } from "../model/load.ts";
import { modelPath, notRun, referencePath } from "./reference.ts";

/**
 * Policies and their files of the reference, by the policy that one prefill serves all of them with: CriticalKV observes
 * SnapKV's rows, which are what most of them look at, and has the room that it needs besides.
 */
const FILES: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  criticalkv: {
    streaming: "StreamingLLM",
    "key-norm": "Knorm",
    "key-diff": "KeyDiff",
    snapkv: "SnapKV",
    pyramidkv: "PyramidKV",
    adakv: "AdaKV_SnapKV",
    finch: "Finch",
    chunkkv: "ChunkKV_SnapKV",
    tova: "TOVA",
    lagkv: "LagKV",
    // With the heads that kvpress's formula finds on the reference's own texts.
    "duo-attention:heads=0.5": "DuoAttention",
    criticalkv: "CriticalKV_SnapKV",
    criticaladakv: "CriticalAdaKV_SnapKV",
    simlayerkv: "SimLayerKV",
  },
  "q-filter": { "q-filter": "QFilter" },
  "criticalkv-expected": {
    "expected-attention": "ExpectedAttention",
    "expected-attention:covariance=0": "ExpectedAttention_nocov",
    "adakv-expected": "AdaKV_Expected",
    "criticalkv-expected": "CriticalKV_Expected",
  },
  // These look at all rows of a prompt.
  "observed-attention": { "observed-attention": "ObservedAttention" },
  "non-causal-attention": { "non-causal-attention": "NonCausalAttn" },
  leverage: { leverage: "LeverageScore" },
  compactor: { compactor: "Compactor" },
  kvzip: { kvzip: "KVzip", "kvzip-layerwise": "KVzip_layerwise" },
};

/** Of the prompt, what heads keep; half where nothing is said. Lazy layers keep the 4 first and the 255 newest. */
const SHARES: Readonly<Record<string, number>> = { simlayerkv: 259 / 1024 };

/** Policies with a random matrix, ours being another one: two of ours agree to 0.798 and 0.859 (int8 arithmetic). */
const RANDOM: Readonly<Record<string, number>> = { leverage: 0.75, compactor: 0.8 };

const MODES: readonly (readonly [what: string, options: LoadOptions, least: number])[] = [
  ["float arithmetic", { keys: "f32", values: "f32", activations: "f32" }, 0.97],
  ["int8 arithmetic, q8 pages", { keys: "q8", values: "q8" }, 0.93],
];

/** The prompt once more; as in the reference, which takes the first tokens of a text without header for one. */
async function repeat(model: Model, session: number, ids: readonly number[]): Promise<number> {
  const { engine, platform } = model;
  const start = engine.wording!().before.length;
  const pass = { host: platform, check: () => {} };
  const policy = engine.sizes.cache.policy!;
  const { tokens, recent } = await repeatContext(engine, session, ids, policy, pass, { start, end: ids.length });
  console.log(`computed once more: ${tokens} tokens, from ${start} on`);
  return recent;
}

const folder = referencePath === undefined ? undefined : `${referencePath}/policies`;

if (modelPath === undefined) notRun("kept slots", "THIMBLE_SMOLLM2");
else if (folder === undefined || !existsSync(folder)) notRun("kept slots", "THIMBLE_REFERENCE");
else {
  const path: string = modelPath;
  const read = (name: string) => JSON.parse(readFileSync(`${folder}/${name}.json`, "utf8"));
  const prompt = read("prompt1024");
  const ids: readonly number[] = prompt.ids ?? prompt;

  /** The reference's own filters, as a file for the model as these options load it. */
  const referenceFilters = async (options: LoadOptions): Promise<Uint8Array> => {
    await using model = await load(path, { ...options, contextLength: 32 });
    const { engine, header, config, stats } = model;
    const digests = await digestsOf({ engine, header, activations: stats.activations });
    const bytes = readFileSync(`${referencePath}/calib/qfilter.f32`);
    const values = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
    return writeFilters({ model: digests.model, values }, config);
  };
  const runs = MODES.flatMap((mode) => Object.entries(FILES).map((files) => ({ mode, files })));
  for (const { mode, files } of runs) {
    const [what, options, least] = mode;
    const [first, policies] = files;
    test(`half of 1,024 slots by ${first} and others, ${what}`, async () => {
      const filters = first === "q-filter" ? { filters: await referenceFilters(options) } : {};
      const contextLength = first === "kvzip" ? 2176 : 1088;
      await using model = await load(path, { ...options, ...filters, contextLength, policy: first });
      const { engine } = model;
      const { exports } = engine.runtime;
      engine.headScores = JSON.parse(readFileSync(`${folder}/../quality_raw.json`, "utf8")).calib.duo_scores.flat();
      const prefilled = engine.openSession();
      beginPrompt(engine, prefilled, 0);
      for (let at = 0; at < ids.length; at += 64) {
        model.forward(ids.slice(at, at + 64).map((input, i) => ({ session: prefilled, input, position: at + i })));
      }
      const recent = first === "kvzip" ? await repeat(model, prefilled, ids) : 0;
      for (const [policy, file] of Object.entries(policies)) {
        const session = engine.forkSession(prefilled);
        const share = SHARES[policy] ?? 0.5;
        evictPrompt(engine, session, { keep: { share }, sinks: 0, window: 0 }, parsePolicy(policy), recent);
        const expected: readonly (readonly number[])[] = read(`${file}_0.5`).kept.flat();
        const indices = heldPositions(engine, session).map((kept, head) => {
          const theirs = new Set(expected[head]);
          const both = kept.filter((position) => theirs.has(position)).length;
          return both / (kept.length + theirs.size - both);
        });
        const mean = indices.reduce((a, b) => a + b) / indices.length;
        console.log(`${policy}, ${what}: ${mean.toFixed(4)}, the least ${Math.min(...indices).toFixed(4)}`);
        assert.ok(mean >= (RANDOM[policy] ?? least), `${policy}: ${mean}`);
        exports.sessionClose(session);
      }
    });
  }
}

test.run();
