/** Some hundreds of random operations on sessions; test/long runs thousands, `npm run fuzz:sessions` as many as wanted. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { fuzzSessions } from "./session-fuzz.ts";
import { OPERATION_KINDS } from "./session-operation.ts";

const SEEN = [
  ...["restoreDamaged: capsule_malformed", "restoreForged: capsule_malformed", "compared", "raw compared"],
  ...["forgot and compared", "kept compared", "recalled"],
];

test("memory, pages and words of sessions hold through random lives", async () => {
  const tally = new Map<string, number>();
  await fuzzSessions({ seed: 1400, operations: 2000, tally });
  // Damaged capsules are never taken, forged ones seldom: a bit that no sum of a page and no check covers (test/long asks for it).
  const succeed = OPERATION_KINDS.filter((kind) => !kind.startsWith("restore") || kind === "restore");
  const refused = ["open", "fork", "restore"].map((kind) => `${kind}: over_budget`);
  for (const kind of [...succeed, ...refused, ...SEEN]) {
    assert.ok(tally.has(kind), `${kind} did not happen: ${JSON.stringify([...tally])}`);
  }
});

test.run();
