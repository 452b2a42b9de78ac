/**
 * Checksums of a session's pages as they stand in a capsule: which pages there are, which of them have been read, and which
 * have changed since. A page is known by its head and its number in the session, counted from the first token.
 * @module
 */
import { Size } from "../../assembly/memory/status.ts";
import type { Engine } from "../engine.ts";

/** Two words of a checksum. */
export type Sum = readonly [low: number, high: number];

export class PageSums {
  /** Number of each head's first page, and place of that page among all. */
  readonly #first: Uint32Array;
  readonly #place: Uint32Array;
  readonly #sums: Uint32Array;
  readonly #isKnown: Uint8Array;
  /** Pages whose checksum is not known yet. */
  missing: number;

  /** @param first - number of each head's first page; @param ends - number behind its last one */
  constructor(first: Uint32Array, ends: Uint32Array) {
    this.#first = first;
    this.#place = new Uint32Array(first.length + 1);
    first.forEach((page, head) => {
      this.#place[head + 1] = this.#place[head]! + (ends[head]! - page);
    });
    this.missing = this.#place[first.length]!;
    this.#sums = new Uint32Array(2 * this.missing);
    this.#isKnown = new Uint8Array(this.missing);
  }

  /** Of the pages that a session holds. */
  static of({ runtime: { exports } }: Engine, session: number): PageSums {
    const ofHeads = (numberOf: (head: number) => number): Uint32Array =>
      Uint32Array.from({ length: exports.imageHeads() }, (_, head) => numberOf(head));
    const first = ofHeads((head) => exports.headBase(session, head) / Size.PAGE_SLOTS);
    return new PageSums(
      first,
      ofHeads((head) => first[head]! + Math.ceil(exports.headSlots(session, head) / 32)),
    );
  }

  get heads(): number {
    return this.#first.length;
  }

  /** Number behind a head's last page. */
  end(head: number): number {
    return this.#first[head]! + this.#place[head + 1]! - this.#place[head]!;
  }

  /** Number of a head's first page. */
  first(head: number): number {
    return this.#first[head]!;
  }

  /** Place of a page among all; undefined where there is none. */
  #at(head: number, index: number): number | undefined {
    if (head >= this.#first.length || index < this.#first[head]!) return undefined;
    const at = this.#place[head]! + index - this.#first[head]!;
    return at < this.#place[head + 1]! ? at : undefined;
  }

  /** The session has such a page, and its checksum is not known. */
  isMissing(head: number, index: number): boolean {
    const at = this.#at(head, index);
    return at !== undefined && this.#isKnown[at] === 0;
  }

  set(head: number, index: number, [low, high]: Sum): void {
    const at = this.#at(head, index)!;
    this.missing -= 1 - this.#isKnown[at]!;
    this.#isKnown[at] = 1;
    this.#sums[2 * at] = low;
    this.#sums[2 * at + 1] = high;
  }

  has(head: number, index: number, [low, high]: Sum): boolean {
    const at = this.#at(head, index);
    return at !== undefined && this.#isKnown[at] === 1 && this.#sums[2 * at] === low && this.#sums[2 * at + 1] === high;
  }
}
