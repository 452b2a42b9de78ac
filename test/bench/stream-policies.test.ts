/** docs/streaming.md's table of policies: ranked by text and needles together, nats compared block by block. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { policiesPart } from "../../bench/report/stream-policies.ts";
import type { PolicyResult } from "../../bench/stream/policy-results.ts";

const test = suite("policies of a stream");

function result(policy: string, nats: readonly number[], found: readonly number[]): PolicyResult {
  const of = 4;
  return {
    ...{ policy, context: 1472, date: "2000-01-01", machine: "one", bytes: 70, nats },
    found: found.map((n, i) => ({ distance: 512 * (i + 1), found: n, of })),
  };
}

test("a row has its share of bytes, what it pays beyond streaming by block, and stands by what it keeps", () => {
  const policies = [
    result("streaming", [2, 3], [4, 0]),
    result("better", [1.9, 2.8], [4, 4]),
    result("forgetful", [1, 1], [0, 0]),
    result("shorter", [2.2], [4, 0]),
  ];
  const lines = policiesPart([
    { model: "m", slots: 960, forms: "q4:q4", tokens: 3000, command: "run", f16Bytes: 1000, policies },
  ]);
  const rows = lines.filter((line) => /^\| [a-z]+ \| \d/.test(line));
  assert.equal(rows, [
    "| better | 1,472 | 7.0% | 2.350 | -0.150 ± 0.050 | 4 of 4 | 4 of 4 | 1.16 |",
    "| streaming | 1,472 | 7.0% | 2.500 |  | 4 of 4 | 0 of 4 | 0.50 |",
    "| shorter | 1,472 | 7.0% | 2.200 | +0.200 ± 0.000 | 4 of 4 | 0 of 4 | 0.41 |",
    "| forgetful | 1,472 | 7.0% | 1.000 | -1.500 ± 0.500 | 0 of 4 | 0 of 4 | 0.00 |",
  ]);
  assert.ok(lines.includes("### m, 960 slots, q4:q4, 3,000 tokens"));
  assert.equal(policiesPart([]), []);
});

test.run();
