/**
 * What is said in a turn of a random life, and how: all of it follows from the operation's numbers.
 * @module
 */
import type { GenerateOptions } from "../../host/generation.ts";
import type { Prompt, Session } from "../../host/session.ts";
import { randomIds } from "../model/load.ts";
import type { Operation } from "./session-operation.ts";

export function optionsOf({ amount, seed }: Operation): GenerateOptions {
  const temperature = seed % 3 === 0 ? 0 : 0.9;
  const overflow = seed % 5 === 0 ? "throw" : "stop";
  return { maxTokens: amount % 33, temperature, seed, overflow, logprobs: 2, ignoreEos: seed % 4 !== 0 };
}

/** What a turn continues: ids after all tokens, the next message, the last one again, or one changed and told anew. */
export function promptOf({ kind, amount, seed }: Operation, session: Session): Prompt {
  const { messages } = session;
  const text = String.fromCharCode(...randomIds(1 + (seed % 20), 26, seed).map((letter) => 97 + letter));
  if (kind === "regenerate" && messages.length > 1) return messages.slice(0, -1);
  if (kind === "edit" && messages.length > 1) {
    const kept = messages.slice(0, 2 * Math.floor((seed % messages.length) / 2));
    return [...kept, { role: "user", content: text }];
  }
  return seed % 2 === 0 ? { ids: randomIds(amount << (seed % 3), 256, seed) } : text;
}
