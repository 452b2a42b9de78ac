/**
 * Trying again: what failed for the moment (cut connections, 429, 5xx) is repeated after a pause that doubles each time, or
 * that the server asks for. Attempts that got something done do not count against the limit.
 * @module
 */
import { setTimeout as pause } from "node:timers/promises";

export interface Patience {
  /** Attempts in a row that achieve nothing. */
  readonly attempts: number;
  /** Pause after the first failure, milliseconds. */
  readonly baseMs: number;
  /** Longest pause, also when a server asks for more. */
  readonly capMs: number;
  /** A connection that is silent for so long is given up. */
  readonly stallMs: number;
}

export const PATIENCE: Patience = { attempts: 6, baseMs: 500, capMs: 60_000, stallMs: 60_000 };

/** It did not work now; it may in a moment. */
export class TransientError extends Error {
  override readonly name = "TransientError";
  /** What the server asked for, milliseconds. */
  readonly waitMs: number | undefined;

  constructor(message: string, details: { waitMs?: number | undefined; cause?: unknown } = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.waitMs = details.waitMs;
  }
}

/**
 * Calls `attempt` until it returns. `progress` is any number that grows when something gets done.
 * @throws what `attempt` threw, if that was no TransientError or the attempts are used up; the signal's reason
 */
export async function persist<T>(
  attempt: () => Promise<T>,
  { patience, progress, signal }: { patience: Patience; progress: () => number; signal: AbortSignal | undefined },
): Promise<T> {
  let failures = 0;
  for (;;) {
    signal?.throwIfAborted();
    const before = progress();
    try {
      return await attempt();
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof TransientError)) throw error;
      failures = progress() > before ? 1 : failures + 1;
      if (failures >= patience.attempts) throw error;
      await sleep(pauseMs(failures, error.waitMs, patience), signal);
    }
  }
}

/** Half of the pause is drawn, so that clients that failed together do not return together. */
function pauseMs(failures: number, asked: number | undefined, { baseMs, capMs }: Patience): number {
  if (asked !== undefined) return Math.min(asked, capMs);
  const full = Math.min(capMs, baseMs * 2 ** (failures - 1));
  return full * (0.5 + Math.random() / 2);
}

/** @throws the signal's reason */
export async function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  await pause(ms, undefined, signal === undefined ? {} : { signal }).catch((error: unknown) => {
    signal?.throwIfAborted();
    throw error;
  });
}

/** Milliseconds of a Retry-After header: seconds, or a date. */
export function retryAfterMs(header: string | null, now: number): number | undefined {
  if (header === null) return undefined;
  if (/^\s*\d+\s*$/.test(header)) return Number(header) * 1000;
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}
