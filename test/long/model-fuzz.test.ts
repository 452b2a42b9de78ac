/**
 * Many changed model files; THIMBLE_FUZZ_CASES says how many (20,000), THIMBLE_FUZZ_SEED where to begin. A line for each
 * thousand names its seed, so that a run can be resumed there and a failure repeated alone.
 * @module
 */
import { Worker } from "node:worker_threads";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { fileOf, fuzz, save } from "../host/model-fuzz.ts";
import type { MutatedCase } from "../host/model-mutation.ts";

const CHUNK = 1000;
const nCases = Number(process.env.THIMBLE_FUZZ_CASES ?? 20_000);
const firstSeed = Number(process.env.THIMBLE_FUZZ_SEED ?? 1);
/** A case that never ends cannot be timed from inside; a thread that sees no new case for so long ends the process. */
const HANG_MS = 60_000;

/** Kills the process when `beat` stands still, after the case that hangs is written down. */
const WATCHDOG = `
  const { workerData } = require("node:worker_threads");
  const beat = new Int32Array(workerData.beat);
  let seen = -1;
  setInterval(() => {
    const now = Atomics.load(beat, 0);
    if (now !== seen) return void (seen = now);
    const length = Atomics.load(beat, 1);
    const text = Buffer.from(Buffer.from(workerData.drawn).subarray(0, length)).toString();
    require("node:fs").writeSync(2, "\\nthis case does not end: " + text + "\\n");
    process.kill(process.pid, "SIGKILL");
  }, ${HANG_MS});
`;

test(`${nCases} changed model files`, async () => {
  const beat = new Int32Array(new SharedArrayBuffer(8));
  const drawn = new Uint8Array(new SharedArrayBuffer(1 << 16));
  const workerData = { beat: beat.buffer, drawn: drawn.buffer };
  const watchdog = new Worker(WATCHDOG, { eval: true, workerData });
  watchdog.unref();
  const encoder = new TextEncoder();
  const onCase = (next: MutatedCase): void => {
    const text = encoder.encode(JSON.stringify(next)).subarray(0, drawn.length);
    drawn.set(text);
    Atomics.store(beat, 1, text.length);
    Atomics.add(beat, 0, 1);
  };
  const total = new Map<string, number>();
  const start = performance.now();
  try {
    for (let done = 0, seed = firstSeed; done < nCases; done += CHUNK, ++seed) {
      const tally = await fuzz({ seed, runs: Math.min(CHUNK, nCases - done), onCase });
      for (const [end, count] of tally) total.set(end, (total.get(end) ?? 0) + count);
      const seconds = Math.round((performance.now() - start) / 1000);
      const rss = Math.round(process.memoryUsage.rss() / 1e6);
      console.log(`  seed ${seed}: ${done + CHUNK} cases in ${seconds} s, ${rss} MB, ${JSON.stringify([...total])}`);
    }
  } finally {
    await watchdog.terminate();
  }
  assert.ok((total.get("ran") ?? 0) > nCases / 10, JSON.stringify([...total]));
});

/** THIMBLE_FUZZ_CASE, the text of a case that did not end: its file is saved and run alone. */
const single = process.env.THIMBLE_FUZZ_CASE;
if (single !== undefined) console.log(save(fileOf(JSON.parse(single) as MutatedCase)));

test.run();
