/**
 * The ledger for people: every span that was evicted with its text, where that stands in the conversation, and when it was
 * recalled.
 * @module
 */
import { createDetokenizer } from "./detokenizer.ts";
import type { LedgerEntry } from "./ledger.ts";
import type { Recall } from "./recall.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** A span that was evicted. */
export interface Forgotten extends LedgerEntry {
  /** The text of its tokens, control tokens included: `session.text.slice(range.first, range.end)`. */
  readonly text: string;
  /** UTF-16 units of `session.text`. A character that the span's end cuts belongs to what follows. */
  readonly range: { readonly first: number; readonly end: number };
  /** Turns that have computed the span, or a part of it, once more, as long as the conversation has what they computed. */
  readonly recalls: readonly Recall[];
}

/** @param ids - the session's tokens, those of the entries among them */
export function describeForgotten(
  entries: readonly LedgerEntry[],
  ids: readonly number[],
  tokenizer: Pick<Tokenizer, "bytes" | "isControl">,
  recalls: readonly Recall[],
): readonly Forgotten[] {
  if (entries.length === 0) return [];
  const nTokens = Math.max(...entries.map(({ end }) => end));
  const detokenizer = createDetokenizer(tokenizer, { special: true });
  /** Units of the text before each token. */
  const starts = new Uint32Array(nTokens + 1);
  let text = "";
  for (let i = 0; i < nTokens; ++i) {
    text += detokenizer.push(ids[i]!);
    starts[i + 1] = text.length;
  }
  return entries.map((entry) => {
    const range = { first: starts[entry.first]!, end: starts[entry.end]! };
    return {
      ...entry,
      text: text.slice(range.first, range.end),
      range,
      recalls: recalls.filter(({ first, end }) => first < entry.end && entry.first < end),
    };
  });
}
