/** Some hundreds of random operations on sessions; test/long runs thousands, `npm run fuzz:sessions` as many as wanted. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { fuzzSessions } from "./session-fuzz.ts";
import { OPERATION_KINDS } from "./session-operation.ts";

test("memory, pages and words of sessions hold through random lives", async () => {
  const tally = new Map<string, number>();
  await fuzzSessions({ seed: 1000, operations: 1200, tally });
  const succeed = OPERATION_KINDS.filter((kind) => kind !== "restoreDamaged");
  const refused = ["open", "fork", "restore"].map((kind) => `${kind}: over_budget`);
  for (const kind of [...succeed, ...refused, "restoreDamaged: capsule_malformed", "compared", "raw compared"]) {
    assert.ok(tally.has(kind), `${kind} did not happen: ${JSON.stringify([...tally])}`);
  }
});

test.run();
