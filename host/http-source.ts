/**
 * A model file behind an HTTP address as a byte source. The header comes by one bounded Range request; once the loader
 * releases bytes, the rest streams through one long response that is read only as fast as it is used, straight into the
 * caller's buffer. A connection that is cut is opened again where it ended, and an answer that belongs to another version
 * of the file is refused. Reads at any other place open a response of their own.
 *
 * A server that does not do ranges, or does them wrongly, is read from beginning to end like any stream.
 * @module
 */
import { ThimbleError } from "./errors.ts";
import type { HeaderValues } from "./host-types.ts";
import { contentRange, differs, isEncoded, type Version, validators } from "./http-answer.ts";
import { givenUp, PATIENCE, PassingFailure, sendRequest } from "./http-request.ts";
import { streamAnswer } from "./http-stream.ts";
import { KeptBytes } from "./kept-bytes.ts";
import { type Patience, pauseMs } from "./patience.ts";
import type { ByteSource } from "./source.ts";
import { sleep, within } from "./waiting.ts";

export interface UrlOptions {
  /** Default: the host's. */
  readonly fetch?: typeof fetch | undefined;
  /** Sent with every request: a token, for one. */
  readonly headers?: HeaderValues | undefined;
  /** Aborts opening, and every read that brings no signal of its own. */
  readonly signal?: AbortSignal | undefined;
  /** Default: 5 attempts, pauses from 300 ms to 30 s, a minute of silence. */
  readonly patience?: Partial<Patience> | undefined;
}

/** The first request; most headers are shorter, and what is read of them is kept until the loader has passed it. */
const FIRST_BYTES = 2 << 20;
/** Until the loader releases, responses of reads that go on where the last one ended get longer, up to this. */
const LONGEST_BYTES = 64 << 20;
/** A read elsewhere asks for no less than this. */
const SHORTEST_BYTES = 1 << 16;
/** A longer read is not kept. */
const KEPT_BYTES = 32 << 20;
/** A gap of so many bytes is read over (tensors are padded); a longer one is jumped with a new request. */
const GAP_BYTES = 1 << 18;
/** Cuts of one source in all: a server that gives a byte at a time is not worth its while. */
const MAX_CUTS = 1000;

/**
 * Opens a model file at an http(s) address, or at any other that the host's `fetch` takes.
 * @throws ThimbleError source_unreadable with the status and what to do; the signal's reason
 */
export async function openUrl(url: string, options: UrlOptions = {}): Promise<ByteSource> {
  const source = new UrlSource(url, options);
  return source.open();
}

/** Bytes [from, to) of the file. */
interface Asked {
  readonly from: number;
  readonly to: number;
}

/** A response under way: `rest` and what the reader brings are the file's bytes from `position` to `end`. */
interface Connection {
  readonly reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly controller: AbortController;
  readonly end: number;
  position: number;
  rest: Uint8Array;
}

