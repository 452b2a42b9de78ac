/**
 * One HTTP request for a piece of a file: what comes back is an answer, a refusal with what to do about it, or a failure
 * that another attempt may not meet.
 * @module
 */
import { ThimbleError } from "./errors.ts";

/** How often and how long to try again. */
export interface Patience {
  /** Attempts in a row that bring nothing. Default 5. */
  readonly attempts: number;
  /** Pause after the first failure, milliseconds; each further one is twice as long. Default 300. */
  readonly baseMs: number;
  /** Longest pause, also where a server asks for more. Default 30,000. */
  readonly capMs: number;
  /** A connection that is silent for so long counts as cut. Default 60,000. */
  readonly stallMs: number;
}

export const PATIENCE: Patience = { attempts: 5, baseMs: 300, capMs: 30_000, stallMs: 60_000 };

/** It did not work now; it may in a moment. */
export class PassingFailure extends Error {
  override readonly name = "PassingFailure";
  /** What the server asked for, milliseconds. */
  readonly waitMs: number | undefined;
  /** The server answered; otherwise there was no connection. */
  readonly answered: boolean;

  constructor(message: string, details: { waitMs?: number | undefined; answered: boolean; cause?: unknown }) {
    super(message, { cause: details.cause });
    this.waitMs = details.waitMs;
    this.answered = details.answered;
  }
}

/** What a refusal means to the one who named the address. */
const ADVICE: Readonly<Record<number, string>> = {
  401: "it needs a login: pass the header it asks for",
  403: "access is refused: accept the model's terms, or pass a token that may read it",
  404: "there is no such file: check the address",
  410: "the file is gone: look for its new address",
};

/** Sends a request. @throws PassingFailure; ThimbleError source_unreadable; the signal's reason */
export async function sendRequest(
  send: typeof fetch,
  url: string,
  headers: Headers,
  { signal, name }: { readonly signal: AbortSignal; readonly name: string },
): Promise<Response> {
  let response: Response;
  try {
    response = await send(url, { headers, signal });
  } catch (cause) {
    signal.throwIfAborted();
    throw new PassingFailure("there was no answer", { answered: false, cause });
  }
  const { status } = response;
  if (response.ok || status === 412 || status === 416) return response;
  await response.body?.cancel().catch(() => {});
  if (status >= 500 || status === 429 || status === 408 || status === 425) {
    const waitMs = retryAfterMs(response.headers.get("retry-after"));
    throw new PassingFailure(`the server answered ${status}`, { answered: true, waitMs });
  }
  const advice = ADVICE[status] ?? "check the address";
  throw new ThimbleError("source_unreadable", `the server answered ${status}; ${advice}`, { file: name });
}

/** What remains to be said when attempts are used up. */
export function givenUp(failure: PassingFailure, name: string): ThimbleError {
  const advice = failure.answered
    ? "try again later"
    : "check the address and the network; a page needs a server that allows its origin (CORS)";
  return new ThimbleError("source_unreadable", `${failure.message}; ${advice}`, { file: name, cause: failure.cause });
}

/** The pause before attempt `failures + 1`; half of it is drawn, so that clients cut together do not return together. */
export function pauseMs(failures: number, failure: PassingFailure, { baseMs, capMs }: Patience): number {
  if (failure.waitMs !== undefined) return Math.min(failure.waitMs, capMs);
  return Math.min(capMs, baseMs * 2 ** (failures - 1)) * (0.5 + Math.random() / 2);
}

/** Milliseconds of a Retry-After header: seconds, or a date. */
function retryAfterMs(header: string | null): number | undefined {
  if (header === null) return undefined;
  if (/^\s*\d+\s*$/.test(header)) return Number(header) * 1000;
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now());
}

/**
 * Waits for `work`, for `ms` (then `late` is thrown) or for the signal, whichever comes first; the work itself goes on.
 */
export async function within<T>(work: Promise<T>, ms: number, late: Error, signal?: AbortSignal): Promise<T> {
  work.catch(() => {}); // it may fail when nobody waits any more
  let timer: ReturnType<typeof setTimeout> | undefined;
  let onAbort = () => {};
  const ended = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal?.reason);
    timer = setTimeout(() => reject(late), ms);
    signal?.addEventListener("abort", onAbort, { once: true });
  });
  try {
    signal?.throwIfAborted();
    return await Promise.race([work, ended]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
  }
}

/** @throws the signal's reason */
export async function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  const late = new Error("slept");
  await within(new Promise<void>(() => {}), ms, late, signal).catch((error: unknown) => {
    if (error !== late) throw error;
  });
}
