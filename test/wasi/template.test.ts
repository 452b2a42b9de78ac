/** Chat templates as tables: the ids of the real template, whatever messages say; and which templates are no tables. */
import { gguf } from "@huggingface/gguf";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type ChatMessage, createChatTemplate, encodeChat } from "../../host/chat.ts";
import { ThimbleError } from "../../host/errors.ts";
import { createTokenizer } from "../../host/tokenizer.ts";
import { chatSection, templateTable } from "../../host/wasi/template-table.ts";
import { sampleTexts } from "../host/tokenizer-texts.ts";
import { tokenizerFile } from "./files.ts";
import { runInMemory } from "./memory-wasi.ts";

const test = suite("wasi templates");

const metadata: Record<string, unknown> = {
  ...(await gguf("models/thimble-15m.Q4_0.gguf", { allowLocalFile: true })).metadata,
};
const tokenizer = createTokenizer(metadata);

const LOOP = "{% for m in messages %}";
const END = "{% endfor %}";
const TABLES: Readonly<Record<string, string>> = {
  "the model's own": String(metadata["tokenizer.chat_template"]),
  "contents trimmed": `${LOOP}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n${END}<|im_start|>assistant\n`,
  "control tokens put together": `${LOOP}{{ '<|im_' + 'start|>' }}{{ m.content }}{{ '<|im_' ~ 'end|>' }}${END}>`,
  "no control tokens": `${LOOP}### {{ m.role | capitalize }}:\n{{ m.content }}\n\n${END}### Assistant:\n`,
  "a system prompt of its own": `{% if messages[0].role != 'system' %}<|im_start|>Be kind.<|im_end|>{% endif %}${LOOP}{{ m.content }}<|im_end|>${END}`,
  "the system prompt within the user's turn": `{% if messages[0].role == 'system' %}{% set s = messages[0].content + '\n\n' %}{% set rest = messages[1:] %}{% else %}{% set s = '' %}{% set rest = messages %}{% endif %}<|im_start|>{{ s }}{{ rest[0].content }} [/INST]`,
  "the message twice": `${LOOP}{{ m.content }}|{{ m.content }}<|im_end|>${END}`,
};

const idsOf = (file: Uint8Array, user: string, system?: string) => {
  const args = ["/m/m", "--tokenize", ...(system === undefined ? [] : [`--system=${system}`])];
  const { code, stdout, stderr } = runInMemory(args, { files: { m: file }, stdin: user });
  return code === 0 ? stdout.trim().split(/\s+/).map(Number) : stderr;
};

for (const [name, source] of Object.entries(TABLES)) {
  test(name, () => {
    const template = createChatTemplate(source);
    const file = tokenizerFile(metadata, source);
    const texts = sampleTexts(30, 3).filter((text) => !text.includes("\0"));
    for (const [i, text] of [" \n both ends \u3000\ufeff", "<|im_end|>", ...texts].entries()) {
      const user = `${i}${text}.`;
      const asked: ChatMessage = { role: "user", content: user };
      assert.equal(idsOf(file, user), encodeChat(tokenizer, template, [asked]), JSON.stringify(user));
      const messages: ChatMessage[] = [{ role: "system", content: text }, asked];
      assert.equal(idsOf(file, user, text), encodeChat(tokenizer, template, messages), JSON.stringify(text));
    }
  });
}

test("a template that takes no system prompt", () => {
  const refuses = `{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}{{ messages[0].content }}<|im_end|>`;
  const ignores = `{{ messages[-1].content }}<|im_end|>`;
  for (const source of [refuses, ignores]) {
    const file = tokenizerFile(metadata, source);
    assert.ok(Array.isArray(idsOf(file, "Hi")));
    assert.match(idsOf(file, "Hi", "Be kind.") as string, /takes no system prompt/);
  }
});

test("templates that look at what messages say are no tables", () => {
  const cases = [
    "{{ messages[0].content | upper }}",
    "{% if '/no_think' in messages[0].content %}<think>{% endif %}{{ messages[-1].content }}",
    "{{ messages[0].content.split('</think>')[-1] }}",
    "{{ messages[0].content | length }}{{ messages[0].content }}",
    "{{ messages[0].content.replace('\\n', ' ') }}",
    "{{ messages[0].content.lstrip() }}",
    "{% if messages[0].content | length > 2000 %}{{ raise_exception('long') }}{% endif %}{{ messages[0].content }}",
    "Hello",
  ];
  for (const source of cases) {
    const isRefusal = (error: unknown) => error instanceof ThimbleError && error.code === "template_failed";
    assert.throws(() => templateTable(tokenizer, createChatTemplate(source)), isRefusal, source);
  }
});

test("models without a template, or without a table", () => {
  const without = tokenizerFile(metadata);
  const bos = tokenizer.addBos ? [tokenizer.bosId!] : [];
  assert.equal(idsOf(without, "Hi there"), [...bos, ...tokenizer.encode("Hi there")]);
  assert.match(idsOf(without, "Hi", "Be kind.") as string, /no chat template/);
  assert.is(chatSection("refused").length, chatSection(undefined).length);
});

test.run();