class UrlSource implements ByteSource {
  readonly name: string;
  readonly sequential = false;
  readonly #url: string;
  readonly #options: UrlOptions;
  readonly #patience: Patience;
  readonly #fetch: typeof fetch;
  #version!: Version;
  #connection: Connection | undefined;
  /** Pieces of the last read, until the loader's first release: it begins with what the header's last read had too much. */
  readonly #kept = new KeptBytes();
  #isReleased = false;
  /** End of the last read, and the length of the next response that begins there. */
  #readEnd = 0;
  #span = FIRST_BYTES;
  /** Attempts in a row that failed, and connections lost in all. */
  #failures = 0;
  #cuts = 0;
  /** Send If-Range; a page's server may not allow the header, so that a request without an answer is repeated without. */
  #isConditional = true;
  /** The last failure was one of the connection, not an answer. */
  #isUnanswered = false;
  /** Of the request under way. */
  #pending: AbortController | undefined;
  #isClosed = false;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(url: string, options: UrlOptions) {
    this.name = publicName(url);
    this.#url = url;
    this.#options = options;
    this.#patience = { ...PATIENCE, ...options.patience };
    // Looked up at each call and called without a receiver: a page's fetch insists on that.
    this.#fetch = options.fetch ?? ((...request) => globalThis.fetch(...request));
  }

  get size(): number {
    return this.#version.size;
  }

  /** This source, or a stream where the server does no ranges. */
  async open(): Promise<ByteSource> {
    const { signal } = this.#options;
    const ask = (range?: Asked) => this.#persist(() => this.#request(range, signal), signal);
    // Without an answer: a page's server may not allow the Range header, or compress what it must not. Once more without.
    const first = await ask({ from: 0, to: FIRST_BYTES }).catch((error: unknown) => {
      if (this.#isUnanswered) return undefined;
      throw error;
    });
    if (first !== undefined) {
      const { response, controller } = first;
      const range = contentRange(response);
      if (response.status === 206 && range?.start === 0 && range.size !== undefined && !isEncoded(response)) {
        this.#version = { size: range.size, ...validators(response) };
        this.#connect(response, controller, 0, range.end);
        return this;
      }
      if (response.status === 200 && response.body !== null) return this.#stream(response, controller);
      controller.abort();
    }
    // 206 of something else, 416 of an empty file: without a range it must be the whole file.
    const whole = await ask();
    if (whole.response.status === 200 && whole.response.body !== null) {
      return this.#stream(whole.response, whole.controller);
    }
    whole.controller.abort();
    throw this.#unreadable(`the server answered ${whole.response.status} to a request for the whole file`);
  }

  read(target: Uint8Array, offset: number, signal = this.#options.signal): Promise<number> {
    const work = this.#turn.then(() => this.#read(target, offset, signal));
    this.#turn = work.catch(() => {});
    return work;
  }

  release(offset: number): void {
    this.#isReleased = true;
    this.#kept.drop(offset);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#kept.drop();
    this.#pending?.abort();
    this.#disconnect();
  }

  async #read(target: Uint8Array, offset: number, signal: AbortSignal | undefined): Promise<number> {
    this.#checkOpen();
    signal?.throwIfAborted();
    const count = Math.max(0, Math.min(target.byteLength, this.size - offset));
    let done = this.#kept.copyTo(target, offset, count);
    const isKept = !this.#isReleased && count <= KEPT_BYTES;
    if (!this.#isReleased && done < count) this.#kept.drop();
    while (done < count) {
      const bytes = await this.#next(offset + done, count - done, signal);
      target.set(bytes, done);
      if (isKept) this.#kept.add(offset + done, bytes);
      done += bytes.byteLength;
      this.#readEnd = offset + done;
    }
    return count;
  }

  /** At least one and at most `count` bytes of the file at `at`, from the connection there or a new one. */
  async #next(at: number, count: number, signal: AbortSignal | undefined): Promise<Uint8Array> {
    return this.#persist(async () => {
      const connection = await this.#connectionAt(at, count, signal);
      while (connection.position + connection.rest.byteLength <= at) {
        connection.position += connection.rest.byteLength;
        connection.rest = new Uint8Array(0);
        connection.rest = await this.#receive(connection, signal);
      }
      const skipped = at - connection.position;
      const bytes = connection.rest.subarray(skipped, skipped + count);
      connection.position += skipped + bytes.byteLength;
      connection.rest = connection.rest.subarray(skipped + bytes.byteLength);
      if (connection.position === connection.end) this.#connection = undefined;
      return bytes;
    }, signal);
  }

  /** The next chunk of a connection. @throws PassingFailure when it is cut */
  async #receive(connection: Connection, signal: AbortSignal | undefined): Promise<Uint8Array> {
    const { stallMs } = this.#patience;
    const late = new PassingFailure(`the connection was silent for ${stallMs / 1000} s`, { answered: true });
    const cut = (cause?: unknown) =>
      new PassingFailure(`the connection was cut at byte ${connection.position} of ${this.size}`, {
        answered: true,
        cause,
      });
    try {
      const { done, value } = await within(connection.reader.read(), stallMs, late, signal);
      this.#checkOpen();
      if (done) throw cut();
      if (connection.position + value.byteLength <= connection.end) return value;
    } catch (error) {
      this.#disconnect();
      signal?.throwIfAborted();
      this.#checkOpen();
      throw error instanceof PassingFailure ? error : cut(error);
    }
    this.#disconnect();
    throw this.#unreadable("the server sent more bytes than it announced; its answers cannot be trusted");
  }

  async #connectionAt(at: number, count: number, signal: AbortSignal | undefined): Promise<Connection> {
    const now = this.#connection;
    if (now !== undefined && at >= now.position && at < now.end) {
      if (at - now.position <= now.rest.byteLength + GAP_BYTES) return now;
    }
    this.#disconnect();
    // Until the loader has begun, only what is asked for and a little more: `inspect` wants no weights.
    if (at !== this.#readEnd) this.#span = SHORTEST_BYTES;
    const to = this.#isReleased ? this.size : Math.min(this.size, at + Math.max(count, this.#span));
    this.#span = Math.min(LONGEST_BYTES, this.#span * 2);
    const { response, controller } = await this.#request({ from: at, to }, signal);
    const range = contentRange(response);
    const { tag, modified } = validators(response);
    const known = this.#version;
    const isOther =
      response.status === 416 ||
      response.status === 412 ||
      differs(tag, known.tag) ||
      ((tag === null || known.tag === null) && differs(modified, known.modified)) ||
      (range?.size !== undefined && range.size !== known.size);
    const isRight = response.status === 206 && range?.start === at && range.end > at && !isEncoded(response);
    if (!isOther && isRight) return this.#connect(response, controller, at, Math.min(range.end, this.size));
    controller.abort();
    // A whole answer to If-Range says the same as another ETag.
    if (isOther || (response.status === 200 && known.tag !== null && tag === null)) {
      throw this.#unreadable("the file changed on the server while it was read; load it again from the beginning");
    }
    const found = response.headers.get("content-range") ?? "none";
    throw this.#unreadable(
      `the server answered ${response.status} with the range "${found}" to a request for ${at}-${to - 1}`,
    );
  }

  #connect(response: Response, controller: AbortController, position: number, end: number): Connection {
    const reader = response.body!.getReader();
    this.#connection = { reader, controller, end, position, rest: new Uint8Array(0) };
    return this.#connection;
  }

  #disconnect(): void {
    const connection = this.#connection;
    this.#connection = undefined;
    connection?.reader.cancel().catch(() => {});
    connection?.controller.abort();
  }

  async #request(
    range: Asked | undefined,
    signal: AbortSignal | undefined,
  ): Promise<{ response: Response; controller: AbortController }> {
    const headers = new Headers(this.#options.headers);
    // Compressed bytes could be neither counted nor continued. With a range, `fetch` asks for this by itself.
    if (range === undefined) headers.set("accept-encoding", "identity");
    else headers.set("range", `bytes=${range.from}-${range.to - 1}`);
    const { tag = null, modified = null } = this.#version ?? {};
    const condition = tag ?? modified;
    // Weak tags are not allowed there.
    const isUsable = condition !== null && !condition.startsWith("W/");
    if (range !== undefined && isUsable && this.#isConditional) headers.set("if-range", condition);
    const controller = new AbortController();
    this.#pending = controller;
    const { stallMs } = this.#patience;
    const late = new PassingFailure(`the server did not answer within ${stallMs / 1000} s`, { answered: true });
    const { name } = this;
    try {
      const sent = sendRequest(this.#fetch, this.#url, headers, { signal: controller.signal, name });
      return { response: await within(sent, stallMs, late, signal), controller };
    } catch (error) {
      controller.abort();
      this.#checkOpen();
      throw error;
    }
  }

  /** Calls `attempt` until it returns. @throws what it threw that is no PassingFailure, or source_unreadable at last */
  async #persist<T>(attempt: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    for (;;) {
      try {
        const result = await attempt();
        this.#failures = 0;
        return result;
      } catch (failure) {
        if (!(failure instanceof PassingFailure)) throw failure;
        this.#failures += 1;
        this.#cuts += 1;
        this.#isUnanswered = !failure.answered;
        if (!failure.answered) this.#isConditional = !this.#isConditional;
        // An address that never answered is more likely wrong than unlucky.
        const isHopeless = this.#version === undefined && !failure.answered;
        if (isHopeless || this.#failures >= this.#patience.attempts || this.#cuts > MAX_CUTS) {
          throw givenUp(failure, this.name);
        }
        await sleep(pauseMs(this.#failures, failure.waitMs, this.#patience), signal);
        this.#checkOpen();
      }
    }
  }

  #stream(response: Response, controller: AbortController): ByteSource {
    const { signal } = this.#options;
    return streamAnswer(response, controller, { name: this.name, stallMs: this.#patience.stallMs, signal });
  }

  #checkOpen(): void {
    if (this.#isClosed)
      throw new ThimbleError("closed", "the address was read after it was closed", { file: this.name });
  }

  #unreadable(message: string): ThimbleError {
    return new ThimbleError("source_unreadable", message, { file: this.name });
  }
}

/** An address as messages may show it: without the password and the signature that some carry. */
function publicName(url: string): string {
  if (!URL.canParse(url)) return url;
  const { protocol, host, pathname } = new URL(url);
  return /^https?:$/.test(protocol) ? `${protocol}//${host}${pathname}` : url.slice(0, 100);
}
