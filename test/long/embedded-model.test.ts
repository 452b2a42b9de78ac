/**
 * The embedded model against its card (models/MODEL_CARD.md): loss on the held-out texts, and pass keys in about 1,024
 * tokens, both within 1%. Retrieval is scored as the card does: every token of the answer must be the argmax, `<|im_end|>`
 * included.
 */
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { perplexity } from "../../host/perplexity.ts";
import { DEFAULT_MODEL, load } from "../model/load.ts";

/** "all: loss" of the card, column Q4_0. */
const CARD_LOSS = 1.0896;

function lines<T>(path: string): T[] {
  return readFileSync(path, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as T);
}

test("held-out loss is the card's", async () => {
  const model = await load(DEFAULT_MODEL, { maxOutputs: 64 });
  let sum = 0;
  let n = 0;
  for (const { text } of lines<{ text: string }>("models/eval/heldout_text.jsonl")) {
    const { nll } = await perplexity(model, model.tokenize(text));
    for (const value of nll) sum += value;
    n += nll.length;
  }
  assert.is(n, 19274, "the card's number of predicted tokens");
  const loss = sum / n;
  console.log(`held-out loss ${loss.toFixed(4)} over ${n} tokens; the card: ${CARD_LOSS}`);
  assert.ok(Math.abs(loss / CARD_LOSS - 1) <= 0.01, `loss ${loss}`);
});

interface Retrieval {
  readonly kind: string;
  readonly context_tokens: number;
  readonly prompt: string;
  readonly answer: string;
}

test("pass keys at 1K are found as the card says", async () => {
  const model = await load(DEFAULT_MODEL, { maxOutputs: 32 });
  const tasks = lines<Retrieval>("models/eval/retrieval.jsonl").filter(
    ({ kind, context_tokens }) => kind === "passkey" && context_tokens === 1024,
  );
  assert.ok(tasks.length >= 5, `${tasks.length} tasks`);
  let found = 0;
  for (const { prompt, answer } of tasks) {
    const before = model.tokenize(prompt);
    const wanted = model.tokenize(`${answer}<|im_end|>`);
    const ids = [...before, ...wanted];
    const { argmax: predicted } = await perplexity(model, ids, { from: before.length });
    if (wanted.every((id, i) => predicted[i] === id)) found += 1;
  }
  console.log(`pass keys at 1K: ${found} of ${tasks.length}; the card: all`);
  assert.is(found, tasks.length);
});

test.run();
