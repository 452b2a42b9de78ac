/**
 * `thimble perplexity` against the library, and its ways to take a text.
 * @module
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { temporaryFile, thimble } from "./cli.ts";

const TEXT = "Once upon a time there was a little fox who lived in the forest. She liked to run and play.\n";
const MODEL = "models/thimble-15m.Q4_0.gguf";

async function json(args: readonly string[], input = "") {
  const { code, stdout, stderr } = await thimble(["perplexity", "--json", ...args], { input });
  assert.equal([code, stderr], [0, ""]);
  return JSON.parse(stdout);
}

test("mean, perplexity and a number for each token", async () => {
  const file = await temporaryFile("text.txt", TEXT);
  const [result, text] = await Promise.all([json([file]), thimble(["perplexity", file])]);
  const { meanNll, perplexity, nll, argmax, gap, tokens, variant } = result;
  assert.is(variant, "simd");
  assert.is(nll.length, tokens - 1);
  assert.is(argmax.length, nll.length);
  assert.is(gap.length, nll.length);
  const mean = nll.reduce((sum: number, x: number) => sum + x, 0) / nll.length;
  assert.ok(Math.abs(mean - meanNll) < 1e-12);
  assert.is(perplexity, Math.exp(meanNll));
  assert.ok(meanNll > 0.5 && meanNll < 4, `${meanNll}`);
  const line = `mean NLL ${meanNll.toFixed(6)}  perplexity ${perplexity.toFixed(4)}  scored ${nll.length} of ${tokens} tokens\n`;
  assert.equal(text, { code: 0, stdout: line, stderr: "" });
});

test("stdin, ids, a named model and any chunk give the same; --from scores the rest; f32 is near", async () => {
  const file = await temporaryFile("text.txt", TEXT);
  const ids = (await thimble(["run", "--raw", "--json", "-n", "0", "-"], { input: `${TEXT}\n` })).stdout;
  const idsFile = await temporaryFile("ids.json", JSON.stringify(JSON.parse(ids).promptIds));
  const [whole, stdin, byIds, chunked] = await Promise.all([
    json([file]),
    json(["-"], TEXT),
    json([MODEL, "--prompt-ids", `@${idsFile}`]),
    json([MODEL, file, "--chunk", "5"]),
  ]);
  for (const other of [stdin, byIds, chunked]) assert.equal(other.nll, whole.nll);
  const [rest, f32] = await Promise.all([json([file, "--from", "10"]), json([file, "--activations", "f32"])]);
  assert.equal(rest.nll, whole.nll.slice(9));
  assert.not.equal(f32.nll, whole.nll);
  assert.ok(Math.abs(f32.meanNll - whole.meanNll) < 0.05, `${f32.meanNll} and ${whole.meanNll}`);
});

test("one token, and a --from beyond the text, are errors", async () => {
  const one = await thimble(["perplexity", "--prompt-ids", "5"]);
  assert.equal([one.code, one.stdout], [1, ""]);
  assert.match(one.stderr, /^thimble: empty_prompt: /);
  const beyond = await thimble(["perplexity", "--prompt-ids", "5,6", "--from", "2"]);
  assert.is(beyond.code, 1);
  assert.match(beyond.stderr, /^thimble: invalid_option: from /);
});

test.run();
