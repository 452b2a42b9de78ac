/**
 * Runs drawn lives of sessions (session-operation.ts), each on a fresh model with little memory. The drawing
 * depends on the seed alone: a seed is some hundreds of operations, and a long run goes from one seed to the next.
 * @module
 */
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { openFile } from "../../bindings/node/file-source.ts";
import { readHeader } from "../../host/gguf.ts";
import type { CacheOptions } from "../../host/kv-cache.ts";
import type { LoadOptions } from "../../host/load-engine.ts";
import type { Model } from "../../host/model.ts";
import { LADDER, planHeader } from "../../host/plan.ts";
import type { Platform } from "../../host/platform.ts";
import { platform as node } from "../model/load.ts";
import { arbitraryLife, type Life, type Setup } from "./session-operation.ts";
import { loadTalking, Oracle } from "./session-oracle.ts";
import type { Tally } from "./session-record.ts";
import { World } from "./session-world.ts";

const FOLDER = "test/golden/architectures";
/** Full attention, a sliding window, and layers of both kinds. */
const MODELS = ["llama", "mistral-swa", "gemma3"].map((name) => `${FOLDER}/${name}.f32.gguf`);
/** The ladder, and a head whose pages have a size of their own. */
const FORMS: readonly CacheOptions[] = [...LADDER, { keys: "q4", values: "q3", kvSinks: 0, kvFormat: "heads:0.0/1.0" }];
/** What chooses which part of a prompt stays; with heads of their own there is none. */
const POLICIES = [undefined, undefined, "key-diff", "snapkv:window=16", "adakv:window=20", "chunkkv:window=8"] as const;
/** With and without slots that no page of 32 can have. */
const CONTEXTS = [250, 224] as const;
const WASM_PAGE = 65_536;
/** Operations of a life, at most. */
const MOST_OPERATIONS = 200;

const module = new WebAssembly.Module(readFileSync("build/wasm/test.wasm"));
let ticks = 0;

/** Time that passes when it is looked at, so that a quota ends a turn at the same token every time. */
const platform: Platform = {
  ...node,
  wasm: async () => module,
  now: () => ++ticks,
  pause: async () => {},
};

const headers = await Promise.all(
  MODELS.map(async (path) => {
    const file = await openFile(path);
    try {
      return await readHeader(file);
    } finally {
      await file.close();
    }
  }),
);

const oracles = new Map<string, Promise<Oracle>>();

function optionsOf({ forms, policy, context, chunk }: Setup): LoadOptions {
  const cache = FORMS[forms]!;
  const choosing = cache.kvFormat === undefined ? POLICIES[policy] : undefined;
  const contextLength = CONTEXTS[context]!;
  return {
    ...cache,
    ...(choosing && { policy: choosing }),
    ...{ contextLength, chunk, maxOutputs: 5, kvWindow: 32, variant: "simd" },
  };
}

/** The same model without a budget; its chunk does not matter to the bits, which is part of what is compared. */
function oracleOf(setup: Setup): Promise<Oracle> {
  const key = [setup.model, setup.forms, setup.policy, setup.context].join(" ");
  const oracle =
    oracles.get(key) ??
    loadTalking(platform, MODELS[setup.model]!, optionsOf({ ...setup, chunk: 64 })).then((model) => new Oracle(model));
  oracles.set(key, oracle);
  return oracle;
}

/** A model that has room for one full session and a little more; prompts go in chunks, or where a policy chooses layer by layer. */
function loadTight(setup: Setup): Promise<Model> {
  const given = optionsOf(setup);
  const byLayers = given.policy !== undefined && setup.chunk % 2 === 1;
  const options: LoadOptions = byLayers ? { ...given, prompts: "layers", keep: { ratio: 0.5 } } : given;
  const { total } = planHeader(headers[setup.model]!, options).memory;
  return loadTalking(platform, MODELS[setup.model]!, { ...options, budget: total + setup.extra * WASM_PAGE + 12_345 });
}

async function runLife({ setup, operations }: Life, tally: Tally): Promise<void> {
  ticks = 0;
  const model = await loadTight(setup);
  await new World(model, await oracleOf(setup), tally).live(operations);
  await model.close();
}

const lives = arbitraryLife(
  { model: MODELS.length, forms: FORMS.length, policy: POLICIES.length, context: CONTEXTS.length },
  MOST_OPERATIONS,
);

/** Lives of one seed: some hundreds of operations. */
const LIVES = 4;

export interface SessionFuzz {
  readonly seed: number;
  /** Seeds from this one on are run until so many operations are done. */
  readonly operations: number;
  /** What happened is counted here. */
  readonly tally: Tally;
  /** Called after each seed. */
  readonly onSeed?: (seed: number, done: number) => void;
}

/**
 * @returns how many operations were run
 * @throws Error with the smallest life that fails, and why
 */
export async function fuzzSessions({ seed: first, operations, tally, onSeed }: SessionFuzz): Promise<number> {
  let done = 0;
  for (let seed = first; done < operations; ++seed) {
    const property = fc.asyncProperty(lives, async (life) => {
      await runLife(life, tally);
      done += life.operations.length;
    });
    const details = await fc.check(property, { seed, numRuns: LIVES });
    if (details.failed) {
      const smallest = JSON.stringify(details.counterexample?.[0]);
      throw new Error(`seed ${seed}: the life ${smallest} fails: ${reasons(details.errorInstance)}`);
    }
    onSeed?.(seed, done);
  }
  return done;
}

/** An error and what caused it. */
function reasons(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return `${error.stack}${error.cause === undefined ? "" : `\nbecause of ${reasons(error.cause)}`}`;
}
