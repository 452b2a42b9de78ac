/** Pre-tokenizers on any text: nothing lost, Unicode 15.1, no pattern whose cost explodes. */
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { PRE_TOKENIZERS } from "../../host/pre-tokenizer.ts";
import { collapse, Kind, widen } from "../../host/unicode-kind.ts";
import { createSplitter } from "../../host/word-split.ts";
import { text } from "./tokenizer-texts.ts";

const test = suite("word split");

/** One name for each meaning. */
const meanings = new Map([...PRE_TOKENIZERS].map(([name, meaning]) => [meaning, name]));

test("words are never empty and together are the text", () => {
  for (const [{ steps }, name] of meanings) {
    const split = createSplitter(steps);
    fc.assert(
      fc.property(text, (whole) => {
        const words = split(whole);
        assert.is(words.join(""), whole, name);
        assert.not(words.includes(""), name);
      }),
      { numRuns: 100 },
    );
  }
});

test("every pre-tokenizer takes long runs in time that grows with their length", () => {
  const units = [
    "a",
    "A",
    "\u4e00",
    "\u0301",
    " ",
    "\n",
    "\t ",
    "1",
    "!",
    "'s",
    "a ",
    " a",
    "\u{1f600}",
    "a'",
    "A\u4e00",
    "1 ",
    "\u0663",
    " \n",
  ];
  for (const [{ steps }, name] of meanings) {
    const split = createSplitter(steps);
    for (const unit of units) {
      for (const end of ["", "1", "a"]) {
        const whole = unit.repeat(2 ** 14) + end;
        const start = performance.now();
        split(whole);
        const duration = performance.now() - start;
        assert.ok(duration < 400, `${name} ${JSON.stringify(unit)}...${JSON.stringify(end)}: ${duration} ms`);
      }
    }
  }
});

test("a megabyte of one character does not exhaust a pattern's stack", () => {
  for (const [{ steps }, name] of meanings) {
    const split = createSplitter(steps);
    for (const unit of ["a", "\u4e00", " ", "\u0301"]) assert.ok(split(unit.repeat(2 ** 20)).length > 0, name);
  }
});

test("has one unit per code point and the categories of Unicode 15.1", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (any) => {
      assert.is(collapse(any).length, [...any].length);
      assert.is(widen(any).length, [...any].length);
    }),
  );
  const kindOf = (character: string) => collapse(character).charCodeAt(0);
  assert.is(kindOf("\u00e9"), Kind.letter);
  assert.is(kindOf("\u{2ebf0}"), Kind.letter); // of 15.1
  assert.is(kindOf("\u2ffc"), Kind.symbol); // of 15.1
  for (const later of ["\u1c89", "\u088f", "\u{1c89}", "\u{10d40}", "\u{33479}"]) assert.is(kindOf(later), Kind.other);
  for (const space of ["\u0085", "\u00a0", "\u3000", "\u2028"]) assert.is(kindOf(space), Kind.space);
  for (const other of ["\ufeff", "\u180e", "\u200b", "\ue000"]) assert.is(kindOf(other), Kind.other);
});

test.run();
