/**
 * The part of a capsule that is neither tokens nor pages: the messages, and a turn that was paused, as JSON. What comes
 * from a file is copied field by field, each one checked.
 * @module
 */
import type { ChatMessage } from "../chat.ts";
import { ThimbleError } from "../errors.ts";
import type { DatedEntry } from "../ledger.ts";
import type { Recall, RecallState } from "../recall.ts";
import type { PausedTurn, Pin, SessionOptions } from "../token-turn.ts";
import { MAX_STATE_BYTES, malformed } from "./format.ts";

/** A paused turn and the conversation it belongs to; `Session` has the same. */
export interface PendingState {
  readonly ids: readonly number[];
  readonly messages?: readonly ChatMessage[] | undefined;
  readonly paused: PausedTurn;
}

/** Counts and times over the finished turns. */
export interface Totals {
  readonly promptTokens: number;
  readonly reusedTokens: number;
  readonly completionTokens: number;
  readonly prefillMs: number;
  readonly decodeMs: number;
}

/** What a session may forget, what it must not, and what it has. */
export interface ForgettingState {
  readonly options: SessionOptions;
  readonly pins: readonly Pin[];
  readonly turns: number;
  readonly ledger: readonly DatedEntry[];
  /** The model's policy, with its parameters, where it has one. */
  readonly policy?: string | undefined;
}

export interface ConversationState {
  readonly messages: readonly ChatMessage[];
  readonly pending: PendingState | undefined;
  /** Undefined where there was no turn. */
  readonly totals?: Totals | undefined;
  /** Undefined where nothing was said of it, and nothing is forgotten. */
  readonly forgetting?: ForgettingState | undefined;
  /** Undefined where nothing is. */
  readonly recalls?: RecallState | undefined;
}

/** Bounds of what a file may name. */
export interface StateLimits {
  readonly vocabSize: number;
  /** Most tokens of a turn that goes on. */
  readonly contextLength: number;
}

const ROLES: readonly unknown[] = ["system", "user", "assistant", "tool"];

/** @throws ThimbleError invalid_option where messages are too long to be kept */
export function encodeState({ messages, pending, totals, forgetting, recalls }: ConversationState): Uint8Array {
  const turn = pending && {
    ids: pending.ids,
    messages: pending.messages,
    completionIds: pending.paused.completionIds,
    random: pending.paused.random,
    seed: pending.paused.seed,
  };
  const bytes = new TextEncoder().encode(JSON.stringify({ messages, pending: turn, totals, forgetting, recalls }));
  if (bytes.byteLength <= MAX_STATE_BYTES) return bytes;
  throw new ThimbleError("invalid_option", "the messages are too long for a capsule", {
    needed: bytes.byteLength,
    available: MAX_STATE_BYTES,
    name: "messages",
  });
}

/** @throws ThimbleError capsule_malformed, context_length_exceeded */
export function decodeState(bytes: Uint8Array, limits: StateLimits): ConversationState {
  const { messages, pending, totals, forgetting, recalls } = fieldsOf(parse(bytes));
  return {
    messages: messagesOf(messages),
    pending: pending === undefined ? undefined : pendingOf(fieldsOf(pending), limits),
    totals: totals === undefined ? undefined : totalsOf(fieldsOf(totals)),
    forgetting: forgetting === undefined ? undefined : forgettingOf(fieldsOf(forgetting)),
    recalls: recalls === undefined ? undefined : recallsOf(fieldsOf(recalls)),
  };
}

function parse(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch {
    throw malformed("its messages are no JSON");
  }
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw malformed("its messages are not what they must be");
}

function messagesOf(value: unknown): ChatMessage[] {
  if (!Array.isArray(value)) throw malformed("its messages are no list");
  return value.map((item: unknown) => {
    const { role, content } = fieldsOf(item);
    if (!ROLES.includes(role) || typeof content !== "string") throw malformed("one of its messages is none");
    return { role: role as ChatMessage["role"], content };
  });
}

function numbersOf(value: unknown, end: number): number[] {
  const isOne = (item: unknown): item is number =>
    Number.isSafeInteger(item) && (item as number) >= 0 && (item as number) < end;
  if (Array.isArray(value) && value.every(isOne)) return [...value];
  throw malformed("a list of numbers is out of bounds");
}

