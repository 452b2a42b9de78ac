/** Tokens that are found as a whole: order, white space, cost. */
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createLiteralFinder, type Literal } from "../../host/literals.ts";

const test = suite("literals");

test("the longest token takes its places first, from the left, then the next one what is left", () => {
  const letters = (maxLength: number) => fc.string({ unit: fc.constantFrom(..."ab \u00e9"), minLength: 1, maxLength });
  const strips = fc.array(fc.constantFrom(undefined, "before", "after"), { minLength: 6, maxLength: 6 });
  fc.assert(
    fc.property(fc.uniqueArray(letters(4), { maxLength: 6 }), strips, letters(30), (texts, strip, text) => {
      const literals = texts.map(
        (literal, id): Literal => ({ text: literal, id, strip: strip[id] as Literal["strip"] }),
      );
      assert.equal(createLiteralFinder(literals)(text), findByDefinition(literals, text));
    }),
    { numRuns: 2000 },
  );
});

test("finds thousands of tokens in a megabyte in linear time", () => {
  const literals = Array.from({ length: 6000 }, (_, id): Literal => ({ text: `<unused${id}>`, id }));
  for (let n = 1; n < 32; n++)
    literals.push({ text: " ".repeat(n), id: 6000 + n }, { text: "\n".repeat(n), id: 7000 + n });
  const find = createLiteralFinder(literals);
  for (const unit of [" ", "\n", "<unused", "<unused12>", "a "]) {
    // What tried every literal at every place would be at it for hours.
    const text = unit.repeat(2 ** 20 / unit.length);
    assert.is(find(text).length > 0, unit !== "<unused");
  }
});

/** Cuts the list of text parts at each literal, the longest (in bytes) first; parts keep their place in the text. */
function findByDefinition(literals: readonly Literal[], text: string) {
  let parts: { start: number; end: number; id?: number }[] = [{ start: 0, end: text.length }];
  const longestFirst = [...literals].sort(
    (a, b) => Buffer.byteLength(b.text) - Buffer.byteLength(a.text) || a.id - b.id,
  );
  for (const { text: wanted, id, strip } of longestFirst) {
    parts = parts.flatMap((part) => {
      const cut: typeof parts = [];
      let { start } = part;
      while (part.id === undefined) {
        const at = text.slice(0, part.end).indexOf(wanted, start);
        if (at < 0) break;
        let [from, to] = [at, at + wanted.length];
        while (strip === "before" && from > start && text[from - 1] === " ") from--;
        while (strip === "after" && to < part.end && text[to] === " ") to++;
        cut.push({ start, end: from }, { start: from, end: to, id });
        start = to;
      }
      return [...cut, { ...part, start }];
    });
  }
  return parts.filter((part) => part.id !== undefined).map(({ start, end, id }) => ({ id, start, end }));
}

test.run();
