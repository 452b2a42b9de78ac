/** host/exports.ts says what the compiler generates: types at compile time (`npm run types`), names at run time. */
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { EngineExports } from "../../host/exports.ts";

/** The declarations that the `test` build generates from the AssemblyScript source. */
type Generated = Awaited<ReturnType<typeof import("../../build/wasm/test.js")["instantiate"]>>;

/** Fails to compile when a function of ours is missing there or has other parameters. */
export const check = (generated: Generated): EngineExports => generated;

test("the product's module exports what the interface names, and nothing else", () => {
  const module = new WebAssembly.Module(readFileSync("dist/simd.wasm"));
  const exported = WebAssembly.Module.exports(module)
    .map(({ name }) => name)
    .filter((name) => name !== "memory");
  const source = readFileSync("host/exports.ts", "utf8");
  const named = [...source.matchAll(/^ {2}(\w+)\(/gm)].map(([, name]) => name!);
  assert.equal(exported.sort(), named.sort());
});

test("the product's module imports nothing", () => {
  const module = new WebAssembly.Module(readFileSync("dist/simd.wasm"));
  assert.equal(WebAssembly.Module.imports(module), []);
});

test.run();
