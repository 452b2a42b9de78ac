/**
 * What a session has forgotten: every span of tokens whose keys and values were evicted, in order. Spans that go one after
 * the other in the same turn from the same number of heads are one entry.
 * @module
 */

/** One page of one head, as the engine logs it. */
export interface EvictedPage {
  readonly head: number;
  /** Positions [first, end) in the session's tokens. */
  readonly first: number;
  readonly end: number;
  /** What the policy gave it; the lowest goes first. */
  readonly score: number;
}

export interface LedgerEntry {
  /** Positions [first, end) in the session's tokens. */
  readonly first: number;
  readonly end: number;
  /** Number of the turn that needed the room, from 0. */
  readonly turn: number;
  /** How the span was chosen. */
  readonly policy: string;
  /** The highest score among its pages. */
  readonly score: number;
  /** KV heads, over all layers, that gave the span up. */
  readonly heads: number;
  /** Bytes of the pages it had. */
  readonly bytes: number;
}

/** A span that went at once, and when. */
interface Dated extends LedgerEntry {
  /** Tokens the session had computed by then. */
  readonly at: number;
}

export class Ledger {
  readonly #dated: Dated[];

  constructor(dated: readonly Dated[] = []) {
    this.#dated = [...dated];
  }

  get entries(): readonly LedgerEntry[] {
    return merge(this.#dated);
  }

  /** Tokens that at least one head has forgotten, and the bytes of all that went. */
  get totals(): { readonly tokens: number; readonly bytes: number } {
    let tokens = 0;
    let bytes = 0;
    let reach = 0;
    for (const span of [...this.#dated].sort((a, b) => a.first - b.first)) {
      tokens += Math.max(0, span.end - Math.max(span.first, reach));
      reach = Math.max(reach, span.end);
      bytes += span.bytes;
    }
    return { tokens, bytes };
  }

  /** Adds what one forward call evicted; returns it as spans. */
  add(pages: readonly EvictedPage[], at: number, turn: number, policy: string, pageBytes: number): LedgerEntry[] {
    const spans = new Map<number, Dated>();
    for (const { first, end, score } of pages) {
      const known = spans.get(first);
      const heads = (known?.heads ?? 0) + 1;
      const highest = Math.max(known?.score ?? Number.NEGATIVE_INFINITY, score);
      spans.set(first, { first, end, turn, policy, score: highest, heads, bytes: heads * pageBytes, at });
    }
    this.#dated.push(...spans.values());
    return merge([...spans.values()]);
  }

  /** The session went back to `length` computed tokens: what was evicted later is there again, or will be. */
  truncate(length: number): void {
    while (this.#dated.length > 0 && this.#dated.at(-1)!.at > length) this.#dated.pop();
  }

  copy(): Ledger {
    return new Ledger(this.#dated);
  }
}

/** Spans that go one after the other become one. */
function merge(spans: readonly Dated[]): LedgerEntry[] {
  const merged: LedgerEntry[] = [];
  for (const { at: _, ...next } of spans) {
    const last = merged.at(-1);
    if (last !== undefined && follows(last, next)) {
      const score = Math.max(last.score, next.score);
      merged[merged.length - 1] = { ...next, first: last.first, bytes: last.bytes + next.bytes, score };
    } else merged.push(next);
  }
  return merged;
}

function follows(last: LedgerEntry, next: LedgerEntry): boolean {
  return last.end === next.first && last.turn === next.turn && last.policy === next.policy && last.heads === next.heads;
}
