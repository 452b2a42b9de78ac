/**
 * `thimble inspect`, and the texts about the tool itself.
 * @module
 */
import { readFile } from "node:fs/promises";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { GGUF_TYPE } from "../../host/tensor-type.ts";
import { writeGguf } from "../host/gguf-writer.ts";
import { temporaryFile, thimble } from "./cli.ts";

async function prints(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await thimble(args);
  assert.equal([code, stderr], [0, ""]);
  return stdout;
}

test("the embedded model in words", async () => {
  const text = await prints("inspect");
  assert.match(text, /^runs here +yes$/m);
  assert.match(text, /^parameters +15\.7 million$/m);
  assert.match(text, /^size +10\.2 MiB$/m);
  assert.match(text, /^llama\.block_count +8$/m);
  assert.match(text, /^tokenizer\.ggml\.tokens .*\(8192 values\)$/m);
  assert.match(text, /^Q4_0 +56 +12582912 +6\.8 MiB +int4 in groups of 32 x int8$/m);
  assert.not.match(text, /blk\.0\.attn_q\.weight/);
  assert.not.match(text, /[\u2500-\u257f]/u, "no frames outside a terminal");
  assert.not.ok(text.includes("\u001b"), "no colours outside a terminal");
});

test("--tensors lists each, --json all of it", async () => {
  const [text, json] = await Promise.all([prints("inspect", "--tensors"), prints("inspect", "--json")]);
  const found = JSON.parse(json);
  assert.is(found.runs, true);
  assert.is(found.parameters, 15_735_168);
  assert.is(found.size, (await readFile("models/thimble-15m.Q4_0.gguf")).length);
  assert.is(found.tensors.length, 74);
  assert.is(found.config.nLayers, 8);
  assert.equal(found.metadata["tokenizer.ggml.tokens"].length, 8192);
  assert.is(found.metadata["tokenizer.ggml.tokens"].first[1], "<|im_start|>");
  const { name, type, shape, bytes, offset } = found.tensors[0];
  const row = [name, type, shape.join(" x "), bytes, offset].join(" +").replaceAll(".", "\\.");
  assert.match(text, new RegExp(`^${row}$`, "m"));
});

test("a file that cannot run is shown, with the reason", async () => {
  const path = await temporaryFile(
    "bert.gguf",
    writeGguf({
      metadata: {
        "general.architecture": { type: "string", value: "bert" },
        "bert.big": { type: "u64", value: 2n ** 60n },
      },
      tensors: [{ name: "token_embd.weight", type: GGUF_TYPE.MXFP4, shape: [32, 4] }],
    }),
  );
  const [text, json] = await Promise.all([prints("inspect", path), prints("inspect", path, "--json")]);
  assert.match(text, /^runs here +no: unsupported_architecture: .*"bert"/m);
  assert.match(text, /^MXFP4 +1 +128 +68 bytes +cannot be computed$/m);
  const found = JSON.parse(json);
  assert.equal([found.runs, found.error.code], [false, "unsupported_architecture"]);
  assert.is(found.metadata["bert.big"], String(2n ** 60n));
});

/** Long options by command; a change here is a change of the tool's interface. */
const COMMON = ["help", "json", "model"];
const KV = ["kv-format", "kv-group", "kv-rotation", "kv-sinks", "kv-window"];
const MEMORY = ["budget", "chunk", "context", "keys", ...KV, "policy", "threads", "values"];
const LOADING = ["activations", "filters", "head-scores", "quiet", "variant", ...MEMORY];
const FORGETTING = ["kv-bytes", "kv-ratio", "kv-slots", "overflow", "prompts", "sinks", "window"];
const OPTIONS: Record<string, string[]> = {
  run: [
    ...[
      "chat",
      "frequency-penalty",
      "ignore-eos",
      "logit-bias",
      "logprobs",
      "max-tokens",
      "min-p",
      "pack",
      "presence-penalty",
    ],
    ...["prompt-ids", "raw", "repeat-last-n", "repeat-penalty", "seed", "special", "stats", "stop", "system"],
    ...["temp", "temperature", "top-k", "top-p", "dump-cache", "ledger", ...FORGETTING, ...LOADING, ...COMMON],
  ],
  inspect: ["tensors", ...COMMON],
  pack: ["output", "prompt-ids", "raw", "system", "wasi", ...LOADING, ...COMMON],
  calibrate: ["activations", "output", "quiet", "threads", "tokens", "variant", ...COMMON],
  plan: ["activations", "kv-bytes", "kv-ratio", "kv-slots", "prompts", "sessions", ...MEMORY, ...COMMON],
  "calibrate-heads": ["activations", "kind", "output", "quiet", "text", "threads", "tokens", "variant", ...COMMON],
  perplexity: ["from", "prompt-ids", ...FORGETTING, ...LOADING, ...COMMON],
};

test("help teaches every option, in lines that fit, and is reachable from anywhere", async () => {
  const general = await prints("--help");
  for (const [command, options] of Object.entries(OPTIONS)) {
    assert.match(general, new RegExp(`^  ${command} `, "m"));
    const help = await prints(command, "--no-such", "--help");
    const named = [...help.matchAll(/^ {2}.*?(?= {2,}|$)/gm)].flatMap(([head]) => head.match(/--[\w-]+/g) ?? []);
    const heads = help.slice(help.indexOf("Options:"), help.indexOf("Examples:"));
    const listed = [...new Set(named.filter((name) => heads.includes(name)))].map((name) => name.slice(2));
    assert.equal(listed.sort(), options.sort(), command);
    assert.match(help, new RegExp(`^Usage: thimble ${command} `));
    assert.match(help, /^Examples:\n {2}# /m);
    for (const line of help.split("\n")) assert.ok(line.length <= 100, line);
  }
});

test("--version is the package's", async () => {
  const { version } = JSON.parse(await readFile("package.json", "utf8"));
  assert.is(await prints("--version"), `${version}\n`);
});

test.run();
