/** thimble pull, list, rm; run, inspect and perplexity with a name. */
import { readFile } from "node:fs/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Outcome, temporaryFile, thimble } from "../cli/cli.ts";
import { Home, someBytes } from "./home.ts";
import { HubServer, sha256 } from "./hub-server.ts";

const NAME = "org/repo/thimble.gguf";

interface Context {
  hub: HubServer;
  home: Home;
  model: Uint8Array;
}
const test = suite<Context>("store on the command line");

test.before(async (context) => {
  context.hub = await HubServer.start();
  context.model = await readFile("models/thimble-15m.Q4_0.gguf");
});
test.before.each(async (context) => {
  context.hub.reset();
  context.hub.add(NAME, context.model);
  context.home = await Home.make(context.hub.endpoint);
});
test.after.each(({ home }) => home.leave());
test.after(({ hub }) => hub.stop());

async function json(...args: string[]): Promise<Record<string, unknown>> {
  const { stdout, stderr } = await thimble([...args, "--json"]);
  assert.match(stdout, /^[^\n]+\n$/, stderr);
  return JSON.parse(stdout);
}

test("run, inspect and perplexity say that they pull, and do", async ({ hub, model }) => {
  const said = `thimble: ${NAME} is not on this machine; pulling it from the hub, org/repo\n`;
  const first = await thimble(["run", NAME, "Hello", "-n", "3", "--temp", "0"]);
  assert.equal([first.code, first.stderr], [0, said]);
  assert.ok(first.stdout.length > 1);
  hub.seen.length = 0;
  const again = await thimble(["run", "-m", NAME, "Hello", "-n", "3", "--temp", "0"], { env: { HF_HUB_OFFLINE: "1" } });
  assert.equal(again, { ...first, stderr: "" });
  assert.is((await json("inspect", NAME)).size, model.byteLength);
  const scored = await thimble(["perplexity", NAME, await temporaryFile("text.txt", "Once upon a time")]);
  assert.equal([scored.code, hub.seen], [0, []], scored.stderr);
  const quiet = await thimble(["run", "-q", "-m", "org/repo/none.gguf", "x"]);
  assert.equal([quiet.code, quiet.stdout], [1, ""]);
  assert.match(quiet.stderr, /^thimble: not_found: [^\n]*thimble\.gguf\n$/);
});

test("a wrong prompt is noticed before a model is fetched; a file is meant before a name", async ({ hub }) => {
  const empty = await thimble(["run", "-m", NAME, "--raw", "--prompt-ids", "1,x"]);
  assert.equal([empty.code, hub.seen], [2, []], empty.stderr);
  assert.match((await thimble(["run", "-m", "smollm3", "x"])).stderr, /not_found: .* it has thimble-15m, smollm2-135m/);
  assert.match((await thimble(["run", "no/such.gguf", "x"])).stderr, /source_unreadable: no\/such\.gguf/);
});

test("the model in the package has a name", async () => {
  const { models } = (await json("list")) as { models: { name: string; state: string; from: string }[] };
  assert.equal(
    models.map(({ name, state, from }) => [name, state, from]),
    [["thimble-15m", "verified", "package"]],
  );
  const { stdout } = await thimble(["pull", "thimble-15m"]);
  assert.match(stdout, /models[\\/]thimble-15m\.Q4_0\.gguf\n$/);
  assert.match((await thimble(["rm", "thimble-15m"])).stderr, /not_found: .*part of the package/);
});

test("pull, list, rm", async ({ hub, home, model }) => {
  const url = `${hub.bytesOrigin}/files/model.gguf`;
  const bytes = someBytes(3_000_000);
  hub.add("files/model.gguf", bytes);
  const pulled = await thimble(["pull", url, "--sha256", sha256(bytes)]);
  const path = home.store("models", "http", encodeURIComponent(new URL(url).host), "files", "model.gguf");
  const source = new URL(url).host;
  assert.equal(pulled, {
    code: 0,
    stdout: `${path}\n`,
    stderr: `thimble: ${url} is not on this machine; pulling it from ${source}\nthimble: ${url}: 2.9 MiB\n`,
  });
  assert.match((await thimble(["pull", url])).stderr, /2\.9 MiB, on this machine already\n$/);
  const object = await json("pull", NAME);
  assert.equal([object.name, object.bytes, object.sha256, object.new], [NAME, model.byteLength, sha256(model), true]);
  const listed = await thimble(["list"], { env: { NO_COLOR: "1" } });
  assert.match(listed.stdout, /^name +size +state +from +path\n/);
  assert.match(listed.stdout, new RegExp(`^${NAME} +10\\.2 MiB +verified +hub org/repo +\\S+thimble\\.gguf$`, "m"));
  assert.ok(listed.stdout.includes(`${url}  `));
  assert.is((await thimble(["list", "--verify"])).code, 0);
  const removed = await thimble(["rm", url]);
  assert.equal(removed, { code: 0, stdout: `${path}\nremoved ${url}: 3000000 bytes (2.9 MiB)\n`, stderr: "" });
  assert.is((await json("rm", NAME)).bytes, model.byteLength);
  assert.equal(await home.files(home.hub()), []);
});

test("failures: one line, a code, exit 1; wrong usage exits with 2", async ({ hub }) => {
  const failure = async (args: string[]): Promise<Outcome & { error: string }> => {
    const outcome = await thimble([...args, "--json"]);
    assert.is(outcome.code, 1, outcome.stdout);
    assert.match(outcome.stderr, /^(?:thimble: [^\n]*pulling[^\n]*\n)?thimble: \w+: [^\n]*\n$/);
    return { ...outcome, error: JSON.parse(outcome.stdout).error.code };
  };
  hub.habit = { kind: "wrong" };
  const cases: [string, string[]][] = [
    ["hash_mismatch", ["pull", NAME]],
    ["offline", ["pull", "org/repo/other.gguf", "--offline"]],
    ["invalid_option", ["pull", "../up/model.gguf"]],
    ["not_found", ["rm", "org/repo/other.gguf"]],
  ];
  await Promise.all(cases.map(async ([code, args]) => assert.is((await failure(args)).error, code, args.join(" "))));
  const wrong = [["pull"], ["rm", "a", "b"], ["list", "a"]];
  for (const { code, stdout, stderr } of await Promise.all(wrong.map((args) => thimble(args)))) {
    assert.equal([code, stdout], [2, ""]);
    assert.match(stderr, /^thimble [^\n]*--help\n$/);
  }
});

test.run();
