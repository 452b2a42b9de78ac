/** `thimble calibrate-heads` and `--head-scores`: a file made once, used by the policies that deal by it; what does not fit is named. */
import { readFile } from "node:fs/promises";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { temporaryFile, thimble } from "./cli.ts";

const text = await temporaryFile("text.txt", "The fox ran over the hill, and the dog ran after the fox. ".repeat(12));
const scores = `${text}.json`;
const PROMPT = ["--raw", "-n", "4", "--temp", "0", "--json", "--dump-cache", "One day the fox met a dog. ".repeat(12)];

test("scores of the embedded model's heads; with them some heads keep all of a prompt, the others its ends", async () => {
  const { code, stdout, stderr } = await thimble(["calibrate-heads", "--text", text, "-o", scores, "--tokens", "60"]);
  assert.equal([code, stdout, stderr], [0, `${scores}\n`, ""]);
  const file = JSON.parse(await readFile(scores, "utf8"));
  assert.equal([file.thimble, file.version, file.kind, file.tokens], ["head-scores", 1, "duo", 60]);
  const policy = ["--policy", "duo-attention:sinks=4,recent=16", "--kv-ratio", "0.4", "--head-scores", scores];
  const run = await thimble(["run", ...policy, ...PROMPT]);
  assert.is(run.code, 0, run.stderr);
  const result = JSON.parse(run.stdout);
  const lengths: number[] = result.kept.flat().map((positions: number[]) => positions.length);
  assert.equal(
    [...new Set(lengths)].sort((a, b) => a - b),
    [20, result.promptIds.length],
  );
});

test("razor takes no text; what is missing or wrong is said", async () => {
  const usage: readonly (readonly [string[], RegExp])[] = [
    [["--text", text], /no file to write/],
    [["-o", scores], /no text to look at/],
    [["--kind", "razor", "--text", text, "-o", scores], /razor takes no --text/],
    [["--kind", "quo", "-o", scores], /--kind/],
  ];
  for (const [args, message] of usage) {
    const { code, stderr } = await thimble(["calibrate-heads", ...args]);
    assert.is(code, 2);
    assert.match(stderr, message);
  }
  const cut = await temporaryFile("cut.json", '{"thimble": "head-scores", "ver');
  const duo = ["--policy", "duo-attention", "--kv-ratio", "0.4"];
  const failures: readonly (readonly [string[], RegExp])[] = [
    [["run", ...duo, ...PROMPT], /give headScores, from thimble calibrate-heads/],
    [["run", ...duo, "--head-scores", cut, ...PROMPT], /calibration_malformed: .*cut\.json: .*no JSON, or were cut/],
    [["run", ...duo, "--head-scores", `${cut}.none`, ...PROMPT], /no such file/],
    [["calibrate-heads", "--text", text, "-o", `${text}/none/x.json`], /could not be written/],
  ];
  for (const [args, message] of failures) {
    const { code, stderr, stdout } = await thimble(args);
    assert.is(code, 1);
    assert.match(stderr + stdout, message);
  }
});

test.run();
