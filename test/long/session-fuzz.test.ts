/** 10,000 random operations on sessions within a budget; a failure names its seed and the smallest life that fails. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { fuzzSessions } from "../host/session-fuzz.ts";

const OPERATIONS = 10_000;
/**
 * What must have happened, and how often at least. A turn that memory ends while it generates is rare beside those whose prompt
 * has no room (test/host/resume.test.ts has one for certain); so is a forged capsule that is taken, since pages have sums.
 */
const SEEN = [
  ...(["compared", "raw compared", "forgot and compared", "kept compared"] as const).map((kind) => [kind, 5] as const),
  ...(["fork: over_budget", "turn: over_budget", "overflow: context"] as const).map((kind) => [kind, 5] as const),
  ["restoreForged: capsule_malformed", 5],
  ["overflow: budget", 1],
  ["restoreForged", 1],
] as const;

test(`${OPERATIONS} operations of sessions`, async () => {
  const tally = new Map<string, number>();
  const onSeed = (seed: number, done: number): void => {
    if (seed % 10 === 0) console.log(`  seed ${seed}: ${done} operations`);
  };
  await fuzzSessions({ seed: 1000, operations: OPERATIONS, tally, onSeed });
  for (const [kind, least] of SEEN) {
    assert.ok((tally.get(kind) ?? 0) >= least, `${kind}: ${JSON.stringify([...tally])}`);
  }
});

test.run();
