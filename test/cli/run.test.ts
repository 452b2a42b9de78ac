/**
 * `thimble run`: what comes out where, and what each way to give a prompt means.
 * @module
 */
import { once } from "node:events";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { outcome, start, temporaryFile, thimble } from "./cli.ts";

const FOX = "Tell me a story about a fox.";
const GREEDY = ["--temp", "0", "-n", "12"];

async function json(...args: string[]) {
  const { code, stdout, stderr } = await thimble(["run", "--json", ...args]);
  assert.is(code, 0, stderr);
  assert.is(stdout.trimEnd().split("\n").length, 1, "one object in one line");
  return JSON.parse(stdout);
}

let greedyFox: ReturnType<typeof json> | undefined;

/** The run that others are compared with, once. */
function greedy() {
  greedyFox ??= json(FOX, ...GREEDY, "--logprobs", "2");
  return greedyFox;
}

test("stdout is the model's text and one newline, stderr is empty", async () => {
  const [plain, result] = await Promise.all([thimble(["run", FOX, ...GREEDY]), greedy()]);
  assert.equal(plain, { code: 0, stdout: `${result.text}\n`, stderr: "" });
  assert.match(result.text, /^There once was a clever fox/);
});

test("--json has the whole result", async () => {
  const result = await greedy();
  assert.is(result.usage.promptTokens, result.promptIds.length);
  assert.is(result.usage.reusedTokens, 0);
  assert.is(result.usage.completionTokens, 12);
  assert.is(result.completionIds.length, 12);
  assert.is(result.finishReason, "length");
  assert.is(result.variant, "simd");
  assert.is(result.model, "Thimble 15M Instruct");
  assert.type(result.seed, "number");
  assert.is(result.logprobs.length, 12);
  for (const [i, { id, logprob, top }] of result.logprobs.entries()) {
    assert.is(id, result.completionIds[i]);
    assert.is(top.length, 2);
    assert.is(top[0].id, id, "greedy takes the most likely");
    assert.is(top[0].logprob, logprob);
  }
  for (const name of ["prefillMs", "decodeMs", "prefillPerSecond", "decodePerSecond", "firstTokenMs", "loadMs"]) {
    assert.ok(result.timings[name] > 0, name);
  }
  const { wasmPeakBytes, weightsBytes, runStateBytes, sessionBytes, pageBytes, otherBytes } = result.memory;
  assert.is(weightsBytes + runStateBytes + sessionBytes + pageBytes + otherBytes, wasmPeakBytes);
  assert.ok(otherBytes >= 0 && otherBytes < 1 << 17, `${otherBytes} bytes are in no part`);
});

test("a prompt comes as an argument, on stdin, after -, or as ids; a model before it or by name", async () => {
  const model = "models/thimble-15m.Q4_0.gguf";
  const expected = await greedy();
  const ids = expected.promptIds;
  const file = await temporaryFile("ids.json", JSON.stringify(ids, null, 2));
  const ways: [string[], string?, Record<string, string>?][] = [
    [[], `${FOX}\n`],
    [[model, "-"], `${FOX}\r\n`],
    [[model, FOX]],
    [[FOX, "-m", model]],
    [[FOX], "", { THIMBLE_MODEL: model }],
    [["--prompt-ids", ids.join(",")]],
    [["--prompt-ids", `@${file}`]],
    [["--", FOX]],
  ];
  for (const [args, input = "", env = {}] of ways) {
    const line = ["run", "--json", ...GREEDY, ...args];
    const { stdout, stderr } = await thimble(line, { input, env });
    const result = JSON.parse(stdout || "{}");
    assert.equal(result.promptIds, ids, `${args}: ${stderr}`);
    assert.is(result.text, expected.text, String(args));
  }
});

test("--system and --raw change the prompt", async () => {
  const [plain, system, raw] = await Promise.all([
    greedy(),
    json(FOX, ...GREEDY, "--system", "Be brief."),
    json(FOX, ...GREEDY, "--raw"),
  ]);
  assert.ok(system.promptIds.length > plain.promptIds.length);
  assert.ok(raw.promptIds.length < plain.promptIds.length);
  assert.is(plain.promptIds.join().includes(raw.promptIds.join()), true);
});

test("--seed repeats, another seed does not; the reported seed repeats too", async () => {
  const draw = (...args: string[]) => json(FOX, "--temp", "1.5", "-n", "12", ...args);
  const [one, same, other, drawn] = await Promise.all([
    draw("--seed", "7"),
    draw("--seed=7"),
    draw("--seed", "8"),
    draw(),
  ]);
  assert.is(one.seed, 7);
  assert.equal(same.completionIds, one.completionIds);
  assert.not.equal(other.completionIds, one.completionIds);
  assert.equal((await draw("--seed", String(drawn.seed))).completionIds, drawn.completionIds);
});

