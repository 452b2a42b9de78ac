/** SmolLM2 in the command: its file, its tokenizer and template as tables, the library's tokens. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { load } from "../model/load.ts";
import { fileOf } from "../wasi/files.ts";
import { runInMemory } from "../wasi/memory-wasi.ts";
import { modelPath, notRun } from "./reference.ts";

if (modelPath === undefined) notRun("SmolLM2 in the WASI command", "THIMBLE_SMOLLM2");
else {
  const model = await load(modelPath, { contextLength: 1024 });
  const files = { model: fileOf(model) };
  const idsOf = (args: readonly string[]): number[] => {
    const { code, stdout, stderr } = runInMemory(["/m/model", ...args], { files });
    assert.is(code, 0, stderr);
    return stdout
      .split(/\s+/)
      .filter((word) => word !== "")
      .map(Number);
  };

  test("32 greedy tokens, and 32 drawn ones, are the library's", async () => {
    const prompt = "What is the capital of France? Na\u00efve caf\u00e9s \u4f60\u597d 2,024.5";
    const greedy = await model.session().complete(prompt, { temperature: 0, maxTokens: 32 });
    assert.equal(idsOf([prompt, "--temperature", "0", "-n", "32", "--ids"]), greedy.completionIds);
    const drawn = await model.session().complete(prompt, { seed: 5, maxTokens: 32 });
    assert.equal(idsOf([prompt, "--seed", "5", "-n", "32", "--ids"]), drawn.completionIds);
  });

  test("conversations and texts are the same ids", () => {
    const system = "Answer in one sentence.";
    for (const text of [
      "<|im_end|> I'll pay $1,234.56 for 3 caf\u00e9s;\n\n\tok?",
      "x  y   z\u00a0\u{1f600}",
      "def f(x):\n    return x**2\n",
    ]) {
      const messages = [
        { role: "system", content: system },
        { role: "user", content: text },
      ] as const;
      assert.equal(idsOf([text, `--system=${system}`, "--tokenize"]), model.encodeChat(messages));
      assert.equal(idsOf(["--raw", text, "--tokenize"]), model.tokenize(text));
    }
  });
}

test.run();
