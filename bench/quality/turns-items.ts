/**
 * Conversations about one long context, made for any vocabulary: facts hidden in the held-out texts of models/eval, or pairs
 * of keys and values, and questions for some of them in as many turns. After SCBench (https://arxiv.org/abs/2412.10319): a
 * cache that was cut down for the first question is asked others. Right answers stand in the history whatever the model says.
 *
 *   A: the context is cut down before any question      B: context and first question are, later ones are not
 *   C: as B, and down to as many slots at the end of each later question
 * @module
 */
import { readFile } from "node:fs/promises";
import type { Tokenizer } from "../../host/tokenizer.ts";
import { encodeParts } from "./eval-items.ts";
import type { Item, Stop } from "./items.ts";

const LENGTHS = [1024, 4096];
const ITEMS = 8;
const TURNS = 6;
const FACTS = 12;
/** Tokens of a pair, nearly; how many pairs fill a context is found by it. */
const PAIR_TOKENS = 11;

const NAMES =
  "Anna Ben Clara David Emma Felix Grace Henry Ida Jack Kate Leo Mia Noah Olive Paul Rose Sam Tina Victor".split(" ");
const ADJECTIVES =
  "brave dark dusty gentle golden happy hungry lazy lonely noisy old proud quiet red round shiny silly tall tiny wooden".split(
    " ",
  );
const NOUNS =
  "bike book castle cheese clock coat donkey flower fork garden hat lamp mirror mole otter pond rug spoon table wolf".split(
    " ",
  );

/** Numbers that look random and are the same everywhere: a 32-bit linear congruential generator. */
export class Draw {
  #state: number;
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }
  below(n: number): number {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0;
    return Math.floor((this.#state / 2 ** 32) * n);
  }
  /** `count` of them, in a random order. */
  some<T>(all: readonly T[], count = all.length): T[] {
    const rest = [...all];
    return Array.from({ length: Math.min(count, all.length) }, () => rest.splice(this.below(rest.length), 1)[0]!);
  }
  digits(n: number): string {
    return Array.from({ length: n }, () => this.below(10)).join("");
  }
}

/** A question, and its answer as far as it is given, and its value. */
type Asked = readonly [question: string, given: string, value: string];

export async function turnsItems(folder: string, tokenizer: Tokenizer): Promise<Item[]> {
  const lines = (await readFile(`${folder}/heldout_text.jsonl`, "utf8")).trim().split("\n");
  const texts = lines.map((line) => plainText((JSON.parse(line) as { text: string }).text));
  return LENGTHS.flatMap((tokens) =>
    Array.from({ length: ITEMS }, (_, i) => [
      item(tokenizer, "facts", tokens, i, factsContext(tokenizer, texts, tokens, new Draw(i * 7919 + tokens))),
      item(tokenizer, "pairs", tokens, i, pairsContext(tokens, new Draw(i * 6007 + tokens))),
    ]).flat(),
  );
}

/** What a chat says, without who says it. */
function plainText(text: string): string {
  return text
    .replace(/<\|im_start\|>user\n.*?<\|im_end\|>\n/gs, "")
    .replace(/<\|im_start\|>assistant\n|<\|im_end\|>/g, "")
    .trim();
}

function factsContext(tokenizer: Tokenizer, texts: readonly string[], tokens: number, draw: Draw): [string, Asked[]] {
  const facts = draw.some(NAMES, FACTS).map((name) => {
    return { sentence: ` The magic number for ${name} is `, name, value: draw.digits(5) };
  });
  const parts: string[] = [];
  let room = tokens - FACTS * 16 - 16;
  for (const text of [...draw.some(texts), ...draw.some(texts)]) {
    if (room <= 0) break;
    parts.push(text);
    room -= tokenizer.encode(text).length + 2;
  }
  // One behind a text here and there, spread over the whole.
  facts.forEach(({ sentence, value }, i) => {
    const at = Math.min(parts.length - 1, Math.floor(((i + draw.below(1000) / 1000) / FACTS) * parts.length));
    parts[at] += `${sentence}${value}.`;
  });
  const asked = draw.some(facts, TURNS).map(({ name, value }): Asked => {
    return [`What is the magic number for ${name}?`, `The magic number for ${name} is`, ` ${value}`];
  });
  return [`Read the text and answer the question.\n\n${parts.join("\n\n")}`, asked];
}

function pairsContext(tokens: number, draw: Draw): [string, Asked[]] {
  const keys = draw.some(
    ADJECTIVES.flatMap((adjective) => NOUNS.map((noun) => `${adjective} ${noun}`)),
    Math.floor(tokens / PAIR_TOKENS),
  );
  const pairs = keys.map((key) => [key, draw.digits(5)] as const);
  const asked = draw.some(pairs, TURNS).map(([key, value]): Asked => {
    return [`What is the value of ${key}?`, `The value of ${key} is`, ` ${value}`];
  });
  return [`Here is a list of keys and values.\n${pairs.map((pair) => pair.join(": ")).join("\n")}`, asked];
}

function item(
  tokenizer: Tokenizer,
  kind: string,
  tokens: number,
  number: number,
  [context, asked]: [string, Asked[]],
): Item {
  const parts = asked.flatMap(([question, given, value], turn) => [
    `${turn === 0 ? "\n\n" : ".<|im_end|>\n<|im_start|>user\n"}${question}<|im_end|>\n<|im_start|>assistant\n`,
    given,
    value,
  ]);
  const [head, ...tail] = encodeParts(tokenizer, [`<|im_start|>user\n${context}`, ...parts]) as [
    number[],
    ...number[][],
  ];
  const ids = [...head, ...tail.flat()];
  /** Ends of the parts, counted from the beginning. */
  const ends = [head.length];
  for (const part of tail) ends.push(ends.at(-1)! + part.length);
  const stop = (mode: string, end: number): Stop => ({
    of: `turns/${kind}/${tokens}/${mode}`,
    measure: "turns",
    end,
    tail: ids.slice(end),
    groups: asked.map((_, turn) => range(ends[3 * turn + 2]! - end, ends[3 * turn + 3]! - end)),
    ...(mode === "C" ? { ends: asked.slice(1).map((_, turn) => ends[3 * (turn + 1) + 1]! - end) } : {}),
  });
  // The last token before an answer stays out of the prompt where it ends with the question: what follows is computed on it.
  const first = ends[1]! - 1;
  return { name: `${number}`, ids, stops: [stop("A", head.length), stop("B", first), stop("C", first)] };
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, i) => from + i);
}
