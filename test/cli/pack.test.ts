/** `thimble pack` and `run --pack`: a prompt computed once, begun with later; packs that do not fit are named. */
import { readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { temporaryFile, thimble } from "./cli.ts";

const SYSTEM = "You are a storyteller. Every story has a fox in it, and ends well for all who were kind.";
const PROMPT = "Tell me a story.";
const GREEDY = ["--temp", "0", "-n", "8"];

const prompt = await temporaryFile("system.txt", `${SYSTEM}\n`);
const at = (name: string) => join(dirname(prompt), name);

async function json(...args: string[]) {
  const { code, stdout, stderr } = await thimble(args);
  assert.is(code, 0, stderr);
  return JSON.parse(stdout);
}

test("a pack is the prompt, computed: the same answer, its tokens reused; the same file each time", async () => {
  const [made, again] = await Promise.all([
    json("pack", "--system", SYSTEM, "-o", at("a.pack"), "--json"),
    thimble(["pack", "--system", `@${prompt}`, "--output", at("b.pack"), "--quiet"]),
  ]);
  assert.equal(again, { code: 0, stdout: `${at("b.pack")}\n`, stderr: "" });
  const file = await readFile(at("a.pack"));
  assert.is(made.bytes, file.length);
  assert.ok(Buffer.compare(file, await readFile(at("b.pack"))) === 0);
  const [plain, packed] = await Promise.all([
    json("run", PROMPT, "--system", SYSTEM, ...GREEDY, "--json"),
    json("run", PROMPT, "--pack", at("a.pack"), ...GREEDY, "--json"),
  ]);
  assert.is(packed.text, plain.text);
  assert.is(packed.usage.promptTokens, plain.usage.promptTokens);
  assert.is(packed.usage.reusedTokens, made.tokens);
  assert.is(plain.usage.reusedTokens, 0);
  assert.ok(made.tokens > plain.usage.promptTokens / 2);
});

test("raw texts and ids; a conversation begins anew with it", async () => {
  await Promise.all([
    json("pack", "--raw", "Once upon a time, there was", "-o", at("raw.pack"), "--json"),
    json("pack", "--prompt-ids", "1, 5, 9", "-o", at("ids.pack"), "--json"),
  ]);
  const whole = await json("run", "--raw", "Once upon a time, there was a fox", ...GREEDY, "--json");
  const rest = await json("run", " a fox", "--pack", at("raw.pack"), ...GREEDY, "--json");
  assert.equal(rest.promptIds, whole.promptIds);
  assert.is(rest.text, whole.text);
  const ids = await json("run", "--prompt-ids", "7,8", "--pack", at("ids.pack"), ...GREEDY, "--json");
  assert.equal(ids.promptIds, [1, 5, 9, 7, 8]);
  assert.is(ids.usage.reusedTokens, 3);
  const { code, stdout } = await thimble(["run", "--chat", "--pack", at("a.pack"), ...GREEDY], {
    input: `${PROMPT}\n/reset\n${PROMPT}\n`,
  });
  assert.is(code, 0);
  const [first, second] =
    stdout.trim().split("\n\n").length > 1 ? stdout.trim().split("\n\n") : stdout.trim().split("\n");
  assert.ok(first !== undefined && first.length > 0);
  assert.is(second, first);
});

test("--wasi: the whole model, the same file each time, within the context asked for", async () => {
  const made = await json("pack", "--wasi", "--context", "512", "-o", at("a.thimble"), "--json");
  assert.equal(made, { path: at("a.thimble"), bytes: made.bytes, contextLength: 512, hasTemplate: true });
  const again = await thimble(["pack", "--wasi", "-c", "512", "-o", at("b.thimble"), "--quiet"]);
  assert.equal(again, { code: 0, stdout: `${at("b.thimble")}\n`, stderr: "" });
  const file = await readFile(at("a.thimble"));
  assert.is(file.length, made.bytes);
  assert.ok(Buffer.compare(file, await readFile(at("b.thimble"))) === 0);
  assert.is(file.toString("latin1", 0, 8), "thimWASI");
});

test("what does not fit is said, with the file", async () => {
  const bytes = await readFile(at("a.pack"));
  await writeFile(at("cut.pack"), bytes.subarray(0, bytes.length - 1));
  bytes[bytes.length >> 1]! ^= 4;
  await writeFile(at("flipped.pack"), bytes);
  const cases: readonly (readonly [string[], number, RegExp])[] = [
    [
      ["run", PROMPT, "--pack", at("a.pack"), "--keys", "q4"],
      1,
      /capsule_mismatch: .*a\.pack: .*keys: "q8".*keys: "q4"/,
    ],
    [["run", PROMPT, "--pack", at("cut.pack")], 1, /capsule_malformed: .*cut\.pack: /],
    [["run", PROMPT, "--pack", at("flipped.pack")], 1, /capsule_malformed: /],
    [["run", PROMPT, "--pack", at("none.pack")], 1, /source_unreadable: .*none\.pack: there is no such file/],
    [["run", PROMPT, "--pack", at("a.pack"), "--raw"], 1, /invalid_option: .*leave out --raw/],
    [["run", PROMPT, "--pack", at("a.pack"), "--system", "x"], 2, /--pack and --system do not go together/],
    [["pack", "--system", "x"], 2, /give --output FILE/],
    [["pack", "--wasi"], 2, /give --output FILE/],
    [["pack", "--wasi", "--system", "x", "-o", at("x.pack")], 2, /--wasi and --system do not go together/],
    [["pack", "--wasi", "--activations", "f32", "-o", at("x.pack")], 1, /invalid_option: .*activations "int8"/],
    [["pack", "--wasi", at("none.gguf"), "-o", at("x.pack")], 1, /none\.gguf: there is no such file/],
    [["pack", "-o", at("x.pack")], 2, /give one of --system, --raw and --prompt-ids/],
    [["pack", "--system", "x", "--raw", "y", "-o", at("x.pack")], 2, /one prompt/],
    [["pack", "--system", "", "-o", at("x.pack")], 2, /empty/],
    [["pack", "--system", `@${at("none")}`, "-o", at("x.pack")], 1, /source_unreadable: .*none/],
    [["pack", "--system", "x", "-o", at("none/x.pack")], 1, /could not be written \(ENOENT\)/],
  ];
  for (const [args, code, pattern] of cases) {
    const found = await thimble(args);
    assert.is(found.code, code, `${args.join(" ")}: ${found.stderr}`);
    assert.match(found.stderr, pattern);
    assert.is(found.stdout, "");
  }
});

test.run();
