/**
 * KVzip's second pass (https://arxiv.org/abs/2505.23416): at a prompt's end the model is asked, in a fork of the session that is
 * thrown away, to repeat what it has read, chunk by chunk, and given the chunk itself as its answer. What each slot is given
 * meanwhile is its score (assembly/policy/repeat-attention.ts).
 *
 *   rows of a chunk:  | question | the 8 tokens before the chunk, but for the first | end of the user's turn | chunk |
 *
 * It computes the prompt once more, and about 20 tokens for each chunk; the fork takes a session's region and the pages of a
 * chunk while it lasts. The question is worded as in kvpress, so that scores can be compared.
 * @module
 */
import type { Engine } from "./engine.ts";
import { ThimbleError } from "./errors.ts";
import type { Platform } from "./platform.ts";
import type { PolicySpec } from "./policy.ts";

/** What a prompt is framed by, and how repetition is asked for: token ids. */
export interface Wording {
  /** What comes before a user's text, and after it. */
  readonly before: readonly number[];
  readonly after: readonly number[];
  /** The question for the first chunk, and for the others. */
  readonly first: readonly number[];
  readonly next: readonly number[];
}

export const QUESTIONS = {
  first: "\n\nRepeat the previous context exactly.",
  next: "\n\nRepeat the part of the previous context exactly, starting with",
} as const;

/** Tokens of the chunk before that the question names. */
const NAMED = 8;
/** Fewer rows of a chunk would ask for little at a time and cost much. */
const FEWEST = 32;

/** Where the second pass computes, and what it may be left by. */
export interface PassHost {
  readonly host: Pick<Platform, "pause">;
  /** Throws where the turn is to end. */
  readonly check: () => void;
}

export interface Repeated {
  /** Tokens that were computed for it. */
  readonly tokens: number;
  /** Newest tokens of the prompt that were not repeated: the end of the user's turn. */
  readonly recent: number;
}

/**
 * Scores what a session holds of `ids`, all its tokens. The caller observes (`Engine.observe`) until it has evicted.
 *
 * @param start first token that is repeated; by default after what comes before a user's text, if `ids` begins with it
 * @throws ThimbleError context_length_exceeded where a chunk has no room; out_of_memory, over_budget; what `check` throws
 */
export async function repeatContext(
  engine: Engine,
  session: number,
  ids: readonly number[],
  policy: PolicySpec,
  { host, check }: PassHost,
  start?: number,
): Promise<Repeated> {
  const { exports } = engine.runtime;
  const { before, after, first, next } = engine.wording?.() ?? { before: [], after: [], first: [], next: [] };
  const begins = before.every((id, i) => ids[i] === id) && ids.length > before.length;
  const from = start ?? (begins ? before.length : 0);
  const ends = after.length > 0 && after.every((id, i) => ids[ids.length - after.length + i] === id);
  const end = ends && start === undefined ? Math.max(from, ids.length - after.length) : ids.length;
  const asked = Math.max(first.length, next.length + NAMED) + after.length;
  const room = engine.sizes.contextLength - exports.sessionSlots(session) - asked;
  const chunk = Math.min(policy.values.get("chunk")!, room);
  if (chunk < Math.min(FEWEST, end - from)) {
    const needed = engine.sizes.contextLength - room + Math.min(FEWEST, end - from);
    const message = `policy ${policy.name} reads a prompt once more: with a chunk of it that is ${needed} tokens, the context holds ${engine.sizes.contextLength}`;
    throw new ThimbleError("context_length_exceeded", message, {
      needed,
      available: engine.sizes.contextLength,
      name: "policy",
    });
  }
  const sinks = Math.min(policy.values.get("sinks")!, from);
  let tokens = 0;
  exports.observeSpan(sinks, 0, 0, true);
  for (let at = from; at < end; at += chunk) {
    const piece = ids.slice(at, Math.min(end, at + chunk));
    const question = at === from ? first : [...next, ...ids.slice(Math.max(from, at - NAMED), at)];
    const rows = [...question, ...after, ...piece];
    exports.observeSpan(sinks, at, at + piece.length, false);
    await readOnce(engine, session, ids.length, rows, { host, check });
    tokens += rows.length;
  }
  return { tokens, recent: ids.length - end };
}

/** Computes rows behind a session, in a fork of it that goes. */
async function readOnce(
  engine: Engine,
  session: number,
  length: number,
  ids: readonly number[],
  { host, check }: PassHost,
): Promise<void> {
  const { exports } = engine.runtime;
  const { maxRows } = engine.sizes;
  const fork = engine.forkSession(session);
  try {
    exports.sessionEvict(fork, 0, 0, 0);
    exports.observeRows(fork, length);
    for (let at = 0; at < ids.length; at += maxRows) {
      engine.forward(
        ids.slice(at, at + maxRows).map((input, i) => ({ session: fork, input, position: length + at + i })),
      );
      await host.pause();
      check();
    }
  } finally {
    exports.observeRows(session, length);
    exports.sessionClose(fork);
  }
}
