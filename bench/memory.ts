/**
 * Resident memory of Node after loading a model, above an empty process, against the file's size:
 *
 *   npm run bench:memory -- FILE.gguf
 *
 * Each figure is the median of several fresh processes. The bar: file size + KV + 48 MiB.
 */
import { spawnSync } from "node:child_process";
import { statSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { measureOurs } from "./ours.ts";

const MIB = 1 << 20;
const RUNS = 5;

/** What a child does before it reports: nothing, or load the model and read a short prompt. */
async function child(model: string | undefined): Promise<void> {
  let cache = 0;
  if (model !== undefined) {
    const ours = await measureOurs({ model, threads: 1 });
    await ours.prefill(16);
    cache = ours.cacheBytes();
  }
  console.log(JSON.stringify({ rss: process.memoryUsage.rss(), peak: process.resourceUsage().maxRSS * 1024, cache }));
}

function measure(model: string[]): { rss: number; peak: number; cache: number } {
  const runs = Array.from({ length: RUNS }, () => {
    const { stdout } = spawnSync(process.execPath, [fileURLToPath(import.meta.url), "--child", ...model]);
    return JSON.parse(String(stdout)) as { rss: number; peak: number; cache: number };
  });
  const median = (key: "rss" | "peak" | "cache"): number =>
    runs.map((run) => run[key]).sort((a, b) => a - b)[RUNS >> 1]!;
  return { rss: median("rss"), peak: median("peak"), cache: median("cache") };
}

const [first, second] = process.argv.slice(2);
if (first === "--child") await child(second);
else if (first === undefined) throw new Error("which model? npm run bench:memory -- FILE.gguf");
else {
  const size = statSync(first).size;
  const empty = measure([]);
  const loaded = measure([first]);
  const mib = (bytes: number): string => `${(bytes / MIB).toFixed(1)} MiB`;
  console.log(`empty process ${mib(empty.rss)}; loaded ${mib(loaded.rss)}, at most ${mib(loaded.peak)} on the way`);
  console.log(`file ${mib(size)}, KV pages ${mib(loaded.cache)}`);
  const above = (rss: number): string => mib(rss - empty.rss - size - loaded.cache);
  console.log(`above file + KV: ${above(loaded.rss)} after loading, ${above(loaded.peak)} at the peak (bar: 48 MiB)`);
}
