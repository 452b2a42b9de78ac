/**
 * Trying again: what failed for the moment (cut connections, 429, 5xx) is repeated after a pause that doubles each time, or
 * that the server asks for. Attempts that got something done do not count against the limit.
 * @module
 */
import { type Patience, pauseMs } from "../../../host/patience.ts";
import { sleep } from "../../../host/waiting.ts";

/** How long a download waits. */
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
