/** The stop matcher against a search of the whole text. */
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ThimbleError } from "../../host/errors.ts";
import { createStopMatcher } from "../../host/stop.ts";

const test = suite("stop");

/** The match that ends first, the longest of those; the definition. */
function search(text: string, stops: readonly string[]): { text: string; stopped: string | undefined } {
  const longestFirst = [...stops].sort((a, b) => b.length - a.length);
  for (let end = 1; end <= text.length; end++) {
    const stopped = longestFirst.find((stop) => text.slice(0, end).endsWith(stop));
    if (stopped !== undefined) return { text: text.slice(0, end - stopped.length), stopped };
  }
  return { text, stopped: undefined };
}

const letters = (maxLength: number, minLength = 0) =>
  fc.string({ unit: fc.constantFrom("a", "b", "c", "é"), minLength, maxLength });

test("finds what a search of the whole text finds, however it is cut", () => {
  fc.assert(
    fc.property(fc.array(letters(6), { maxLength: 12 }), fc.array(letters(5, 1), { maxLength: 4 }), (pieces, stops) => {
      const matcher = createStopMatcher(stops);
      let text = "";
      let stopped: string | undefined;
      for (const piece of pieces) {
        const match = matcher.push(piece);
        text += match.text;
        stopped = match.stopped;
      }
      assert.equal({ text: text + matcher.flush(), stopped }, search(pieces.join(""), stops));
    }),
    { numRuns: 2000 },
  );
});

test("holds back only what may be the beginning of a stop string", () => {
  fc.assert(
    fc.property(fc.array(letters(4), { maxLength: 8 }), fc.array(letters(5, 1), { maxLength: 3 }), (pieces, stops) => {
      const matcher = createStopMatcher(stops);
      let given = "";
      let seen = "";
      for (const piece of pieces) {
        const match = matcher.push(piece);
        if (match.stopped !== undefined) return;
        given += match.text;
        seen += piece;
        const begins = (rest: string) => stops.some((stop) => stop.startsWith(rest));
        let held = seen.length;
        while (held > 0 && !begins(seen.slice(seen.length - held))) held--;
        assert.is(given, seen.slice(0, seen.length - held));
      }
    }),
    { numRuns: 1000 },
  );
});

test("stops once, says which, and can be used again after a flush", () => {
  const matcher = createStopMatcher(["<end>", "STOP"]);
  assert.equal(matcher.push("one <e"), { text: "one ", stopped: undefined });
  assert.equal(matcher.push("nd> two STOP"), { text: "", stopped: "<end>" });
  assert.equal(matcher.push("three"), { text: "", stopped: "<end>" });
  assert.is(matcher.flush(), "");
  assert.equal(matcher.push("fourSTOP"), { text: "four", stopped: "STOP" });
});

test("refuses an empty stop string and takes none at all", () => {
  const refused = (error: unknown) => error instanceof ThimbleError && error.code === "invalid_option";
  assert.throws(() => createStopMatcher(["a", ""]), refused);
  assert.equal(createStopMatcher([]).push("text"), { text: "text", stopped: undefined });
});

test("is linear for stop strings that almost match", () => {
  const stop = `${"a".repeat(20_000)}b`;
  const matcher = createStopMatcher([stop, "ab".repeat(10_000)]);
  const start = performance.now();
  for (let index = 0; index < 20_000; index++) matcher.push("aaaaaaaaaa");
  assert.ok(performance.now() - start < 5000);
  assert.is(matcher.push("b").stopped, stop);
});

test.run();
