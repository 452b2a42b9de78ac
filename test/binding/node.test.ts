/**
 * The suite on Node as part of `npm test`, a test for each check.
 * @module
 */
import { copyFile, readFile } from "node:fs/promises";
import { suite } from "uvu";
import { loadModel } from "../../bindings/node/index.ts";
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
test.run();
