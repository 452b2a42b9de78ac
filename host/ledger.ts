/**
 * What a session has forgotten: every span of tokens whose keys and values were evicted, in order. Spans that go one after
 * the other in the same turn from the same number of heads are one entry. It does not grow without end: of a long life the
 * older half of the entries is joined two by two whenever there are too many.
 * @module
 */

/** Tokens that went at once. */
export interface EvictedSpan {
  /** Positions [first, end) in the session's tokens. */
  readonly first: number;
  readonly end: number;
  /** KV heads, over all layers, that gave the span, or parts of it, up. */
  readonly heads: number;
  /** Bytes of keys and values. */
  readonly bytes: number;
  /** The highest score among them, where pages went; the lowest go first. */
  readonly score?: number | undefined;
}

export interface LedgerEntry extends EvictedSpan {
  /** Number of the turn that needed the room, from 0. */
  readonly turn: number;
  /** How the span was chosen. */
  readonly policy: string;
}

/** A span that went at once, and when. */
export interface DatedEntry extends LedgerEntry {
  /** Tokens the session had computed by then. */
  readonly at: number;
}

/** Entries are joined where there would be more. */
export const MOST_ENTRIES = 8192;

export class Ledger {
  readonly #dated: DatedEntry[];
  #added = 0;

  constructor(dated: readonly DatedEntry[] = []) {
    this.#dated = [...dated];
    this.#added = dated.length;
    this.#fold();
  }

  /** Entries that were ever added. */
  get added(): number {
    return this.#added;
  }

  /** Joins neighbours of the older half: from the first's begin to the last's end, as many bytes, as many heads at most. */
  #fold(): void {
    while (this.#dated.length > MOST_ENTRIES) {
      const half = this.#dated.length >> 1;
      const joined: DatedEntry[] = [];
      for (let i = 0; i < half; i += 2) {
        const [a, b] = [this.#dated[i]!, this.#dated[i + 1]!];
        joined.push({
          ...b,
          first: Math.min(a.first, b.first),
          end: Math.max(a.end, b.end),
          heads: Math.max(a.heads, b.heads),
          bytes: a.bytes + b.bytes,
          score: a.score === undefined || b.score === undefined ? undefined : Math.max(a.score, b.score),
        });
      }
      this.#dated.splice(0, half + (half % 2), ...joined);
    }
  }

  /** Entries as they came, before neighbours are joined. */
  get dated(): readonly DatedEntry[] {
    return this.#dated;
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

  /** Adds what went at once; returns it as entries. */
  add(spans: readonly EvictedSpan[], at: number, turn: number, policy: string): LedgerEntry[] {
    const dated = spans.map((span) => ({ ...span, turn, policy, at }));
    for (const entry of dated) this.#dated.push(entry);
    this.#added += dated.length;
    this.#fold();
    return merge(dated);
  }

  /** Nothing is computed any more, and nothing forgotten. */
  clear(): void {
    this.#dated.length = 0;
  }

  /** Another one that goes its own way. */
  copy(): Ledger {
    return new Ledger(this.#dated);
  }
}

/** Spans that go one after the other become one. */
function merge(spans: readonly DatedEntry[]): LedgerEntry[] {
  const merged: LedgerEntry[] = [];
  for (const { at: _, ...next } of spans) {
    const last = merged.at(-1);
    if (last !== undefined && follows(last, next)) {
      const score = last.score === undefined || next.score === undefined ? undefined : Math.max(last.score, next.score);
      merged[merged.length - 1] = { ...next, first: last.first, bytes: last.bytes + next.bytes, score };
    } else merged.push(next);
  }
  return merged;
}

function follows(last: LedgerEntry, next: LedgerEntry): boolean {
  return last.end === next.first && last.turn === next.turn && last.policy === next.policy && last.heads === next.heads;
}
