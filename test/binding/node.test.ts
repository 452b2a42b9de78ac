/**
 * The suite on Node as part of `npm test`, a test for each check.
 * @module
 */
import { copyFile, readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { loadModel, plan, type ThimbleError } from "../../bindings/node/index.ts";
import { conformance } from "./conformance.ts";

const location = "models/thimble-15m.Q4_0.gguf";
const bytes = new Uint8Array(await readFile(location));
// The binding reads the module from beside the file it is bundled into, which is this test.
const BUILT = ["simd.wasm", "relaxed.wasm", "simd-threads.wasm", "relaxed-threads.wasm", "worker.js"];
for (const file of BUILT) await copyFile(`dist/${file}`, new URL(file, import.meta.url));

const test = suite("conformance on node");
for (const { name, run } of conformance({ name: "node", threads: true, loadModel, location, bytes })) {
  test(name, async () => {
    await run();
  });
}
test("a file: address, as import.meta.resolve gives it, is opened as its path", async () => {
  const address = pathToFileURL(resolve(location));
  for (const source of [address, address.href]) {
    const { largestContext } = await plan(source);
    assert.ok(largestContext > 0);
  }
  const missing = await plan(new URL("file:///no%20such.gguf")).catch((error: ThimbleError) => error);
  assert.is((missing as ThimbleError).code, "source_unreadable");
  assert.is((missing as ThimbleError).file, "/no such.gguf");
});
test.run();
