/**
 * `node roof.js [BYTES]`: the memory roof as a side (lib/line-side.ts), in GB/s.
 *
 *   {threads: 1 or 2}      each thread reads a buffer of its own, all at once; the sum of what they read
 * @module
 */
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { compileRoof, Roof } from "../lib/roof-module.ts";
import { serveLines } from "../lib/serve-lines.ts";

const SAMPLE_MS = 300;

interface Reader {
  measure(): Promise<number>;
}

function startReader(module: Uint8Array, bytes: number): Promise<Reader> {
  const worker = new Worker(new URL(import.meta.url), { workerData: { module, bytes } });
  const next = (): Promise<number> =>
    new Promise((resolve, reject) => {
      worker.once("message", resolve);
      worker.once("error", reject);
    });
  const measure = (): Promise<number> => {
    const answer = next();
    worker.postMessage("measure");
    return answer;
  };
  worker.unref();
  return next().then(() => ({ measure }));
}

async function main(): Promise<void> {
  const bytes = Number(process.argv[2] ?? 128 << 20) & ~63;
  const module = await compileRoof();
  const readers = [await startReader(module, bytes), await startReader(module, bytes)];
  const info = { runtime: "WebAssembly loop that reads 64 bytes a step", host: `Node ${process.version}`, bytes };
  await serveLines(info, async ({ threads }) => {
    const parts = await Promise.all(readers.slice(0, Number(threads)).map((reader) => reader.measure()));
    return parts.reduce((sum, part) => sum + part, 0);
  });
}

function serveReader(): void {
  const { module, bytes } = workerData as { module: Uint8Array<ArrayBuffer>; bytes: number };
  const roof = new Roof(module, bytes);
  roof.measure(SAMPLE_MS);
  parentPort!.on("message", () => parentPort!.postMessage(roof.measure(SAMPLE_MS)));
  parentPort!.postMessage("ready");
}

if (isMainThread) await main();
else serveReader();
