/**
 * `thimble plan`, and commands that keep to a budget.
 * @module
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { temporaryFile, thimble } from "./cli.ts";

const MODEL = "models/thimble-15m.Q4_0.gguf";
const GREEDY = ["--temp", "0", "-n", "12", "Tell me a story about a fox."];

async function json(...args: string[]) {
  const { code, stdout, stderr } = await thimble([...args, "--json"]);
  assert.equal([code, stderr], [0, ""]);
  return JSON.parse(stdout);
}

test("the table says what it takes, what fits, and what a load would do", async () => {
  const { code, stdout, stderr } = await thimble(["plan", MODEL, "--budget", "20MB"]);
  assert.equal([code, stderr], [0, ""]);
  assert.match(stdout, /^weights +10\.0 MiB$/m);
  assert.match(stdout, /^ {2}journal, to undo a turn +[\d.]+ KiB$/m);
  assert.match(stdout, /^What fits in the budget of 20000000 bytes \(19\.1 MiB\)$/m);
  assert.match(stdout, /^keys +values +bytes a token +8192 tokens take +fits +longest context$/m);
  assert.equal(
    [...stdout.matchAll(/^(f32|q8|q4|q3) +(\S+) +\d+ .* no +\d+$/gm)].map(([, keys, values]) => `${keys} ${values}`),
    ["f32 f32", "q8 q8", "q8 q4", "q4 q4", "q3 q3"],
  );
  assert.match(
    stdout,
    /^With this budget it runs with q3 keys and q3 values, and a context of \d+ of the 8192 tokens/m,
  );
  assert.not.match(stdout, /[\u2500-\u257f]/u, "no frames outside a terminal");
});

test("without a budget all of it fits, and forms are as asked for", async () => {
  const [text, found] = await Promise.all([
    thimble(["plan", "--keys", "q4", "--values", "q3", "-c", "1000"]),
    json("plan", "--keys", "q4", "--values", "q3", "-c", "1000", "--kv-window", "32", "--kv-sinks", "0"),
  ]);
  assert.match(text.stdout, /^Memory with q4 keys and q3 values$/m);
  assert.match(text.stdout, /^Without --budget it runs with q4 keys and q3 values/m);
  assert.equal([found.keys, found.values, found.contextLength, found.fits], ["q4", "q3", 1000, true]);
  const wider = await json("plan", "--keys", "q4", "--values", "q3", "-c", "1000", "--kv-window", "96");
  assert.ok(wider.memory.own > found.memory.own);
  assert.is(found.ladder.length, 5);
  const kept = await json(
    ...[
      "plan",
      "--keys",
      "q4",
      "--values",
      "q3",
      "-c",
      "1000",
      "--kv-format",
      "outliers:2,factors",
      "--kv-group",
      "32",
    ],
  );
  assert.ok(kept.memory.page > wider.memory.page);
});

test("--json has every number, and the exit code says whether it can run", async () => {
  const found = await json("plan", "--budget", "17MiB", "--context", "2048");
  assert.equal([found.budget, found.available, found.contextLength], [17 << 20, 17 << 20, 2048]);
  assert.equal([found.firstFit.values, found.load.values, found.load.contextLength], ["q8", "q8", 2048]);
  const { weights, runState, session, context, total } = found.memory;
  assert.ok(weights + runState + session + context < total && total <= found.available);
  const refused = await thimble(["plan", "--budget", "5MB"]);
  assert.is(refused.code, 1);
  assert.match(refused.stdout, /^It does not fit: /m);
});

test("--sessions counts so many full contexts", async () => {
  const args = ["--budget", "30MB", "-c", "2048", "--keys", "q8"];
  const [one, three, text] = await Promise.all([
    json("plan", ...args),
    json("plan", ...args, "--sessions", "3"),
    thimble(["plan", ...args, "--sessions", "3"]),
  ]);
  assert.equal([one.memory.sessions, three.memory.sessions], [1, 3]);
  assert.is(three.memory.session, one.memory.session);
  const { session, context } = one.memory;
  assert.ok(three.memory.total - one.memory.total >= 2 * (session + context));
  assert.ok(three.ladder[0].largestContext < one.ladder[0].largestContext);
  assert.match(text.stdout, /^3 sessions: tables +[\d.]+ KiB$/m);
  assert.match(text.stdout, /^keys and values of 3 x 2048 tokens +/m);
  assert.match(
    text.stdout,
    /^With this budget 3 sessions run with q8 keys and q8 values, and a context of 2048 tokens each\.$/m,
  );
});

test("run keeps to a budget: same words in q8, fewer bits or less context when it must, and says so", async () => {
  const [free, tight, short] = await Promise.all([
    json("run", ...GREEDY),
    json("run", "--budget", "17MiB", "--context", "2048", ...GREEDY),
    thimble(["run", "--budget", "14MB", "--json", ...GREEDY]),
  ]);
  assert.is(tight.text, free.text);
  assert.ok(tight.memory.wasmPeakBytes <= 17 << 20);
  assert.is(short.code, 0);
  assert.match(short.stderr, /^thimble: the budget has room for \d+ of 8192 tokens, with q3 keys and q3 values\n$/);
  assert.ok(JSON.parse(short.stdout).memory.wasmPeakBytes <= 14_000_000);
  const { stderr } = await thimble(["run", "--stats", "--budget", "17MiB", "-c", "2048", ...GREEDY]);
  assert.match(stderr, /^keys and values +q8 and q8, context of 2048 tokens$/m);
  assert.match(stderr, /^budget +17\.0 MiB$/m);
});

test("chat and perplexity take the same options; what does not fit is refused, with the way out", async () => {
  const file = await temporaryFile("text.txt", "Once upon a time there was a little fox. ".repeat(30));
  const line = ["-c", "600", "--kv-window", "32", "--kv-sinks", "0"];
  const [q8, q3] = await Promise.all([
    json("perplexity", file, ...line),
    json("perplexity", file, ...line, "--keys", "q3", "--values", "q3"),
  ]);
  assert.not.equal(q3.nll, q8.nll);
  assert.ok(Math.abs(q3.meanNll - q8.meanNll) < 0.2, `${q3.meanNll} and ${q8.meanNll}`);
  const chat = await thimble(["run", "--chat", "--budget", "5MB"], { input: "Hello\n" });
  assert.is(chat.code, 1);
  assert.match(chat.stderr, /^thimble: over_budget: .* raise the budget to \d+\n$/);
});

test("with a policy and what stays: how prompts go, and what either way takes", async () => {
  const args = ["plan", MODEL, "-c", "4096", "--policy", "key-diff", "--kv-slots", "96"];
  const free = await json(...args);
  assert.is(free.prompts, "chunks");
  const { chunks, layers } = free.peaks;
  assert.ok(layers < chunks);
  const budget = String(chunks - 65_536);
  const [text, found, whole, none] = await Promise.all([
    thimble([...args, "--budget", budget]),
    json(...args, "--budget", budget),
    json(...args, "--prompts", "layers"),
    thimble([...args.slice(0, -2), "--prompts", "layers"]),
  ]);
  assert.equal([found.load.prompts, found.load.memory.total, found.load.keys], ["layers", layers, "q8"]);
  assert.equal([whole.prompts, whole.memory.total], ["layers", layers]);
  assert.match(text.stdout, /^rows of a prompt of 4096 tokens +6\.0 MiB$/m);
  assert.match(text.stdout, /^in chunks +[\d.]+ MiB$/m);
  assert.match(text.stdout, /^layer by layer +[\d.]+ MiB +taken$/m);
  assert.match(text.stdout, /^q8 +q8 .* layers$/m);
  assert.match(text.stdout, /Prompts go layer by layer\.$/m);
  assert.is(none.code, 1);
  assert.match(none.stderr, /prompts cannot go layer by layer: .* policy and keep/);
});

test("run and perplexity give the same whichever way prompts go", async () => {
  const ids = `--prompt-ids=${Array.from({ length: 200 }, (_, i) => 100 + ((i * 37) % 900)).join(",")}`;
  const keeping = ["--policy", "snapkv:window=16", "--kv-ratio", "0.5", "-c", "512"];
  const [run, other] = await Promise.all(
    ["chunks", "layers"].map((way) =>
      json("run", ids, "--temp", "0", "-n", "6", ...keeping, "--prompts", way, "--quiet"),
    ),
  );
  assert.equal(run.completionIds, other.completionIds);
  const [nll, same] = await Promise.all(
    ["chunks", "layers"].map((way) =>
      json("perplexity", ids, "--from", "150", ...keeping, "--prompts", way, "--quiet"),
    ),
  );
  assert.equal(nll.nll, same.nll);
});

test.run();
