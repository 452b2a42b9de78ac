/** What is written of policies: the README, docs/forgetting.md and docs/kv-cache.md name those that there are, as they are. */
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { POLICY_NOTES, USUAL_TIME } from "../../bindings/cli/policies.ts";
import { POLICY_NAMES, parsePolicy } from "../../host/policy.ts";

const test = suite("what is written of policies");

/** The table of a file that begins with these columns. */
function tableOf(path: string, columns: string): string {
  const text = readFileSync(path, "utf8");
  const start = text.indexOf(`${columns}\n`);
  assert.ok(start >= 0, `${path} has a table ${columns}`);
  return text.slice(start, text.indexOf("\n\n", start));
}

const README = "| policy | keeps | paper | runs at | costs |";
const PARAMETERS = "| policy | parameters, and what they are where nothing is said |";

test("the README's table is made of the notes that thimble run --help prints", () => {
  const rows = POLICY_NAMES.map((name) => {
    const { keeps, paper, when = USUAL_TIME, cost } = POLICY_NOTES[name];
    return `| \`${name}\` | ${keeps} | [${paper[0]}](https://arxiv.org/abs/${paper[1]}) | ${when} | ${cost} |`;
  });
  assert.is(tableOf("README.md", README), [README, "| --- | --- | --- | --- | --- |", ...rows].join("\n"));
});

test("docs/forgetting.md has every parameter of every policy, and its default", () => {
  const rows = POLICY_NAMES.map((name) => {
    const values = [...parsePolicy(name).values].map(([parameter, value]) => `\`${parameter}\` ${value}`);
    return `| \`${name}\` | ${values.join(", ") || "none"} |`;
  });
  assert.is(tableOf("docs/forgetting.md", PARAMETERS), [PARAMETERS, "| --- | --- |", ...rows].join("\n"));
});

test("docs/kv-cache.md has a score for every policy, and no other", () => {
  const names = [
    ...tableOf("docs/kv-cache.md", "| policy | score of a slot, higher stays | parameters |").matchAll(
      /^\| `([\w-]+)`/gm,
    ),
  ];
  assert.equal(names.map(([, name]) => name).sort(), [...POLICY_NAMES].sort());
});

test("the number of each paper is one that docs/kv-cache.md names", () => {
  const written = readFileSync("docs/kv-cache.md", "utf8");
  for (const name of POLICY_NAMES) {
    const [, id] = POLICY_NOTES[name].paper;
    assert.ok(written.includes(id), `${name}: ${id}`);
  }
});

test.run();
