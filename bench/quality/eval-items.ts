/**
 * Items made of models/eval, which is ours, for the vocabulary of any model: its retrieval prompts, and the longest of them as
 * documents.
 * @module
 */
import { readFile } from "node:fs/promises";
import type { Tokenizer } from "../../host/tokenizer.ts";
import { type Item, nllStops, recallStops } from "./items.ts";

const LENGTHS = [1024, 4096];
/** Prompts of so many tokens are the documents. */
const DOCUMENT_TOKENS = 8192;

interface Prompt {
  readonly kind: string;
  readonly context_tokens: number;
  readonly prompt: string;
  readonly answer: string;
}

export async function evalItems(folder: string, tokenizer: Tokenizer): Promise<Item[]> {
  const lines = (await readFile(`${folder}/retrieval.jsonl`, "utf8")).trim().split("\n");
  const prompts = lines.map((line) => JSON.parse(line) as Prompt);
  const documents = prompts
    .filter((each) => each.context_tokens === DOCUMENT_TOKENS)
    .map(({ prompt }, i): Item => {
      const ids = tokenizer.encode(prompt);
      return { name: `${i}`, ids, stops: nllStops("eval", ids, LENGTHS) };
    });
  const counts = new Map<string, number>();
  const asked = prompts.map(({ kind, context_tokens, prompt, answer }): Item => {
    const of = `recall/${kind}/${context_tokens}`;
    const number = counts.get(of) ?? 0;
    counts.set(of, number + 1);
    const question = prompt.lastIndexOf("\n\n", prompt.lastIndexOf("<|im_end|>"));
    const parts = [prompt.slice(0, question), prompt.slice(question), ...splitAnswer(answer)];
    const [context, rest, given, value] = encodeParts(tokenizer, parts) as [number[], number[], number[], number[]];
    const ids = [...context, ...rest];
    return { name: `${number}`, ids, stops: recallStops(of, ids, context.length, [...given, ...value], value.length) };
  });
  return [...documents, ...asked];
}

/** "The pass key is 84034." to what is given and what is to be found, without the full stop. */
export function splitAnswer(answer: string): [given: string, value: string] {
  const [, given, value] = /^(.* (?:is|are))( .*?)\.?$/.exec(answer) ?? [];
  if (given === undefined || value === undefined) throw new RangeError(`no value in "${answer}"`);
  return [given, value];
}

/** The ids of a whole text, cut where its parts are, by bytes; an id across a border goes with the part that it ends in. */
export function encodeParts(tokenizer: Tokenizer, parts: readonly string[]): number[][] {
  const encoder = new TextEncoder();
  const ids = tokenizer.encode(parts.join(""));
  const sizes = ids.map((id) => tokenizer.bytes(id).length);
  const lengths = parts.map((part) => encoder.encode(part).length);
  // A vocabulary may put a space in front of the text.
  let at = sum(lengths) - sum(sizes);
  let next = 0;
  let end = 0;
  return lengths.map((length) => {
    end += length;
    const from = next;
    while (next < ids.length && at + sizes[next]! <= end) at += sizes[next++]!;
    return ids.slice(from, next);
  });
}

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0);
}
