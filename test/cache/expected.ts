/**
 * What a session with sliding windows must hold, by counting tokens: the tests compare the cache with it.
 * @module
 */
import * as assert from "uvu/assert";
import type { Cache } from "./cache.ts";
import { closedOf, pagesOf, type Shape } from "./engine.ts";

/** First slot that the query of `slot` sees; window 0: all. */
export function seenFrom(slot: number, window: number): number {
  return window === 0 ? 0 : Math.max(0, slot - window + 1);
}

/** First slot kept once slot `last` is written: pages go when all their slots lie more than 32 before the window. */
export function keptFrom(last: number, window: number): number {
  let page = 0;
  while (window !== 0 && 32 * page + 31 < last - window + 1 - 32) page += 1;
  return 32 * page;
}

/** Most pages a head holds, the open one among them, while a sequence grows to `length`. */
export function mostPages(length: number, window: number): number {
  let most = 0;
  for (let t = 0; t < length; ++t) most = Math.max(most, pagesOf(t + 1) - keptFrom(t, window) / 32);
  return most;
}

/** Most of them in the pool. */
export function mostPooled(length: number, window: number): number {
  let most = 0;
  for (let t = 0; t < length; ++t) most = Math.max(most, closedOf(t + 1) - keptFrom(t, window) / 32);
  return most;
}

/** Of pages that stay f32. */
export class Expected {
  readonly tokens: number[] = [];
  private bases: number[];

  constructor(private readonly shape: Shape) {
    this.bases = Array(shape.nLayers).fill(0);
  }

  private windowOf(layer: number): number {
    return this.shape.windows?.[layer] ?? 0;
  }

  private pagesOf(layer: number): number {
    return pagesOf(this.tokens.length) - this.bases[layer]! / 32;
  }

  /** Pages of the pool that the session holds. */
  get pages(): number {
    const closed = closedOf(this.tokens.length);
    return this.bases.reduce((sum, base) => sum + this.shape.nKvHeads * (closed - base / 32), 0);
  }

  append(token: number): void {
    this.bases = this.bases.map((base, layer) => Math.max(base, keptFrom(this.tokens.length, this.windowOf(layer))));
    this.tokens.push(token);
  }

  /** The length it must go back to: nothing stays where a layer lacks a slot that the next query sees. */
  truncate(length: number): number {
    if (length < this.tokens.length) {
      const lacks = this.bases.some((base, layer) => base > seenFrom(length, this.windowOf(layer)));
      this.tokens.length = lacks ? 0 : length;
      if (this.tokens.length === 0) this.bases.fill(0);
    }
    return this.tokens.length;
  }

  /** Pages beyond those held that `n` more tokens take at the moment they need most. */
  pagesFor(n: number): number {
    const ahead = new Expected(this.shape);
    ahead.tokens.push(...this.tokens);
    ahead.bases = [...this.bases];
    let most = this.pages;
    for (let i = 0; i < n; ++i) {
      ahead.append(0);
      most = Math.max(most, ahead.pages);
    }
    return most - this.pages;
  }

  /** Compares every head's record and all slots it has pages for. */
  check(cache: Cache, session: number): void {
    assert.is(cache.exports.sessionLength(session), this.tokens.length);
    assert.is(cache.exports.sessionPages(session), this.pages);
    for (let h = 0; h < cache.heads; ++h) {
      const layer = Math.floor(h / this.shape.nKvHeads);
      const base = this.bases[layer]!;
      const record = { length: this.tokens.length, base, nPages: this.pagesOf(layer) };
      assert.equal(cache.headOf(session, h), record, `head ${h}, window ${this.windowOf(layer)}`);
      const kept = this.tokens.slice(base);
      const wrong = cache.tokens(session, h).findIndex((token, i) => token !== kept[i]);
      if (wrong >= 0) assert.unreachable(`head ${h}, window ${this.windowOf(layer)}: slot ${base + wrong}`);
    }
  }
}