test("--stop, --max-tokens, --ignore-eos and --special end a text where they say", async () => {
  const [whole, stopped, none, one, eos, beyond] = await Promise.all([
    greedy(),
    json(FOX, ...GREEDY, "--stop", "never there", "--stop", " fox"),
    json(FOX, "--temp", "0", "-n", "0"),
    json(FOX, "--temp", "0", "-n", "1"),
    json("Say yes.", "--temp", "0", "-n", "400"),
    json("Say yes.", "--temp", "0", "-n", "40", "--ignore-eos", "--special"),
  ]);
  assert.is(stopped.text, whole.text.slice(0, whole.text.indexOf(" fox")));
  assert.is(stopped.finishReason, "stop");
  assert.equal([none.text, none.completionIds, none.finishReason], ["", [], "length"]);
  assert.equal(one.completionIds, whole.completionIds.slice(0, 1));
  assert.is(eos.finishReason, "stop");
  assert.is(beyond.finishReason, "length");
  assert.ok(beyond.text.startsWith(`${eos.text}<|im_end|>`), beyond.text.slice(0, 200));
});

test("--logit-bias bans a token", async () => {
  const [first] = (await greedy()).completionIds;
  const banned = await json(FOX, ...GREEDY, "--logit-bias", `${first}=-inf`);
  assert.is.not(banned.completionIds[0], first);
});

test("--chunk, --threads and --variant change nothing of the text; --stats speaks on stderr only, --quiet not at all", async () => {
  const [{ text }, noted, quiet] = await Promise.all([
    greedy(),
    thimble(["run", FOX, ...GREEDY, "--chunk", "3", "--threads", "2", "--variant", "simd", "--stats"]),
    thimble(["run", FOX, ...GREEDY, "--threads", "2", "-q"]),
  ]);
  assert.is(noted.stdout, `${text}\n`);
  assert.match(noted.stderr, /^ *variant +simd, 2 threads/m);
  for (const part of [
    "prompt",
    "completion",
    "first token",
    "prefill",
    "decode",
    "weights",
    "KV pages",
    "model file",
  ]) {
    assert.match(noted.stderr, new RegExp(`^ *${part} .*\\d`, "m"));
  }
  assert.equal(quiet, { code: 0, stdout: `${text}\n`, stderr: "" });
});

test("--chat answers line after line, knows commands, and forgets on /reset", async () => {
  const first = `${FOX}\n`;
  const input = `${first}/help\n${first}/reset\n\n${first}/exit\n${first}`;
  const { code, stdout, stderr } = await thimble(["run", "--chat", ...GREEDY, "--stats"], { input });
  assert.is(code, 0, stderr);
  const answers = stdout.trimEnd().split("\n");
  assert.is(answers.length, 3);
  assert.is(answers[0], answers[2], "the same conversation again");
  assert.match(stderr, /\/reset +forget/);
  const reused = [...stderr.matchAll(/(\d+) of them reused/g)].map(([, n]) => Number(n));
  assert.is(reused.length, 3);
  assert.ok(reused[1]! > 16, `the second turn reuses the first, not ${reused[1]} tokens`);
  assert.equal([reused[0], reused[2]], [0, 0]);
});

