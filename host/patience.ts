/**
 * Trying again over HTTP: which answers may be others in a moment, and how long to wait for that.
 * @module
 */

/** How often and how long to try again. */
export interface Patience {
  /** Attempts in a row that bring nothing. */
  readonly attempts: number;
  /** Pause after the first failure, milliseconds; each further one is twice as long. */
  readonly baseMs: number;
  /** Longest pause, also where a server asks for more. */
  readonly capMs: number;
  /** A connection that is silent for so long counts as cut. */
  readonly stallMs: number;
}

/** 408, 425, 429 and 5xx. */
export function isPassing(status: number): boolean {
  return status >= 500 || status === 429 || status === 408 || status === 425;
}

/**
 * The pause before attempt `failures` + 1, as the server asked or by the rule; half of it is drawn, so that clients that failed
 * together do not return together.
 */
export function pauseMs(failures: number, asked: number | undefined, { baseMs, capMs }: Patience): number {
  if (asked !== undefined) return Math.min(asked, capMs);
  return Math.min(capMs, baseMs * 2 ** (failures - 1)) * (0.5 + Math.random() / 2);
}

/** Milliseconds of a Retry-After header: seconds, or a date. */
export function retryAfterMs(header: string | null, now = Date.now()): number | undefined {
  if (header === null) return undefined;
  if (/^\s*\d+\s*$/.test(header)) return Number(header) * 1000;
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}
