/**
 * What is measured, as data: a sequence that is computed once, and stops on it where a prompt ends and is cut down. What
 * follows a stop is forced token by token, and some of it is graded.
 * @module
 */

/** nll: one group of many tokens; recall: one value; turns: a value for each turn. */
export type Measure = "nll" | "recall" | "turns";

export interface Stop {
  /** Name of the case in the results: MEASURE/KIND/TOKENS[/MODE]. */
  readonly of: string;
  readonly measure: Measure;
  /** Tokens of the prompt. */
  readonly end: number;
  /** What follows; the first token is never graded. */
  readonly tail: readonly number[];
  /** Indices in `tail`. */
  readonly groups: readonly (readonly number[])[];
  /** Where later prompts end, tokens of `tail`: the cache is cut down to its budget there again. Default: nowhere. */
  readonly ends?: readonly number[];
}

export interface Item {
  /** Number within its kind. */
  readonly name: string;
  readonly ids: readonly number[];
  /** By ascending end. */
  readonly stops: readonly Stop[];
}

/** Tokens that an item's session comes to hold. */
export function lengthOf({ stops }: Item): number {
  return Math.max(...stops.map(({ end, tail }) => end + tail.length));
}

/** What of all is wanted. */
export interface Selection {
  /** Beginnings of case names; none: all. */
  readonly only: readonly string[];
  /** Lengths; none: all. */
  readonly tokens: readonly number[];
  /** Items by number; undefined: all. */
  readonly documents: ((item: number) => boolean) | undefined;
  /** This process takes every item with number % count = index. */
  readonly shard: { readonly index: number; readonly count: number };
}

/** The items with the stops that are wanted; those without any are left out. */
export function selectItems(items: readonly Item[], { only, tokens, documents, shard }: Selection): Item[] {
  const isWanted = ({ of }: Stop): boolean =>
    (only.length === 0 || only.some((start) => of.startsWith(start))) &&
    (tokens.length === 0 || tokens.includes(Number(of.split("/")[2])));
  return items
    .filter(({ name }) => documents?.(Number(name)) ?? true)
    .map((item) => ({ ...item, stops: item.stops.filter(isWanted) }))
    .filter(({ stops }) => stops.length > 0)
    .filter((_, i) => i % shard.count === shard.index);
}

/** How many items each case has. */
export function countItems(items: readonly Item[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { of } of items.flatMap(({ stops }) => stops)) counts[of] = (counts[of] ?? 0) + 1;
  return counts;
}

/** "0-3,7". @throws RangeError */
export function parseNumbers(list: string): (n: number) => boolean {
  const ranges = list.split(",").map((piece) => {
    const [, first, last = first] = /^(\d+)(?:-(\d+))?$/.exec(piece) ?? [];
    if (first === undefined) throw new RangeError(`"${list}": expected numbers and ranges, as 0-3,7`);
    return [Number(first), Number(last)] as const;
  });
  return (n) => ranges.some(([first, last]) => first <= n && n <= last);
}

/** Tokens after a prompt that are graded. */
const GRADED = 256;

/**
 * The tokens after the first `tokens` of a document: the very next one only goes in, the `n` after it are graded, so that all
 * of them are predicted by rows which see the cut cache.
 */
export function nllStops(source: string, ids: readonly number[], lengths: readonly number[], n = GRADED): Stop[] {
  const graded = Array.from({ length: n }, (_, i) => i + 1);
  return lengths
    .filter((tokens) => tokens + n < ids.length)
    .map((tokens) => ({
      of: `nll/${source}/${tokens}`,
      measure: "nll",
      end: tokens,
      tail: ids.slice(tokens, tokens + n + 1),
      groups: [graded],
    }));
}

/**
 * A: the context is cut down before the question is known. B: context and question are, but for the prompt's last token,
 * after which the answer begins.
 * @param context - tokens of `prompt` before the question
 * @param value - how many tokens at the end of `answer` are graded; the others are given
 */
export function recallStops(
  of: string,
  prompt: readonly number[],
  context: number,
  answer: readonly number[],
  value: number,
): Stop[] {
  return (["A", "B"] as const).map((mode) => {
    const end = mode === "A" ? context : prompt.length - 1;
    const tail = [...prompt.slice(end), ...answer];
    const graded = Array.from({ length: value }, (_, i) => tail.length - value + i);
    return { of: `${of}/${mode}`, measure: "recall", end, tail, groups: [graded] };
  });
}
