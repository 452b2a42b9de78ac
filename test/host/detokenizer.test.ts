/** The streaming detokenizer against decoding all bytes at once. */
import { gguf } from "@huggingface/gguf";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createDetokenizer } from "../../host/detokenizer.ts";
import { createTokenizer } from "../../host/tokenizer.ts";

const { metadata } = await gguf("models/thimble-15m.Q4_0.gguf", { allowLocalFile: true });
const tokenizer = createTokenizer({ ...metadata });
const test = suite("detokenizer");

// The first 259 ids are the control tokens and the single bytes: most sequences of them are not UTF-8.
const anyId = fc.oneof(fc.integer({ min: 0, max: 258 }), fc.integer({ min: 0, max: 8191 }));

test("pieces joined equal the text of all bytes", () => {
  for (const special of [false, true]) {
    fc.assert(
      fc.property(fc.array(anyId, { maxLength: 60 }), (ids) => {
        const detokenizer = createDetokenizer(tokenizer, { special });
        const pieces = [...ids.map((id) => detokenizer.push(id)), detokenizer.flush()];
        const kept = ids.filter((id) => special || !tokenizer.isControl(id));
        const bytes = Buffer.concat(kept.map((id) => tokenizer.bytes(id)));
        assert.is(pieces.join(""), new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes));
      }),
      { numRuns: 500 },
    );
  }
});

test("holds a character back until it is whole", () => {
  const text = "\ufeffnaïve 😀 👨‍👩‍👧 \ufeffend";
  const detokenizer = createDetokenizer(tokenizer);
  const pieces = tokenizer.encode(text).map((id) => detokenizer.push(id));
  assert.is(pieces.join("") + detokenizer.flush(), text);
  for (const piece of pieces) assert.not.match(piece, /\ufffd|\p{Surrogate}/u);
});

test("ends an unfinished character with U+FFFD and starts afresh", () => {
  const detokenizer = createDetokenizer(tokenizer);
  const [first] = tokenizer.encode("\u{1f9ff}", { special: false });
  assert.is(detokenizer.push(first!), "");
  assert.is(detokenizer.flush(), "\ufffd");
  assert.is(detokenizer.push(tokenizer.encode("a")[0]!), "a");
});

test("writes control tokens only when asked", () => {
  const ids = tokenizer.encode("a<|im_end|>b");
  assert.is(ids.map(createDetokenizer(tokenizer).push).join(""), "ab");
  assert.is(ids.map(createDetokenizer(tokenizer, { special: true }).push).join(""), "a<|im_end|>b");
});

test.run();
