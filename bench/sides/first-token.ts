/**
 * `node first-token.js MODEL VARIANT`: one cold start, from loadModel to the first token of a one-token prompt; prints the
 * seconds, and those of processor time since the process began. The parent (parts/load.ts) times the whole process.
 * @module
 */

import type { BenchVariant } from "../lib/variants.ts";
import { measureOurs } from "../ours.ts";

const [model, variant] = process.argv.slice(2) as [string, BenchVariant];
const start = performance.now();
const ours = await measureOurs({ model, threads: 1, variant });
await ours.prefill(1);
const seconds = (performance.now() - start) / 1000;
const { user, system } = process.cpuUsage();
console.log(JSON.stringify({ seconds, cpuSeconds: (user + system) / 1e6 }));
process.exit(0); // the time of the token is what counts, not that of tearing down
