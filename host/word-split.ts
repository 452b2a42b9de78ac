/**
 * Cuts text into words, the way llama.cpp's `unicode_regex_split` does: each step cuts every piece of the step before
 * once more, and what a pattern does not match stays a piece of its own. A piece is all that a step sees: lookaheads end
 * with it.
 *
 * The patterns are JavaScript's without flags, over the texts of `unicode-kind.ts`. Where llama.cpp has functions
 * instead of patterns, or a pattern whose cost is quadratic here, a step is a function.
 * @module
 */
import { collapse, isAscii, widen } from "./unicode-kind.ts";

/** Offers the end of each part but the last of `text[start, end)`, ascending. */
export type Cut = (text: string, start: number, end: number, offer: (end: number) => void) => void;

export interface SplitStep {
  /** What `pattern` or `cut` sees: categories, categories with Chinese characters apart, or characters. */
  readonly on: "kinds" | "han" | "characters";
  readonly pattern?: string;
  readonly cut?: Cut;
  /** Characters beyond the BMP that stand for a letter of the pattern. */
  readonly astral?: (codePoint: number) => boolean;
}

/** A function from a text to its words; all words together are the text. */
export function createSplitter(steps: readonly SplitStep[]): (text: string) => string[] {
  const cuts = steps.map(({ pattern, cut }) => cut ?? cutByPattern(new RegExp(pattern!, "g")));
  return (text) => {
    if (text === "") return [];
    const views = new Map<string, string>();
    const viewFor = ({ on, astral }: SplitStep) => {
      const key = astral === undefined ? on : `${on} with astral`;
      let view = views.get(key);
      if (view === undefined) {
        view = on === "characters" ? widen(text, astral) : collapse(text, on === "han");
        views.set(key, view);
      }
      return view;
    };
    let ends: number[] | undefined;
    for (const [index, step] of steps.entries()) {
      const view = viewFor(step);
      const next: number[] = [];
      let start = 0;
      for (const end of ends ?? [view.length]) {
        let last = start;
        const offer = (at: number) => {
          if (at > last && at < end) next.push(at);
          last = Math.max(last, at);
        };
        if (end - start > 1) cuts[index]!(view, start, end, offer);
        next.push(end);
        start = end;
      }
      ends = next;
    }
    return sliceCodePoints(text, ends ?? [text.length]);
  };
}

function cutByPattern(pattern: RegExp): Cut {
  return (text, start, end, offer) => {
    const piece = start === 0 && end === text.length ? text : text.slice(start, end);
    pattern.lastIndex = 0;
    for (let match = pattern.exec(piece); match !== null; match = pattern.exec(piece)) {
      const length = match[0].length;
      offer(start + match.index);
      offer(start + match.index + length);
      if (length === 0) pattern.lastIndex++;
    }
  };
}

/** @param ends - ascending, in code points; the last is the length of the text */
function sliceCodePoints(text: string, ends: readonly number[]): string[] {
  const oneUnitEach = isAscii(text) || !/[\ud800-\udbff]/.test(text);
  let start = 0;
  let codePoints = 0;
  return ends.map((end) => {
    let stop = end;
    if (!oneUnitEach) {
      for (stop = start; codePoints < end; codePoints++) stop += text.codePointAt(stop)! > 0xffff ? 2 : 1;
    }
    const word = text.slice(start, stop);
    start = stop;
    return word;
  });
}
