/** Threads: the bits of one thread, whatever the number; their start, their end, and hosts that have none. */
import { readdirSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openFile } from "../../bindings/node/file-source.ts";
import { describeModel } from "../../host/architecture.ts";
import { planMemory } from "../../host/budget.ts";
import { loadFrom } from "../../host/model.ts";
import type { WorkerStart } from "../../host/threads.ts";
import { allLogits, DEFAULT_MODEL, load, platform, randomIds, sameBits } from "./load.ts";

const FIXTURES = "test/golden/architectures";
const files = [
  DEFAULT_MODEL,
  ...readdirSync(FIXTURES)
    .filter((name) => name.endsWith(".q8_0.gguf"))
    .map((name) => `${FIXTURES}/${name}`),
];

for (const file of files) {
  test(`${file}: threads give the bits of one, in chunks and one by one`, async () => {
    const alone = await load(file, { maxOutputs: 64 });
    const ids = randomIds(90, alone.config.vocabSize, 4);
    const expected = allLogits(alone, ids, 64);
    for (const threads of file === DEFAULT_MODEL ? [2, 3] : [2]) {
      const model = await load(file, { maxOutputs: 64, threads });
      assert.is(model.stats.threads, threads);
      assert.ok(sameBits(allLogits(model, ids, 64), expected), `${threads} threads, chunks of 64`);
      const few = ids.slice(0, 20);
      assert.ok(sameBits(allLogits(model, few, 1), expected.subarray(0, few.length * model.config.vocabSize)));
      await model.close();
    }
  });
}

test("the plan counts what threads take, byte for byte", async () => {
  const one = await load(DEFAULT_MODEL);
  const three = await load(DEFAULT_MODEL, { threads: 3 });
  const { exports } = three.engine.runtime;
  const base = one.engine.runtime.exports.arenaBytes() - one.stats.plan.weights - one.stats.plan.runState;
  assert.is(exports.arenaBytes() - three.stats.plan.weights - three.stats.plan.runState, base);
  const sizes = { ...three.engine.sizes, threads: 3 };
  assert.equal(three.stats.plan, planMemory(three.header, describeModel(three.header), "int8", sizes));
  await three.close();
});

test("a host that cannot share memory, or whose workers fail, computes on one thread and says so", async () => {
  const ids = randomIds(10, 100, 8);
  const { spawn: _, ...without } = platform;
  const hosts = {
    "no workers": without,
    "workers refused": {
      ...platform,
      spawn: () => {
        throw new Error("not allowed here");
      },
    },
    "workers that die": {
      ...platform,
      spawn: (_start: unknown, onError: () => void) => {
        setImmediate(onError);
        return { terminate: () => {} };
      },
    },
  };
  const expected = allLogits(await load(DEFAULT_MODEL), ids, 1);
  for (const [name, host] of Object.entries(hosts)) {
    const model = await loadFrom(host, await openFile(DEFAULT_MODEL), { threads: 4 });
    assert.is(model.stats.threads, 1, name);
    assert.ok(sameBits(allLogits(model, ids, 1), expected), name);
  }
});

test("a closed model's workers end", async () => {
  const ended: Promise<void>[] = [];
  const watched = {
    ...platform,
    spawn: (start: WorkerStart, onError: () => void) => {
      const handle = platform.spawn!(start, onError);
      ended.push(handle.ended!);
      return handle;
    },
  };
  const model = await loadFrom(watched, await openFile(DEFAULT_MODEL), { threads: 3 });
  assert.is(ended.length, 2);
  await model.close();
  const alive = setInterval(() => {}, 50); // the workers themselves keep no process alive
  await Promise.all(ended);
  clearInterval(alive);
});

test.run();
