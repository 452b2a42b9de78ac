/**
 * A session in a worker, as a page sees it: `Session` with promises. What it tells of itself is as of its last turn.
 * @module
 */
import type { CacheMap } from "../cache-map.ts";
import type { SaveOptions } from "../capsule/save.ts";
import type { ChatMessage } from "../chat.ts";
import { ASYNC_DISPOSE } from "../dispose.ts";
import { ThimbleError } from "../errors.ts";
import type { Forgotten } from "../forgotten.ts";
import { type GenerateOptions, Generation, type GenerationResult } from "../generation.ts";
import type { Prompt, SessionStats } from "../session.ts";
import type { Pin } from "../token-turn.ts";
import type { RequestName, Requests, SessionInfo } from "./messages.ts";
import type { WorkerLine } from "./worker-line.ts";

/** The way to the worker, which is another one after the model was trimmed. */
export interface Way {
  /** The line, with the session in its worker. */
  line(): Promise<WorkerLine>;
  nextNumber(): number;
  /** A session that is there already. */
  adopt(number: number, info: SessionInfo): PageSession;
  forget(): void;
}

export class PageSession implements AsyncDisposable {
  /** For this package's own modules. */
  readonly number: number;
  readonly #way: Way;
  #info: SessionInfo;
  #isTelling = false;
  #isClosed = false;
  /** The end of a turn that the page did not wait for. */
  #ending: Promise<unknown> = Promise.resolve();

  /** Use `model.session()`. */
  constructor(way: Way, number: number, info: SessionInfo) {
    this.#way = way;
    this.number = number;
    this.#info = info;
  }

  get stats(): SessionStats {
    return this.#info.stats;
  }

  get tokens(): readonly number[] {
    return this.#info.tokens;
  }

  get messages(): readonly ChatMessage[] {
    return this.#info.messages;
  }

  get ledger(): readonly Forgotten[] {
    return this.#info.ledger;
  }

  get isPaused(): boolean {
    return this.#info.isPaused;
  }

  /** A turn is under way. */
  get isBusy(): boolean {
    return this.#isTelling;
  }

  /**
   * As `Session.generate`. An abort is answered at once; the session is as before the turn when the next one begins.
   * @throws ThimbleError (while iterating) as `Session.generate`, worker_ended; the signal's reason
   */
  generate(prompt: Prompt, options: GenerateOptions = {}): Generation {
    return new Generation(() => this.#turn(prompt, options));
  }

  /** As `Session.resume`. @throws as `generate` */
  resume(options: GenerateOptions = {}): Generation {
    return new Generation(() => this.#turn(undefined, options));
  }

  /** As `generate`, without streaming. */
  async complete(prompt: Prompt, options: GenerateOptions = {}): Promise<GenerationResult> {
    const generation = this.generate(prompt, options);
    for await (const _piece of generation);
    return generation.result;
  }

  /** The session as a capsule, whole: `model.restore` takes it, on any host. @throws ThimbleError busy, closed, capsule_key */
  async save(options: SaveOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
    return this.#ask("save", [this.number, options]);
  }

  /** As `Session.fork`. */
  async fork(): Promise<PageSession> {
    const made = this.#way.nextNumber();
    return this.#way.adopt(made, await this.#ask("fork", [this.number, made]));
  }

  /** As `Session.trim`: gives pages to other sessions. To give memory to the system, see `PageModel.trim`. */
  async trim(level: "half" | "all" = "all"): Promise<number> {
    return this.#ask("trim", [this.number, level]);
  }

  /** As `Session.pin`. */
  async pin(what: number | Pin): Promise<void> {
    return this.#ask("pin", [this.number, what]);
  }

  /** As `Session.recall`. */
  async recall(span: Pin): Promise<void> {
    return this.#ask("recall", [this.number, span]);
  }

  /** As `Session.cacheMap`: as of now, also while a turn is under way. */
  async cacheMap(): Promise<CacheMap> {
    if (this.#isClosed) throw new ThimbleError("closed", "the session is closed");
    return (await this.#way.line()).ask("cacheMap", [this.number]);
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#way.forget();
    const line = await this.#way.line();
    await line.ask("close", [this.number]);
  }

  async [ASYNC_DISPOSE](): Promise<void> {
    await this.close();
  }

  async #ask<N extends RequestName>(name: N, args: Parameters<Requests[N]>): Promise<Awaited<ReturnType<Requests[N]>>> {
    return (await this.#lineWhenIdle()).ask(name, args);
  }

  async #lineWhenIdle(): Promise<WorkerLine> {
    if (this.#isClosed) throw new ThimbleError("closed", "the session is closed");
    if (this.#isTelling) throw new ThimbleError("busy", "the session is generating; wait for the turn to end");
    await this.#ending;
    return this.#way.line();
  }

  async *#turn(prompt: Prompt | undefined, options: GenerateOptions): AsyncGenerator<string, GenerationResult> {
    const { signal, onPrefill, ...plain } = options;
    signal?.throwIfAborted();
    const starting = this.#lineWhenIdle(); // throws before the turn is told
    this.#isTelling = true;
    let line: WorkerLine | undefined;
    const turn = this.#way.nextNumber();
    let isOver = false;
    const onAbort = whenAborted(signal);
    try {
      line = await starting;
      await line.ask("turn", [turn, this.number, prompt, plain]);
      for (;;) {
        const step = line.ask("step", [turn], { onProgress: onPrefill });
        const { done, ...told } = await Promise.race([step, onAbort.promise]);
        if ("piece" in told) {
          yield told.piece;
          signal?.throwIfAborted();
          continue;
        }
        isOver = done;
        this.#info = told.info;
        return told.result;
      }
    } finally {
      onAbort.release();
      this.#isTelling = false;
      if (!isOver) this.#ending = line?.ask("end", [turn]).catch(() => {}) ?? this.#ending;
    }
  }
}

/** A promise that only an abort settles. */
function whenAborted(signal: AbortSignal | undefined): { promise: Promise<never>; release(): void } {
  let onAbort = () => {};
  const promise = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal?.reason);
  });
  promise.catch(() => {});
  signal?.addEventListener("abort", onAbort, { once: true });
  return { promise, release: () => signal?.removeEventListener("abort", onAbort) };
}
