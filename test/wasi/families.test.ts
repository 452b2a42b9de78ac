/** Tiny models of every family, with a vocabulary of bytes: the command computes what the library computes. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { families, loadFamily } from "../model/families.ts";
import { randomIds } from "../model/load.ts";
import { fileOf, giveBytes } from "./files.ts";
import { runInMemory } from "./memory-wasi.ts";

const test = suite("wasi families");

/** Long enough for a closed page, and for layers whose window ends. */
const TEXT = "The quick brown fox jumps over the lazy dog, and the dog sleeps on.";

for (const family of families) {
  test(family.name, async () => {
    const model = await loadFamily(family, "q8_0", "long", {});
    giveBytes(model);
    const session = model.session();
    const { completionIds } = await session.complete({ text: TEXT }, { temperature: 0, maxTokens: 12 });
    assert.is(completionIds.length, 12);
    const args = ["/m/model", TEXT, "--raw", "--temp", "0", "-n", "12", "--ids"];
    const { code, stdout, stderr } = runInMemory(args, { files: { model: fileOf(model) } });
    assert.is(code, 0, stderr);
    assert.is(stdout.trim().replaceAll("\n", " "), completionIds.join(" "));
  });
}

test("bytes that are no text come out as the library has them", async () => {
  const model = await loadFamily(families[0]!, "q8_0", "long", {});
  giveBytes(model);
  const files = { model: fileOf(model) };
  const args = ["/m/model", TEXT, "--raw", ..."--temp 100 --top-k 0 --top-p 1 --min-p 0 --seed 5".split(" ")];
  const options = { temperature: 100, topK: 0, topP: 1, minP: 0, seed: 5 };
  let ended = 0;
  for (let maxTokens = 60; maxTokens < 80; ++maxTokens) {
    const { text } = await model.session().complete({ text: TEXT }, { ...options, maxTokens });
    if (maxTokens === 60) assert.ok(text.split("\ufffd").length > 20, "bytes that are none");
    ended += text.endsWith("\ufffd") ? 1 : 0;
    const { stdout } = runInMemory([...args, "-n", `${maxTokens}`], { files });
    assert.is(stdout, `${text}\n`);
  }
  assert.ok(ended > 3, "turns that end within a character");
});

/** Options that look drawn and are the same everywhere. */
function samplings(): { temperature: number; topK: number; topP: number; minP: number; seed: number }[] {
  const ids = randomIds(300, 1000, 8);
  return Array.from({ length: 60 }, (_, i) => {
    const pick = (k: number, values: readonly number[]): number => values[ids[5 * i + k]! % values.length]!;
    return {
      temperature: pick(0, [0.001, 0.1, 0.7, 1, 1.3, 4, 100]),
      topK: pick(1, [0, 0, 1, 2, 7, 40, 255, 256, 1000]),
      topP: pick(2, [0, 0.05, 0.3, 0.5, 0.9, 0.95, 0.999, 1, 1]),
      minP: pick(3, [0, 0, 0.001, 0.05, 0.2, 0.5, 1]),
      seed: ids[5 * i + 4]! * 9_007_199_254_740,
    };
  });
}

for (const [what, values] of [
  ["drawn tokens", undefined],
  ["drawn tokens where all logits are equal", (_: string, values: Float32Array) => void values.fill(0)],
] as const) {
  test(what, async () => {
    const llama = families.find(({ name }) => name === "llama")!;
    const model = await loadFamily(llama, "f32", "short", {}, values === undefined ? {} : { values });
    giveBytes(model);
    const files = { model: fileOf(model) };
    for (const options of samplings()) {
      const { temperature, topK, topP, minP, seed } = options;
      const { completionIds } = await model.session().complete({ text: "A" }, { ...options, maxTokens: 20 });
      const args = `--raw --ids -n 20 --temp ${temperature} --top-k ${topK} --top-p ${topP} --min-p ${minP} --seed ${seed}`;
      const { stdout, stderr } = runInMemory(["/m/model", "A", ...args.split(" ")], { files });
      assert.is(stdout.trim().replaceAll("\n", " "), completionIds.join(" "), `${args}: ${stderr}`);
    }
  });
}

test.run();
