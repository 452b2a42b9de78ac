/**
 * A fixed sample of changed model files, and every file that ever failed: each runs, or is refused with a typed error, in
 * bounded time and memory. test/long/model-fuzz.test.ts draws many more.
 * @module
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { findSites } from "./gguf-sites.ts";
import { baseFiles, runCase } from "./model-case.ts";
import { CORPUS, fuzz } from "./model-fuzz.ts";
import { mutate } from "./model-mutation.ts";

test("the files that are changed run as they are", async () => {
  for (const [i, bytes] of baseFiles().entries()) {
    const whole = new Uint8Array(bytes);
    const { tensors } = findSites(whole);
    for (const options of [{}, { fromStream: true }, { activations: "f32" } as const]) {
      const { end, text } = await runCase(whole, options);
      // A file of a vocabulary alone shows its worth in its text.
      assert.is(tensors.length > 0 ? end : text, "ran", `file ${i}`);
    }
    assert.equal(mutate(whole, { mutations: [], pad: true }), whole, `file ${i} without a change`);
    assert.ok(findSites(whole).fields.length > 50, `fields of file ${i}`);
  }
});

test("files that failed once", async () => {
  const names = existsSync(CORPUS) ? readdirSync(CORPUS).filter((name) => name.endsWith(".gguf")) : [];
  for (const name of names) {
    const bytes = new Uint8Array(readFileSync(`${CORPUS}/${name}`));
    for (const fromStream of [false, true]) {
      for (const activations of ["int8", "f32"] as const) await runCase(bytes, { fromStream, activations });
    }
  }
});

test("200 drawn files", async () => {
  const tally = await fuzz({ seed: 20_261_122, runs: 200 });
  const ends = JSON.stringify([...tally]);
  assert.ok((tally.get("ran") ?? 0) > 30, ends);
  for (const code of ["malformed_file", "truncated_file", "missing_tensor", "text: unsupported_tokenizer"]) {
    assert.ok(tally.has(code), `${code} among ${ends}`);
  }
});

test.run();
