/**
 * Wrong usage, wrong files, wrong input: exit codes, stable error codes, one line each.
 * @module
 */
import { readFile } from "node:fs/promises";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { GGUF_TYPE } from "../../host/tensor-type.ts";
import { writeGguf } from "../host/gguf-writer.ts";
import { type Surroundings, temporaryFile, thimble } from "./cli.ts";

const MODEL = "models/thimble-15m.Q4_0.gguf";

/** Exit code 1, one line on stderr and an object on stdout. */
async function fails(args: readonly string[], code: string, surroundings: Surroundings = {}): Promise<unknown> {
  const outcome = await thimble([...args, "--json"], surroundings);
  assert.is(outcome.code, 1, `${args}: ${outcome.stderr}`);
  const { error } = JSON.parse(outcome.stdout);
  assert.is(error.code, code);
  assert.is(outcome.stderr, `thimble: ${code}: ${error.message}\n`);
  assert.not.match(error.message, /\n/);
  return error;
}

test("wrong usage exits with 2, says nothing on stdout, and leads to the help in one line", async () => {
  const cases: [string[], RegExp][] = [
    [[], /the commands are run, inspect, plan, pack, perplexity/],
    [["tell"], /no command "tell"; the commands are run, inspect, plan, pack, perplexity/],
    [["run", "--temp", "hot", "x", "--json"], /--temp takes 0, or a number from 0\.001 to 100, got "hot"/],
    [["run", "--prompt-ids", "1,two"], /--prompt-ids takes token ids .* got "two"/],
    [["run", "a", "b", "c"], /3 arguments/],
    [["run", "-m", MODEL, MODEL, "x"], /named twice/],
    [["run", "--chat", "--json"], /--chat and --json/],
    [["run", "x", "--logprobs", "1"], /--logprobs needs --json/],
    [["perplexity"], /nothing to score/],
    [["inspect", MODEL, MODEL], /2 arguments/],
    [["plan", MODEL, MODEL], /2 arguments/],
    [["plan", "--budget", "128M"], /--budget takes bytes, or a number with kB, MB, .* got "128M"/],
    [["run", "x", "--budget", "0"], /--budget takes bytes/],
    [["run", "x", "--keys", "q5"], /--keys takes f32 or q8 or q4 or q3, got "q5"/],
    [["perplexity", "x", "--kv-window", "33"], /--kv-window takes a multiple of 32 from 32/],
  ];
  for (const [args, message] of cases) {
    const { code, stdout, stderr } = await thimble(args);
    assert.equal([code, stdout], [2, ""], `${args}: ${stderr}`);
    assert.match(stderr, /^thimble[^\n]*--help\n$/);
    assert.match(stderr, message);
  }
});

test("files that cannot be read or run", async () => {
  const model = await readFile(MODEL);
  const bert = writeGguf({
    metadata: { "general.architecture": { type: "string", value: "bert" } },
    tensors: [{ name: "token_embd.weight", type: GGUF_TYPE.F32, shape: [8, 4] }],
  });
  const [text, cut, unsupported] = await Promise.all([
    temporaryFile("text.gguf", "Once upon a time"),
    temporaryFile("cut.gguf", model.subarray(0, 5_000_000)),
    temporaryFile("bert.gguf", bert),
  ]);
  await fails(["run", "no-such.gguf"], "source_unreadable", { input: "Hello" });
  await fails(["run", text, "Hello"], "bad_magic");
  await fails(["inspect", text], "bad_magic");
  await fails(["run", unsupported, "Hello"], "unsupported_architecture");
  assert.equal(await fails(["run", cut, "Hello"], "truncated_file"), {
    code: "truncated_file",
    message: `${cut}: the file has 5000000 of the ${model.length} bytes its header declares; it ends before or inside tensor "blk.1.ffn_up.weight"; download it again`,
    file: cut,
    needed: model.length,
    available: 5_000_000,
  });
});

test("prompts that cannot be evaluated", async () => {
  const long = "word ".repeat(20);
  const overflow = (await fails(["run", "-c", "16", long], "context_length_exceeded")) as { needed: number };
  assert.ok(overflow.needed > 20);
  await fails(["run"], "empty_prompt", { input: "\n" });
  await fails(["run", "--raw", ""], "empty_prompt");
  await fails(["run", "--prompt-ids", "[]"], "empty_prompt");
  await fails(["run", "--prompt-ids", "99999999"], "invalid_option");
  await fails(["run"], "invalid_text", { input: new Uint8Array([0x61, 0xff]) });
  await fails(["perplexity", await temporaryFile("cut.txt", new Uint8Array([0x61, 0xc3]))], "invalid_text");
  await fails(["perplexity", "no-such.txt"], "source_unreadable");
  await fails(["run", "x", "-c", "1000000"], "invalid_option");
  await fails(["plan", "-c", "1000000"], "invalid_option");
});

test("what a file says of itself cannot write on the terminal", async () => {
  const path = await temporaryFile(
    "trap.gguf",
    writeGguf({
      metadata: { "general.architecture": { type: "string", value: "\u001b[2J\u202e\nbert" } },
      tensors: [{ name: "token_embd.weight", type: GGUF_TYPE.F32, shape: [8] }],
    }),
  );
  const outcomes = await Promise.all([thimble(["run", path, "x"]), thimble(["inspect", path])]);
  for (const { stdout, stderr } of outcomes) {
    assert.match(stdout + stderr, /\\u\{1b\}\[2J\\u\{202e\}\\nbert/);
    assert.not.ok((stdout + stderr).includes("\u001b") || (stdout + stderr).includes("\u202e"));
  }
});

test("without --json a failure is one line; a stack trace comes with THIMBLE_DEBUG=1 only", async () => {
  const line = ["run", "no-such.gguf", "Hello"];
  const [plain, debug] = await Promise.all([thimble(line), thimble(line, { env: { THIMBLE_DEBUG: "1" } })]);
  const stderr = "thimble: source_unreadable: no-such.gguf: there is no such file; check the path\n";
  assert.equal(plain, { code: 1, stdout: "", stderr });
  assert.ok(debug.stderr.startsWith(stderr));
  assert.match(debug.stderr, /\n {4}at /);
});

test.run();
