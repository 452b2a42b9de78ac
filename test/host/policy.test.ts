/** Policies by name, and the budgets of layers. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { layerBudgets, parsePolicy } from "../../host/policy.ts";

const test = suite("policies by name");

test("the pyramid's budgets: kvpress's numbers, their mean the uniform one; where it cannot be, all alike", () => {
  const spec = parsePolicy("pyramidkv");
  const budgets = layerBudgets(spec, 30, 1024, 0.5);
  assert.equal([budgets[0], budgets[15], budgets[29]], [960, 497, 64]);
  assert.ok(Math.abs(budgets.reduce((a, b) => a + b, 0) / 30 - 512) < 1);
  assert.equal(layerBudgets(spec, 4, 100, 0.5), [50, 50, 50, 50]);
  assert.equal(layerBudgets(parsePolicy("snapkv"), 3, 1001, 0.3), [300, 300, 300]);
});

test("policies by name: parameters within their bounds; anything else is refused by name", () => {
  assert.equal(
    [...parsePolicy("snapkv:kernel=7,window=32").values],
    [
      ["kernel", 7],
      ["window", 32],
    ],
  );
  assert.equal(parsePolicy("lagkv:lag=64").taken, [4, 64]);
  for (const text of [
    "",
    "snap",
    "snapkv:",
    "snapkv:window",
    "snapkv:window=",
    "snapkv:window=0",
    "snapkv:window=1.5",
    "snapkv:x=1",
    "adakv:safeguard=2",
    "toString",
    "tova:window=1",
    "criticalkv:first=1.5",
    "criticalkv:safeguard=0.2",
    "criticaladakv:epsilon=x",
    "expected-attention:covariance=0.5",
    "expected-attention:future=0",
    "expected-attention:epsilon=2",
    "q-filter:window=1",
    "simlayerkv:threshold=1.1",
    "simlayerkv:window=0",
    7,
    null,
  ]) {
    try {
      parsePolicy(text);
      assert.unreachable(String(text));
    } catch (error) {
      assert.equal(
        [(error as { code: string }).code, (error as { subject: string }).subject],
        ["invalid_option", "policy"],
      );
    }
  }
});

test.run();
