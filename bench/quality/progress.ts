/** How far a run is, and for how long it will go on: by the tokens that are computed. @module */
import type { Item, Stop } from "./items.ts";

/** Tokens that cost as much as one token's linear layers when attention reads so many slots. */
const SLOTS_OF_A_TOKEN = 4096;

/** What `n` tokens after `at` others cost, in tokens at the beginning of a sequence. */
function cost(n: number, at: number): number {
  return n * (1 + (at + n / 2) / SLOTS_OF_A_TOKEN);
}

export function prefillCost(item: Item): number {
  return cost(Math.max(...item.stops.map(({ end }) => end)), 0);
}

export function stopCost({ end, tail }: Stop): number {
  return cost(tail.length, end) + end / 32; // and scores of all slots
}

export class Progress {
  readonly #total: number;
  readonly #log: (line: string) => void;
  readonly #start = performance.now();
  #done = 0;

  constructor(total: number, log: (line: string) => void) {
    this.#total = total;
    this.#log = log;
  }

  add(amount: number): void {
    this.#done += amount;
  }

  say(what: string): void {
    const seconds = (performance.now() - this.#start) / 1000;
    const left = this.#done === 0 ? "" : `, ${time((seconds / this.#done) * (this.#total - this.#done))} left`;
    this.#log(`[${((100 * this.#done) / this.#total).toFixed(1)}%] ${what}; ${time(seconds)}${left}`);
  }
}

function time(seconds: number): string {
  if (seconds < 60) return `${seconds.toFixed(0)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
