/** The plan made from the header equals the arena, byte for byte, whatever the sizes; and memory never grows beyond it. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { describeModel } from "../../host/architecture.ts";
import { planMemory, type RunSizes } from "../../host/budget.ts";
import { DEFAULT_MODEL, load } from "../model/load.ts";

const MODELS = [DEFAULT_MODEL, "test/golden/architectures/llama.f32.gguf", "test/golden/architectures/llama.q8_0.gguf"];

for (const path of MODELS) {
  for (const activations of ["int8", "f32"] as const) {
    for (const [contextLength, chunk, maxOutputs] of [
      [256, 64, 8],
      [33, 1, 1],
      [100, 130, 130],
    ] as const) {
      test(`${path}, ${activations}, context ${contextLength}, chunk ${chunk}`, async () => {
        const model = await load(path, { contextLength, chunk, maxOutputs, activations });
        const { exports } = model.engine.runtime;
        const sizes: RunSizes = { contextLength, maxRows: chunk, maxOutputs };
        const plan = planMemory(model.header, describeModel(model.header), activations, sizes);
        assert.equal(plan, model.stats.plan);
        const loaded = exports.arenaBytes();
        const base = loaded - plan.weights - plan.runState;
        assert.ok(base > 1024 && base < 4096, `engine record and static data take ${base} bytes`);

        const session = model.engine.openSession();
        assert.is(exports.arenaBytes() - loaded, plan.session, "a session's region");
        const pages = exports.sessionPagesNeeded(session, 33);
        assert.is(pages * plan.page, 2 * 32 * plan.perToken, "33 tokens take two pages a head");
        exports.poolReserve(pages);
        const grown = exports.arenaBytes() - loaded - plan.session;
        assert.ok(grown >= pages * plan.page && grown <= pages * plan.page + 128, `${grown} bytes for ${pages} pages`);
        const { byteLength } = exports.memory.buffer;
        assert.ok(byteLength - exports.arenaBytes() < 65536, "memory ends in the arena's last 64 KiB");
      });
    }
  }
}

test("the base is the same for all models", async () => {
  const bases = new Set<number>();
  for (const path of MODELS) {
    const { engine, stats } = await load(path);
    bases.add(engine.runtime.exports.arenaBytes() - stats.plan.weights - stats.plan.runState);
  }
  assert.is(bases.size, 1);
});

test.run();
