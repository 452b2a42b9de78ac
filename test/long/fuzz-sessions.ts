/**
 * Random operations on sessions, as many as wanted. A run that was stopped goes on with the next seed; a failure is repeated
 * with its own.
 *
 *   npm run fuzz:sessions -- --operations 1000000 --seed 1
 * @module
 */
import { parseArgs } from "node:util";
import { fuzzSessions } from "../host/session-fuzz.ts";

/** Operations between two lines of progress. */
const REPORT = 5000;

const { values } = parseArgs({
  options: { operations: { type: "string", default: "10000" }, seed: { type: "string", default: "1" } },
});
const [operations, seed] = [Number(values.operations), Number(values.seed)];
if (!Number.isSafeInteger(operations) || operations < 1 || !Number.isInteger(seed) || seed < 0 || seed >= 2 ** 31) {
  throw new RangeError("--operations must be an integer from 1 on, --seed one from 0 to 2^31 - 1");
}

const tally = new Map<string, number>();
const start = performance.now();
let reported = 0;
const onSeed = (at: number, done: number): void => {
  if (done < reported + REPORT && done < operations) return;
  reported = done;
  const seconds = Math.round((performance.now() - start) / 1000);
  const rss = Math.round(process.memoryUsage.rss() / 1e6);
  console.log(`${done} operations in ${seconds} s, ${rss} MB; go on with --seed ${at + 1}`);
};
await fuzzSessions({ seed, operations, tally, onSeed });
console.log(Object.fromEntries([...tally].sort()));
