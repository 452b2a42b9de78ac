/** Text for streams: what fills our longest retrieval prompts. @module */
import { readFile } from "node:fs/promises";
import type { Model } from "../../host/model.ts";

/** The filler of our longest retrieval prompts as so many ids, one after the other; no sentence twice while there are more. */
export async function fillers(model: Model, tokens: number): Promise<number[]> {
  const lines = (await readFile("models/eval/retrieval.jsonl", "utf8")).trim().split("\n");
  const prompts = lines.map((line) => JSON.parse(line) as { prompt: string; context_tokens: number });
  const seen = new Set<string>();
  const ids: number[] = [];
  for (const { prompt } of prompts.sort((a, b) => b.context_tokens - a.context_tokens)) {
    const body = prompt.slice(prompt.indexOf("\n\n") + 2, prompt.lastIndexOf("\n\n"));
    const sentences = body.split(/(?<=[.!?]) /).filter((sentence) => !seen.has(sentence) && !/\d/.test(sentence));
    for (const sentence of sentences) seen.add(sentence);
    ids.push(...model.tokenizer.encode(` ${sentences.join(" ")}`));
    if (ids.length >= tokens) return ids.slice(0, tokens);
  }
  // More than there is: from the beginning again, far beyond what any session still holds.
  for (let i = 0; ids.length < tokens; ++i) ids.push(ids[i]!);
  return ids;
}
