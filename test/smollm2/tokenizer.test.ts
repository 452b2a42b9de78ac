/**
 * The tokenizer of SmolLM2-135M-Instruct (49,152 tokens) against reference ids. THIMBLE_SMOLLM2 names the GGUF file;
 * THIMBLE_REFERENCE the folder of reference measurements, whose texts are not part of this repository.
 */
import { readFileSync } from "node:fs";
import { gguf } from "@huggingface/gguf";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createChatTemplate, encodeChat } from "../../host/chat.ts";
import { createTokenizer } from "../../host/tokenizer.ts";

interface Reference {
  readonly prompts: readonly { readonly name: string; readonly text: string; readonly ids: number[] }[];
  readonly nll: { readonly ids: number[] };
}

const file = process.env.THIMBLE_SMOLLM2;
const folder = process.env.THIMBLE_REFERENCE;
const test = suite("smollm2 tokenizer");

if (file === undefined) {
  console.log("not run: SmolLM2 tokenizer tests (THIMBLE_SMOLLM2 does not name the GGUF file)");
} else {
  const metadata: Record<string, unknown> = { ...(await gguf(file, { allowLocalFile: true })).metadata };
  const tokenizer = createTokenizer(metadata, file);

  test("has the vocabulary of the file", () => {
    assert.is(tokenizer.vocabSize, 49152);
    assert.is(tokenizer.controls.size, 17);
    assert.equal(tokenizer.eosIds, [0, 2]);
    assert.is(tokenizer.warnings.length, 1); // 21 bytes have no token
  });

  test("encodes a conversation as its rendered text", () => {
    const template = createChatTemplate(String(metadata["tokenizer.chat_template"]));
    const messages = [{ role: "user" as const, content: "How many days are in 2 weeks?" }];
    const ids = encodeChat(tokenizer, template, messages);
    assert.equal(ids, tokenizer.encode(template.render(messages)));
    assert.equal(ids.slice(0, 2), [1, 9690]);
    assert.is(ids.filter((id) => tokenizer.isControl(id)).length, 5);
  });

  if (folder === undefined) {
    console.log("not run: SmolLM2 tokenizer parity (THIMBLE_REFERENCE does not name the reference folder)");
  } else {
    test("gives the ids of the reference prompts and text", () => {
      const reference: Reference = JSON.parse(readFileSync(`${folder}/golden/golden.json`, "utf8"));
      for (const { name, text, ids } of reference.prompts) assert.equal(tokenizer.encode(text), ids, name);
      const text = readFileSync(`${folder}/golden/nll_text.txt`, "utf8");
      const ids = tokenizer.encode(text);
      assert.equal(ids.slice(0, reference.nll.ids.length), reference.nll.ids);
      assert.is(tokenizer.decode(ids), text);
    });
  }
}

test.run();
