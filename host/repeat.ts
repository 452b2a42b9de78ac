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
/** Nothing has been repeated: NOBODY of assembly/cache/observation.ts. */
const NEVER = 2 ** 32 - 1;
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
 * Scores what a session holds of `ids`, all its tokens; what earlier calls have scored, up to `start`, keeps its scores. What a
 * later call scores is read from where it begins, and competes with all that is held before it, as what was scored first did:
 * alone with itself, a short span would be given more than a long one.
 *
 * @param span tokens [start, end) that are repeated; by default those of the user's text, if `ids` is framed as one
 * @throws ThimbleError context_length_exceeded where a chunk has no room; out_of_memory, over_budget; what `check` throws
 */
export async function repeatContext(
  engine: Engine,
  session: number,
  ids: readonly number[],
  policy: PolicySpec,
  { host, check }: PassHost,
  span?: { readonly start: number; readonly end: number },
): Promise<Repeated> {
  const { exports } = engine.runtime;
  const { before, after, first, next } = engine.wording?.() ?? { before: [], after: [], first: [], next: [] };
  const begins = before.every((id, i) => ids[i] === id) && ids.length > before.length;
  const from = span?.start ?? (begins ? before.length : 0);
  const ends = after.length > 0 && after.every((id, i) => ids[ids.length - after.length + i] === id);
  const end = span?.end ?? (ends ? Math.max(from, ids.length - after.length) : ids.length);
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
  const isLater = span !== undefined && exports.observedStart(session) >>> 0 !== NEVER;
  const begin = isLater ? 0 : from;
  const sinks = Math.min(policy.values.get("sinks")!, from);
  let tokens = 0;
  if (!isLater) exports.observeRows(session, from);
  for (let at = from; at < end; at += chunk) {
    const piece = ids.slice(at, Math.min(end, at + chunk));
    const question = at === from && !isLater ? first : [...next, ...ids.slice(Math.max(begin, at - NAMED), at)];
    const rows = [...question, ...after, ...piece];
    const seen = isLater ? at : sinks;
    await readOnce(engine, session, ids.length, rows, [seen, at, at + piece.length], { host, check });
    tokens += rows.length;
  }
  exports.observedUntil(session, end);
  return { tokens, recent: ids.length - end };
}

/** Computes rows behind a session, in a fork of it that goes; they repeat a span. */
async function readOnce(
  engine: Engine,
  session: number,
  length: number,
  ids: readonly number[],
  span: readonly [sinks: number, low: number, high: number],
  { host, check }: PassHost,
): Promise<void> {
  const { exports } = engine.runtime;
  const { maxRows } = engine.sizes;
  const fork = engine.forkSession(session);
  try {
    exports.sessionEvict(fork, 0, 0, 0);
    for (let at = 0; at < ids.length; at += maxRows) {
      const rows = ids.slice(at, at + maxRows);
      exports.observeSpan(session, fork, length, ...span); // others may read a prompt of theirs meanwhile
      engine.forward(rows.map((input, i) => ({ session: fork, input, position: length + at + i })));
      exports.observeSpan(0, 0, 0, 0, 0, 0);
      await host.pause();
      check();
    }
  } finally {
    exports.observeSpan(0, 0, 0, 0, 0, 0);
    exports.sessionClose(fork);
  }
}