function totalsOf(fields: Readonly<Record<string, unknown>>): Totals {
  const { promptTokens, reusedTokens, completionTokens, prefillMs, decodeMs } = fields;
  numbersOf([promptTokens, reusedTokens, completionTokens], Number.MAX_SAFE_INTEGER);
  for (const ms of [prefillMs, decodeMs]) {
    if (typeof ms !== "number" || !(ms >= 0 && ms <= Number.MAX_SAFE_INTEGER)) throw malformed("a time makes no sense");
  }
  return { promptTokens, reusedTokens, completionTokens, prefillMs, decodeMs } as Totals;
}

const POSITIONS = 2 ** 24 + 1;

function spanOf(fields: Readonly<Record<string, unknown>>): Pin {
  const [first, end] = numbersOf([fields.first, fields.end], POSITIONS) as [number, number];
  if (first >= end) throw malformed("a span of tokens is empty");
  return { first, end };
}

function listOf(value: unknown): Readonly<Record<string, unknown>>[] {
  if (Array.isArray(value)) return value.map(fieldsOf);
  throw malformed("a list is none");
}

/** Options are checked where they are taken. */
function forgettingOf(fields: Readonly<Record<string, unknown>>): ForgettingState {
  const { overflow, sinks, window, keep } = fieldsOf(fields.options);
  const [turns] = numbersOf([fields.turns], Number.MAX_SAFE_INTEGER);
  const ledger = listOf(fields.ledger).map((entry): DatedEntry => {
    const { policy, score, turn, heads, bytes, at } = entry;
    const numbers = numbersOf([turn, heads, bytes, at], Number.MAX_SAFE_INTEGER) as [number, number, number, number];
    if (typeof policy !== "string" || policy.length > 64) throw malformed("a policy of its ledger is none");
    if (score !== undefined && !Number.isFinite(score)) throw malformed("a score of its ledger is none");
    const [turnOf, headsOf, bytesOf, atOf] = numbers;
    return {
      ...spanOf(entry),
      turn: turnOf,
      heads: headsOf,
      bytes: bytesOf,
      at: atOf,
      policy,
      ...(score === undefined ? {} : { score: score as number }),
    };
  });
  const options = { overflow, sinks, window, keep } as SessionOptions;
  const { policy } = fields;
  if (policy !== undefined && (typeof policy !== "string" || policy.length > 256))
    throw malformed("its policy is none");
  return { options, pins: listOf(fields.pins).map(spanOf), turns: turns!, ledger, policy };
}

function recallsOf({ asked, made }: Readonly<Record<string, unknown>>): RecallState {
  return {
    asked: listOf(asked).map(spanOf),
    made: listOf(made).map((recall): Recall => {
      const [turn, at] = numbersOf([recall.turn, recall.at], Number.MAX_SAFE_INTEGER) as [number, number];
      return { ...spanOf(recall), turn, at };
    }),
  };
}

function pendingOf(turn: Readonly<Record<string, unknown>>, { vocabSize, contextLength }: StateLimits): PendingState {
  const ids = numbersOf(turn.ids, vocabSize);
  const completionIds = numbersOf(turn.completionIds, vocabSize);
  const random = numbersOf(turn.random, 2 ** 32);
  const [seed] = numbersOf([turn.seed], Number.MAX_SAFE_INTEGER + 1);
  if (random.length !== 4 || random.every((word) => word === 0)) throw malformed("its random numbers have no state");
  if (ids.length === 0) throw malformed("its paused turn has no token");
  const length = ids.length + completionIds.length;
  if (length > contextLength) throw tooLong(length, contextLength);
  const messages = turn.messages === undefined ? undefined : messagesOf(turn.messages);
  return { ids, messages, paused: { ids, completionIds, random, seed: seed! } };
}

export function tooLong(needed: number, available: number): ThimbleError {
  const message = `the capsule has ${needed} tokens; the context holds ${available}`;
  return new ThimbleError("context_length_exceeded", message, { needed, available });
}
