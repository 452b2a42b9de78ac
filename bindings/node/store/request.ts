/**
 * One request: follows redirects by itself, so that a token goes to the origin it is meant for and to no other, and so
 * that the answer of the hub itself can be read before it sends the client on. Failures become typed errors, or a
 * TransientError where another attempt makes sense.
 * @module
 */
import { ThimbleError } from "../../../host/errors.ts";
import { isPassing, retryAfterMs } from "../../../host/patience.ts";
import { TransientError } from "./retry.ts";

const MAX_REDIRECTS = 10;
/** Nobody answers to this name, or there is no way there: the network is missing rather than the server. */
const NO_NETWORK = /^(?:ENOTFOUND|EAI_AGAIN|ENETUNREACH|ENETDOWN|EHOSTUNREACH)$/;
const BAD_CERTIFICATE = /CERT|SELF_SIGNED|UNABLE_TO_VERIFY|ERR_TLS|ERR_SSL/;

export interface Token {
  readonly origin: string;
  readonly value: string;
}

export interface RequestOptions {
  readonly method?: "GET" | "HEAD";
  readonly headers?: Readonly<Record<string, string>>;
  readonly token: Token | undefined;
  readonly signal: AbortSignal | undefined;
  /** A redirect with such headers is the answer wanted and is not followed. */
  readonly isAnswer?: (headers: Headers) => boolean;
}

/**
 * The answer, whatever its status except 5xx, 429 and other passing ones.
 * @throws TransientError; ThimbleError offline, download_failed; the signal's reason
 */
export async function request(start: URL, options: RequestOptions): Promise<Response> {
  let url = start;
  for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
    const response = await send(url, options);
    const target = response.status >= 300 && response.status < 400 ? response.headers.get("location") : null;
    if (target === null || options.isAnswer?.(response.headers) === true) return checkPassing(response, url);
    await dismiss(response);
    url = redirectTarget(target, url);
  }
  throw failed(start, `more than ${MAX_REDIRECTS} redirects`);
}

/** Lets go of an answer's body. */
export async function dismiss(response: Response): Promise<void> {
  await response.body?.cancel().catch(() => {});
}

async function send(url: URL, { method = "GET", headers, token, signal }: RequestOptions): Promise<Response> {
  const sent = new Headers(headers);
  // Compressed bytes could be neither counted nor continued.
  sent.set("accept-encoding", "identity");
  if (token !== undefined && token.origin === url.origin) sent.set("authorization", `Bearer ${token.value}`);
  try {
    return await fetch(url, { method, headers: sent, redirect: "manual", ...(signal === undefined ? {} : { signal }) });
  } catch (cause) {
    signal?.throwIfAborted();
    throw connectionError(url, cause);
  }
}

/** What a failed connection means. */
export function connectionError(url: URL, cause: unknown): Error {
  const code = systemCode(cause);
  if (NO_NETWORK.test(code)) return new TransientError(`${url.host} cannot be reached (${code})`, { cause });
  if (BAD_CERTIFICATE.test(code)) return failed(url, `the connection is not secure (${code})`, cause);
  return new TransientError(`the connection to ${url.host} failed (${code === "" ? String(cause) : code})`, { cause });
}

/** Whether a TransientError means that there is no network. */
export function isNoNetwork(error: TransientError): boolean {
  return NO_NETWORK.test(systemCode(error.cause));
}

/** The system's code in an error or its causes. */
function systemCode(error: unknown): string {
  for (let one = error, depth = 0; one instanceof Error && depth < 5; one = one.cause, depth++) {
    if ("code" in one && typeof one.code === "string") return one.code;
  }
  return "";
}

function redirectTarget(target: string, from: URL): URL {
  if (!URL.canParse(target, from.href)) throw failed(from, "the server redirects to what is not an address");
  const url = new URL(target, from);
  const isWeaker = from.protocol === "https:" && url.protocol !== "https:";
  if (isWeaker || !/^https?:$/.test(url.protocol)) throw failed(from, `the server redirects to ${url.protocol}`);
  return url;
}

async function checkPassing(response: Response, url: URL): Promise<Response> {
  const { status } = response;
  if (!isPassing(status)) return response;
  await dismiss(response);
  const waitMs = retryAfterMs(response.headers.get("retry-after"));
  throw new TransientError(`${url.host} answers with status ${status}`, { waitMs });
}

/** What a refusal means. `what` is the model's name. */
export function refusal(response: Response, url: URL, what: string): ThimbleError {
  const { status, headers } = response;
  const reason = headers.get("x-error-code") ?? "";
  const details = { name: what };
  if (status === 404 || status === 410 || reason === "RepoNotFound") {
    const hint = reason === "RepoNotFound" ? "; a private repository needs a token in HF_TOKEN" : "";
    return new ThimbleError("not_found", `${url.host} has no "${what}"${hint}`, details);
  }
  if (status === 401 || status === 403) {
    const hint = "accept the model's terms on its page if it has any, and set HF_TOKEN to a token that may read it";
    return new ThimbleError("download_failed", `${url.host} refuses access to "${what}"; ${hint}`, details);
  }
  return new ThimbleError("download_failed", `${url.host} answers with status ${status} for "${what}"`, details);
}

function failed(url: URL, message: string, cause?: unknown): ThimbleError {
  return new ThimbleError("download_failed", `${url.host}: ${message}`, { cause });
}
