/**
 * One HTTP request for a piece of a file: what comes back is an answer, a refusal with what to do about it, or a failure
 * that another attempt may not meet.
 * @module
 */
import { ThimbleError } from "./errors.ts";
import { isPassing, type Patience, retryAfterMs } from "./patience.ts";

/** How long a read of a file waits. */
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
  if (isPassing(status)) {
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