test("--chat lists what was forgotten, by number, and brings it back with the next message", async () => {
  const fact = "The pass key is 48210. Remember it. 48210 is the pass key.";
  const line = (n: number): string => Array.from({ length: n }, (_, i) => `On day ${i} the fox saw a bird.`).join(" ");
  const input = [
    "/forgotten",
    "/recall 1",
    `Read the text and answer the question. ${line(5)} ${fact} ${line(8)} What is the pass key?`,
    `Tell me a story about this. ${line(40)}`,
    "/forgotten",
    ...["/recall 1", "/recall none", "/recall", "/recall 1 9", "/recall x", "/recalls", "/recall  1"],
    "What is the pass key?",
    "/forgotten",
  ];
  const args = ["--temp", "0", "-n", "16", "-c", "512", "--overflow", "evict", "--stats"];
  const { code, stdout, stderr } = await thimble(["run", "--chat", ...args], { input: `${input.join("\n")}\n` });
  assert.is(code, 0, stderr);
  assert.match(stdout.trimEnd().split("\n").at(-1)!, /48210/);
  const [before, after] = [
    ...stderr.matchAll(/^evicted .*\n.*\n *1 +32-(\d+) +2 +streaming +all +[\d.]+ \S+( +3)? /gm),
  ];
  assert.ok(before !== undefined && after !== undefined, stderr);
  assert.equal([before[2], after[2]?.trim()], [undefined, "3"], "the turn that recalled it");
  const n = Number(before[1]) - 31;
  const asked = `(the next message brings back tokens 32-${before[1]}: ${n} in all; /recall none takes that back)`;
  const none = "(the next message recalls nothing; /recall N takes a number of /forgotten)";
  const refused = (number: string) => `thimble: invalid_option: there is no span ${number}; /forgotten lists them`;
  const notes = stderr.split("\n").filter((said) => /^\(the next|^thimble: |^nothing|^There is no/.test(said));
  assert.equal(notes, [
    ...["nothing was evicted", refused("1"), none, asked, none, none, refused("9"), none, refused("x"), none],
    ...["There is no /recalls.", asked],
  ]);
  assert.match(stderr, new RegExp(`^prompt .* of them reused, ${n} recalled$`, "m"));
});

test("SIGINT ends a running text with 130", async () => {
  const child = await start(["run", FOX, "--ignore-eos", "-n", "100000"]);
  const ended = outcome(child);
  await once(child.stdout, "data");
  child.kill("SIGINT");
  const { code, stderr } = await ended;
  assert.equal([code, stderr], [130, ""]);
});

test("a reader that goes away ends it quietly", async () => {
  const child = await start(["run", FOX, "--ignore-eos", "-n", "100000"]);
  const ended = outcome(child);
  await once(child.stdout, "data");
  child.stdout.destroy();
  const { code, stderr } = await ended;
  assert.equal([code, stderr], [0, ""]);
});

test("--overflow evict goes on past the context, and --ledger tells what went; perplexity takes a longer text", async () => {
  const long = ["-c", "192", "--overflow", "evict", "--raw", "--ignore-eos", "--temp", "0", "-n", "300"];
  const [told, result, silent] = await Promise.all([
    thimble(["run", ...long, "--ledger", "Once"]),
    json(...long, "--ledger", "Once"),
    thimble(["run", "-c", "192", "--overflow", "evict", "--raw", "-n", "3", "--ledger", "Once"]),
  ]);
  assert.is(result.completionIds.length, 300);
  assert.is(told.stdout, `${result.text}\n`);
  const [entry] = result.ledger;
  assert.equal([result.ledger.length, entry.first, entry.policy, entry.turn], [1, 32, "streaming", 0]);
  assert.match(
    told.stderr,
    new RegExp(`^evicted ${entry.end - 32} tokens, .*\\n.*\\n *1 +32-${entry.end - 1} +1 +streaming +all `),
  );
  assert.is(silent.stderr, "nothing was evicted\n");
  const score = ["perplexity", "-c", "192", "--prompt-ids", result.completionIds.join(","), "--json"];
  const [refused, scored] = await Promise.all([thimble(score), thimble([...score, "--overflow", "evict"])]);
  assert.match(refused.stderr, /^thimble: context_length_exceeded: /);
  assert.is(JSON.parse(scored.stdout).nll.length, 299);
});

test("--policy keeps a part of the prompt, --dump-cache shows which; what does not go together is refused", async () => {
  const prompt = [
    "--prompt-ids",
    Array.from({ length: 120 }, (_, i) => 300 + 7 * i).join(","),
    "--temp",
    "0",
    "-n",
    "4",
  ];
  const result = await json(...prompt, "--policy", "snapkv:window=16", "--kv-ratio", "0.5", "--dump-cache", "--ledger");
  assert.ok(result.kept.flat().every((head: number[]) => head.length === 60 && head.at(-1) === 119));
  assert.is(result.ledger[0].policy, "snapkv");
  const byDefault = await json(...prompt, "--kv-ratio", "0.5", "--ledger");
  assert.is(byDefault.ledger[0].policy, "kvzip"); // the policy that keeps most
  const whole = await json(...prompt, "--dump-cache");
  assert.equal(
    whole.kept[0][0],
    Array.from({ length: 120 }, (_, i) => i),
  );
  for (const [args, message] of [
    [["--policy", "tova"], /needs --kv-ratio/],
    [["--policy", "tova", "--kv-ratio", "0.5", "--kv-bytes", "1MB"], /do not go together/],
    [["--policy", "nope", "--kv-ratio", "0.5"], /there is no policy "nope"; there are streaming, /],
    [["--policy", "snapkv:windw=3", "--kv-ratio", "0.5"], /its parameters are kernel, window/],
    [["--dump-cache"], /--dump-cache needs --json/],
  ] as const) {
    const { code, stderr } = await thimble(["run", ...args, "Hello"]);
    assert.not.equal(code, 0);
    assert.match(stderr, message);
  }
});

test.run();
