/** 10,000 random operations on sessions within a budget; a failure names its seed and the smallest life that fails. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { fuzzSessions } from "../host/session-fuzz.ts";

const OPERATIONS = 10_000;

test(`${OPERATIONS} operations of sessions`, async () => {
  const tally = new Map<string, number>();
  const onSeed = (seed: number, done: number): void => {
    if (seed % 10 === 0) console.log(`  seed ${seed}: ${done} operations`);
  };
  await fuzzSessions({ seed: 1000, operations: OPERATIONS, tally, onSeed });
  for (const kind of [
    "compared",
    "raw compared",
    "fork: over_budget",
    "turn: over_budget",
    "forgot and compared",
    "kept compared",
  ]) {
    assert.ok((tally.get(kind) ?? 0) >= 5, `${kind}: ${JSON.stringify([...tally])}`);
  }
});

test.run();
