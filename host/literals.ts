/**
 * Tokens that are found in text as a whole: control and user-defined ones.
 *
 * Order, as llama.cpp has it: the longest token (in bytes) takes all its places in the text first, from the left, then
 * the next one what is left. Among tokens of one length the lowest id is first (llama.cpp's order is its sort's).
 * A token may swallow the ASCII white space before or after it (`strip`).
 *
 * Cost: one walk over the text for the tokens that occur at all, then one search per token that does.
 * @module
 */
import { ROOT, Trie } from "./trie.ts";

export interface Literal {
  readonly text: string;
  readonly id: number;
  /** White space that goes with the token. */
  readonly strip?: "before" | "after" | undefined;
}

export interface FoundLiteral {
  readonly id: number;
  /** From the first swallowed character to after the last one. */
  readonly start: number;
  readonly end: number;
}

/** A function that gives the literals of a text from left to right, without overlaps. */
export function createLiteralFinder(literals: readonly Literal[]): (text: string) => FoundLiteral[] {
  if (literals.length === 0) return () => [];
  const encoder = new TextEncoder();
  const ordered = literals
    .map((literal) => ({ literal, bytes: encoder.encode(literal.text).length }))
    .sort((a, b) => b.bytes - a.bytes || a.literal.id - b.literal.id)
    .map(({ literal }) => literal);
  const trie = new Trie();
  for (const [index, { text }] of ordered.entries()) trie.insert(text, index);
  return (text) => {
    const found: FoundLiteral[] = [];
    const taken = new Taken(text.length);
    for (const index of occurring(trie, text)) {
      const { text: wanted, id, strip } = ordered[index]!;
      for (let at = text.indexOf(wanted); at >= 0; ) {
        const stop = at + wanted.length;
        const blocked = taken.overlap(at, stop);
        if (blocked >= 0) {
          at = text.indexOf(wanted, blocked);
          continue;
        }
        let [start, end] = [at, stop];
        if (strip === "before") while (start > 0 && isSpace(text, start - 1) && !taken.has(start - 1)) start--;
        if (strip === "after") while (end < text.length && isSpace(text, end) && !taken.has(end)) end++;
        taken.add(start, end);
        found.push({ id, start, end });
        at = text.indexOf(wanted, end);
      }
    }
    return found.sort((a, b) => a.start - b.start);
  };
}

/** Indices of the texts that occur, ascending. */
function occurring(trie: Trie, text: string): number[] {
  const indices = new Set<number>();
  for (let start = 0; start < text.length; start++) {
    let node = ROOT;
    for (let at = start; at < text.length; at++) {
      node = trie.child(node, text.charCodeAt(at));
      if (node < 0) break;
      const index = trie.valueAt(node);
      if (index >= 0) indices.add(index);
    }
  }
  return [...indices].sort((a, b) => a - b);
}

const isSpace = (text: string, at: number) => /[\t-\r ]/.test(text[at]!);

/** Taken places of a text. What is added is never shorter than what is asked about, so two ends decide an overlap. */
class Taken {
  /** End of the taken run per place, 0 where free; made when the first run comes. */
  private ends: Uint32Array | undefined;

  constructor(private readonly length: number) {}

  add(start: number, end: number): void {
    this.ends ??= new Uint32Array(this.length);
    this.ends.fill(end, start, end);
  }

  has(at: number): boolean {
    return this.ends !== undefined && this.ends[at] !== 0;
  }

  /** Where to go on searching if a part of [start, end) is taken, else -1. */
  overlap(start: number, end: number): number {
    if (this.ends === undefined) return -1;
    return this.ends[end - 1] || this.ends[start] || -1;
  }
}

/** A pattern that finds any of the texts, the longest where several begin at one place; undefined for none. */
export function literalPattern(texts: Iterable<string>): RegExp | undefined {
  const longestFirst = [...texts].sort((a, b) => b.length - a.length);
  if (longestFirst.length === 0) return undefined;
  return new RegExp(longestFirst.map((text) => text.replace(/[.*+?^${}()|[\]\\/-]/g, "\\$&")).join("|"), "g");
}
