/** `thimble calibrate` and `--policy q-filter --filters`: filters made from texts, used, and refused where they do not fit. */
import { readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { temporaryFile, thimble } from "./cli.ts";

const text = await temporaryFile("text.txt", "Once upon a time there was a fox who lived in a wood. ".repeat(12));
const at = (name: string) => join(dirname(text), name);

async function json(...args: string[]) {
  const { code, stdout, stderr } = await thimble(args);
  assert.is(code, 0, stderr);
  return JSON.parse(stdout);
}

test("filters from texts; a run that keeps what they choose", async () => {
  const [made, again] = await Promise.all([
    json("calibrate", text, "-o", at("a.filters"), "--tokens", "100", "--json"),
    thimble(["calibrate", "models/thimble-15m.Q4_0.gguf", text, "-o", at("b.filters"), "--tokens", "100", "--quiet"]),
  ]);
  assert.equal(again, { code: 0, stdout: `${at("b.filters")}\n`, stderr: "" });
  const bytes = await readFile(at("a.filters"));
  assert.equal([made.path, made.bytes, made.tokens, made.texts], [at("a.filters"), bytes.length, 100, 1]);
  assert.ok(bytes.equals(await readFile(at("b.filters"))));
  const ids = Array.from({ length: 120 }, (_, i) => 300 + 7 * i).join(",");
  const keep = ["--policy", "q-filter", "--kv-ratio", "0.5", "--dump-cache"];
  const run = ["run", "--prompt-ids", ids, "-n", "2", "--temp", "0", "--json", ...keep];
  const { kept } = await json(...run, "--filters", at("a.filters"));
  assert.ok(kept.flat().every((head: number[]) => head.length >= 60 && head.length < 70));
});

test("what is wrong is said", async () => {
  const bytes = await readFile(at("a.filters"));
  await writeFile(at("cut.filters"), bytes.subarray(0, -1));
  const run = ["run", "--policy", "q-filter", "--kv-ratio", "0.5", "Hello"];
  for (const [args, code, message] of [
    [run, 1, /invalid_option: .*needs filters.*thimble calibrate/],
    [[...run, "--filters", at("cut.filters")], 1, /calibration_malformed: .*cut\.filters: .*cut/],
    [[...run, "--filters", at("none.filters")], 1, /source_unreadable: .*none\.filters/],
    [["run", "--filters", at("a.filters"), "Hello"], 1, /filters are for the policy q-filter/],
    [["calibrate", text], 2, /give --output FILE/],
    [["calibrate", "-o", at("x")], 2, /nothing to read/],
    [["calibrate", at("none.txt"), "-o", at("x")], 1, /source_unreadable: .*none\.txt/],
    [["calibrate", text, "-o", at("no/such/folder")], 1, /source_unreadable: .*could not be written/],
  ] as const) {
    const outcome = await thimble(args);
    assert.is(outcome.code, code, outcome.stderr);
    assert.match(outcome.stderr, message);
  }
});

test.run();
