/**
 * The suite in workerd: `node main.js DIRECTORY MODEL MINIFLARE`. Gives workerd the worker's bundle and the modules beside
 * it, as a deployment would, and prints what the worker reports. Miniflare needs Node 22.
 * @module
 */
import { createReadStream, readFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import type { CheckResult } from "./conformance.ts";
import { printMeasured, printResult, printTotal } from "./report.ts";

const [directory, model, miniflare] = process.argv.slice(2) as [string, string, string];
const { Miniflare } = (await import(join(miniflare, "dist/src/index.js"))) as MiniflareModule;
const { version } = JSON.parse(readFileSync(join(miniflare, "../workerd/package.json"), "utf8")) as { version: string };

interface MiniflareModule {
  Miniflare: new (options: object) => { dispatchFetch(url: string): Promise<Response>; dispose(): Promise<void> };
}

const contents = (name: string) => readFileSync(join(directory, name));
const worker = new Miniflare({
  compatibilityDate: "2026-07-01",
  modules: [
    { type: "ESModule", path: "main.js", contents: contents("main.js").toString() },
    ...["simd.wasm", "relaxed.wasm", "relaxed-probe.wasm"].map((path) => ({
      type: "CompiledWasm",
      path,
      contents: contents(path),
    })),
  ],
  outboundService: ({ url }: Request) =>
    new URL(url).pathname === "/model.gguf"
      ? new Response(Readable.toWeb(createReadStream(model)) as ReadableStream)
      : new Response(null, { status: 404 }),
});
console.log(`workerd ${version}`);
const results: CheckResult[] = [];
try {
  const response = await worker.dispatchFetch(`http://worker/?version=${encodeURIComponent(`workerd ${version}`)}`);
  if (response.status !== 200) throw new Error(await response.text());
  let rest = "";
  for await (const text of response.body!.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    for (const line of lines) {
      const result = JSON.parse(line);
      if ("measured" in result) printMeasured(result.measured);
      else {
        printResult(result);
        results.push(result);
      }
    }
  }
} catch (error) {
  const result = { name: "the worker runs to its end", ok: false, detail: `${error}`, ms: 0 };
  printResult(result);
  results.push(result);
}
await worker.dispose();
process.exitCode = printTotal(results) ? 0 : 1;
