/**
 * How much of a worker's 128 MB a model takes: `node driver.js DIST WORKER MINIFLARE MODEL
 * OPTIONS_JSON [TOKENS]` (Node 22). Prints the sum of
 * WebAssembly memory and the JavaScript heap (with what buffers it holds) as workerd's inspector tells it, the most that was
 * seen while the model was loaded and while it wrote, and by how much it stays below 128 MB or misses it.
 * @module
 */
import { createReadStream, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { Readable } from "node:stream";

const [directory, script, miniflare, model, options, tokens = "100000"] = process.argv.slice(2) as [
  ...[string, string, string, string, string, string?],
];
const { Miniflare } = (await import(resolve(miniflare, "dist/src/index.js"))) as {
  Miniflare: new (
    options: object,
  ) => {
    dispatchFetch(url: string): Promise<Response>;
    getInspectorURL(): Promise<URL>;
    dispose(): Promise<void>;
  };
};
/** Of the isolate, JavaScript and WebAssembly together. */
const LIMIT = 128_000_000;

const contents = (name: string) => readFileSync(join(directory, name));
const worker = new Miniflare({
  compatibilityDate: "2026-07-01",
  inspectorPort: 0,
  modules: [
    { type: "ESModule", path: "main.js", contents: readFileSync(script, "utf8") },
    ...["simd.wasm", "relaxed.wasm", "relaxed-probe.wasm"].map((path) => ({
      type: "CompiledWasm",
      path,
      contents: contents(path),
    })),
  ],
  outboundService: () => new Response(Readable.toWeb(createReadStream(model)) as ReadableStream),
});

interface HeapUsage {
  readonly usedSize: number;
  readonly backingStorageSize: number;
}

interface Told {
  readonly wasm: number;
  readonly [other: string]: unknown;
}

const socket = new WebSocket(new URL("/core:user:", await worker.getInspectorURL()));
await new Promise((resolve) => socket.addEventListener("open", resolve));

/** The most of the JavaScript heap that was seen: values, and the buffers that they hold. */
let heap = 0;
let lastId = 0;
socket.addEventListener("message", ({ data }) => {
  const { usedSize = 0, backingStorageSize = 0 } = (JSON.parse(String(data)).result ?? {}) as Partial<HeapUsage>;
  heap = Math.max(heap, usedSize + backingStorageSize);
});
// Not every question is answered while the isolate computes.
const watch = setInterval(() => socket.send(JSON.stringify({ id: ++lastId, method: "Runtime.getHeapUsage" })), 100);

async function get(path: string): Promise<Told> {
  const response = await worker.dispatchFetch(`http://worker${path}`);
  if (response.status !== 200) throw new Error(await response.text());
  return (await response.json()) as Told;
}

function tell(what: string, { wasm, ...told }: Told): void {
  const sum = wasm + heap;
  const room = LIMIT - sum;
  const verdict = room >= 0 ? `${room} below` : `${-room} ABOVE`;
  console.log(`${what}: WebAssembly ${wasm} + heap ${heap} = ${sum} bytes, ${verdict} 128 MB; ${JSON.stringify(told)}`);
}

try {
  tell("loaded", await get(`/load?options=${encodeURIComponent(options)}`));
  tell("written", await get(`/write?tokens=${tokens}`));
} catch (error) {
  console.log(`${error}`);
  process.exitCode = 1;
}
clearInterval(watch);
await worker.dispose();
process.exit();
