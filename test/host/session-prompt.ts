/**
 * What is said in a turn of a random life, and how: all of it follows from the operation's numbers.
 * @module
 */

import type { GenerateOptions } from "../../host/generation.ts";
import type { Prompt, Session } from "../../host/session.ts";
import type { Pin, SessionOptions } from "../../host/token-turn.ts";
import { randomIds } from "../model/load.ts";
import type { Operation } from "./session-operation.ts";

/** A session that forgets does so in most turns, one that does not in a few. */
export function optionsOf({ amount, seed }: Operation, rule: SessionOptions): GenerateOptions {
  const temperature = seed % 3 === 0 ? 0 : 0.9;
  const usual = seed % 13 === 0 ? "evict" : seed % 5 === 0 ? "throw" : "stop";
  const overflow = rule.overflow !== "evict" ? usual : seed % 11 === 0 ? "stop" : undefined;
  const maxTokens = seed % 3 === 1 ? 3 * amount : amount % 33; // past ends of pages, where memory is asked for more
  return { maxTokens, temperature, seed, overflow, logprobs: 2, ignoreEos: seed % 4 !== 0 };
}

/** What a session may forget, and whose it is. */
export function ruleOf({ seed, amount }: Operation, hasPolicy: boolean): SessionOptions {
  const overflow = seed % 2 === 0 ? "evict" : undefined;
  const [sinks, window] = [[undefined, 32, 64][seed % 3], [undefined, 64, 32][amount % 3]];
  const keeps = [
    { ratio: (amount % 10) / 10 },
    { ratio: 0.01 },
    { slots: 192 + (amount % 40) },
    { bytes: amount << 12 },
  ];
  const keep = hasPolicy && seed % 5 < 3 ? keeps[amount % 4] : undefined;
  const tenant = seed % 7 < 3 ? ["a", "b"][seed % 2] : undefined;
  return { overflow, sinks, window, keep, tenant };
}

/** Tokens near the newest, a few or many. */
export function pinOf({ amount, seed }: Operation, nTokens: number): Pin {
  const first = seed % (nTokens + 40);
  return { first, end: first + 1 + (seed % 3 === 0 ? amount : amount % 4) };
}

/** A part of something that was forgotten; where nothing was, or at times, any tokens. */
export function recallOf(operation: Operation, { ledger, tokens }: Session): Pin {
  const { amount, seed } = operation;
  const entry = ledger[seed % Math.max(1, ledger.length)];
  if (entry === undefined || seed % 7 === 0) return pinOf(operation, tokens.length);
  const first = entry.first + (amount % (entry.end - entry.first));
  return { first, end: Math.min(entry.end, first + 1 + (seed % 40)) };
}

/** What a turn continues: ids after all tokens, the next message, the last one again, or one changed and told anew. */
export function promptOf({ kind, amount, seed }: Operation, session: Session, rule: SessionOptions): Prompt {
  const { messages } = session;
  const text = String.fromCharCode(...randomIds(1 + (seed % 20), 26, seed).map((letter) => 97 + letter));
  if (kind === "regenerate" && messages.length > 1) return messages.slice(0, -1);
  if (kind === "edit" && messages.length > 1) {
    const kept = messages.slice(0, 2 * Math.floor((seed % messages.length) / 2));
    return [...kept, { role: "user", content: text }];
  }
  const longer = rule.overflow === "evict" || rule.keep !== undefined ? 2 : 0;
  return (seed >> 1) % 4 > 0 ? { ids: randomIds(amount << ((seed % 3) + longer), 256, seed) } : text;
}
