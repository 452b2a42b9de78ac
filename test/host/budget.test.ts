/** The plan made from the header equals the arena, byte for byte, whatever the sizes; and memory never grows beyond it. */
import { readdirSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { describeModel } from "../../host/architecture.ts";
import { planMemory, type RunSizes } from "../../host/budget.ts";
import { DEFAULT_MODEL, load } from "../model/load.ts";

const FOLDER = "test/golden/architectures";
const MODELS = [DEFAULT_MODEL, `${FOLDER}/llama.f32.gguf`, `${FOLDER}/llama.q8_0.gguf`];
/** One of every family, for what its own tensors, tables and windows take. */
const FAMILIES = readdirSync(FOLDER)
  .filter((name) => name.endsWith(".f32.gguf"))
  .sort()
  .map((name) => `${FOLDER}/${name}`);

const ACTIVATIONS = ["int8", "f32"] as const;
/** Context length, chunk, rows with outputs. */
type Size = readonly [number, number, number];
const SIZES: readonly Size[] = [
  [256, 64, 8],
  [33, 1, 1],
  [100, 130, 130],
];
/** Contexts that are longer than what sliding windows keep. */
const FAMILY_SIZES: readonly Size[] = [
  [250, 64, 8],
  [200, 1, 1],
  [150, 130, 130],
];

function check(path: string, activations: (typeof ACTIVATIONS)[number], size: Size): void {
  const [contextLength, chunk, maxOutputs] = size;
  test(`${path}, ${activations}, context ${contextLength}, chunk ${chunk}`, async () => {
    const model = await load(path, { contextLength, chunk, maxOutputs, activations });
    const { exports } = model.engine.runtime;
    const sizes: RunSizes = { contextLength, maxRows: chunk, maxOutputs };
    const architecture = describeModel(model.header, { contextLength });
    const plan = planMemory(model.header, architecture, activations, sizes);
    assert.equal(plan, model.stats.plan);
    const loaded = exports.arenaBytes();
    const base = loaded - plan.weights - plan.runState;
    assert.ok(base > 1024 && base < 4096, `engine record and static data take ${base} bytes`);

    const session = model.engine.openSession();
    assert.is(exports.arenaBytes() - loaded, plan.session, "a session's region");
    const perSlots = 32 * plan.perToken;
    assert.is(exports.sessionPagesNeeded(session, 33) * plan.page, 2 * perSlots, "33 tokens take two pages a head");
    const pages = exports.sessionPagesNeeded(session, contextLength);
    assert.is(pages * plan.page, plan.context, "pages of a full context");
    const hasWindows = model.config.layers.some(({ window }) => window > 0 && window + 94 < contextLength);
    const all = Math.ceil(contextLength / 32) * perSlots;
    assert.ok(hasWindows ? plan.context < all : plan.context === all, `${plan.context} of ${all} bytes`);
    exports.poolReserve(pages);
    const grown = exports.arenaBytes() - loaded - plan.session;
    assert.ok(grown >= pages * plan.page && grown <= pages * plan.page + 128, `${grown} bytes for ${pages} pages`);
    const { byteLength } = exports.memory.buffer;
    assert.ok(byteLength - exports.arenaBytes() < 65536, "memory ends in the arena's last 64 KiB");
  });
}

for (const path of MODELS) {
  for (const activations of ACTIVATIONS) for (const size of SIZES) check(path, activations, size);
}
for (const [i, path] of FAMILIES.entries()) {
  if (!MODELS.includes(path)) check(path, ACTIVATIONS[i % 2]!, FAMILY_SIZES[i % 3]!);
}

test("the base is the same for all models", async () => {
  const bases = new Set<number>();
  for (const path of [...MODELS, ...FAMILIES]) {
    const { engine, stats } = await load(path);
    bases.add(engine.runtime.exports.arenaBytes() - stats.plan.weights - stats.plan.runState);
  }
  assert.is(bases.size, 1);
});

test.run();
