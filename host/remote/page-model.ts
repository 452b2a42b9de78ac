/**
 * A model in a worker, as a page sees it: `Model` with promises, so that the page never waits for a computation. The page's
 * side has neither the engine nor the tokenizer; all of that is in the worker.
 * @module
 */
import type { CapsuleSource } from "../capsule/byte-reader.ts";
import type { ChatMessage } from "../chat.ts";
import { ASYNC_DISPOSE } from "../dispose.ts";
import { ThimbleError } from "../errors.ts";
import type { LoadOptions } from "../load-engine.ts";
import type { ModelStats } from "../model.ts";
import { wrongOption } from "../options.ts";
import type { ModelSource } from "../source.ts";
import type { SessionOptions } from "../token-turn.ts";
import type { ModelInfo, PlainRestoreOptions, SessionInfo } from "./messages.ts";
import { PageSession, type Way } from "./page-session.ts";
import { type WorkerLike, WorkerLine } from "./worker-line.ts";

/** A session while its model is trimmed. */
interface Kept {
  readonly session: PageSession;
  readonly tenant: string | undefined;
  capsule: Uint8Array<ArrayBuffer> | undefined;
}

type Start = () => Promise<{ readonly line: WorkerLine; readonly info: ModelInfo }>;

export class PageModel implements AsyncDisposable {
  readonly name: string;
  readonly hasChatTemplate: boolean;
  readonly #start: Start;
  readonly #sessions = new Map<number, Kept>();
  #stats: ModelStats;
  /** Undefined while trimmed. */
  #line: Promise<WorkerLine> | undefined;
  #lastNumber = 0;
  #isClosed = false;

  /** Use `loadInWorker`. */
  constructor(started: Awaited<ReturnType<Start>>, start: Start) {
    this.name = started.info.name;
    this.hasChatTemplate = started.info.hasChatTemplate;
    this.#stats = started.info.stats;
    this.#line = Promise.resolve(started.line);
    this.#start = start;
  }

  /** As of loading; `peakBytes` grows with sessions, and `refreshStats` brings what it is now. */
  get stats(): ModelStats {
    return this.#stats;
  }

  async refreshStats(): Promise<ModelStats> {
    this.#stats = await (await this.#connect()).ask("stats", []);
    return this.#stats;
  }

  /** As `Model.session`. @throws ThimbleError out_of_memory, over_budget, closed, invalid_option, worker_ended */
  async session(options: SessionOptions = {}): Promise<PageSession> {
    const number = this.#nextNumber();
    return this.#adopt(number, await (await this.#connect()).ask("session", [number, options]));
  }

  /** As `Model.restore`, of one full capsule. @throws ThimbleError as `Model.restore`, worker_ended */
  async restore(capsule: CapsuleSource, { key, tenant }: PlainRestoreOptions = {}): Promise<PageSession> {
    const number = this.#nextNumber();
    const isStream = "getReader" in capsule;
    const source = isStream ? new Uint8Array(await new Response(capsule).arrayBuffer()) : capsule;
    return this.#adopt(number, await (await this.#connect()).ask("restore", [number, source, { key, tenant }]));
  }

  async tokenize(text: string): Promise<number[]> {
    return (await this.#connect()).ask("tokenize", [text]);
  }

  async detokenize(ids: readonly number[]): Promise<string> {
    return (await this.#connect()).ask("detokenize", [ids]);
  }

  async count(input: string | readonly ChatMessage[]): Promise<number> {
    return (await this.#connect()).ask("count", [input]);
  }

  /**
   * For a system that is short of memory: keeps the sessions as capsules in the page and ends the worker, whose memory is the
   * system's again at once. The next call of any kind starts a worker, loads the model and goes on with the same words.
   * @throws ThimbleError busy while a session generates, closed
   */
  async trim(): Promise<void> {
    if (this.#isClosed) throw new ThimbleError("closed", "the model is closed");
    if (this.#line === undefined) return;
    const kept = [...this.#sessions.values()];
    if (kept.some(({ session }) => session.isBusy)) {
      throw new ThimbleError("busy", "a session is generating; abort the turn or wait for its end");
    }
    for (const one of kept) one.capsule = await one.session.save();
    const line = await this.#line;
    this.#line = undefined;
    line.end(new ThimbleError("worker_ended", "the model was trimmed while it was asked for something"));
  }

  /** Ends the worker; its memory goes at once. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const line = await this.#line?.catch(() => undefined);
    line?.end(new ThimbleError("closed", "the model is closed"));
  }

  async [ASYNC_DISPOSE](): Promise<void> {
    await this.close();
  }

  #nextNumber(): number {
    this.#lastNumber += 1;
    return this.#lastNumber;
  }

  #adopt(number: number, info: SessionInfo): PageSession {
    const way: Way = {
      line: () => this.#connect(),
      nextNumber: () => this.#nextNumber(),
      adopt: (made, madeInfo) => this.#adopt(made, madeInfo),
      forget: () => void this.#sessions.delete(number),
    };
    const session = new PageSession(way, number, info);
    this.#sessions.set(number, { session, tenant: info.tenant, capsule: undefined });
    return session;
  }

  /** The worker, started anew after `trim` with the sessions that there were. */
  #connect(): Promise<WorkerLine> {
    if (this.#isClosed) return Promise.reject(new ThimbleError("closed", "the model is closed"));
    this.#line ??= this.#revive().catch((error: unknown) => {
      this.#line = undefined; // the capsules stay, and the next call tries again
      throw error;
    });
    return this.#line;
  }

  async #revive(): Promise<WorkerLine> {
    const { line, info } = await this.#start();
    this.#stats = info.stats;
    for (const [number, { capsule, tenant }] of this.#sessions) {
      if (capsule !== undefined) await line.ask("restore", [number, capsule, { tenant }]);
    }
    for (const kept of this.#sessions.values()) kept.capsule = undefined;
    return line;
  }
}

/** What `loadInWorker` takes beside the options of `loadModel`. */
export interface InWorkerOptions extends LoadOptions {
  /** Makes the worker: for bundlers and content policies that need it made elsewhere. Default: model-worker.js. */
  readonly makeWorker?: () => WorkerLike;
}

/** Starts a worker and loads a model in it. @throws ThimbleError as `loadModel`, worker_ended; the signal's reason */
export async function loadPageModel(
  makeWorker: () => WorkerLike,
  source: string | ModelSource,
  options: Omit<InWorkerOptions, "makeWorker">,
): Promise<PageModel> {
  const { signal, onProgress, ...plain } = options;
  const isOnce = typeof source === "object" && ("getReader" in source || "sequential" in source);
  if (isOnce) {
    const message = "a worker cannot read from a stream or a reader of the page; pass an address, a Blob or bytes";
    throw wrongOption("source", message);
  }
  const start = async (abort?: AbortSignal): Promise<{ line: WorkerLine; info: ModelInfo }> => {
    abort?.throwIfAborted();
    const line = new WorkerLine(startWorker(makeWorker));
    const onAbort = (): void => line.end(new ThimbleError("closed", "loading was aborted"));
    abort?.addEventListener("abort", onAbort, { once: true });
    const tell = (loaded: number, total: number): void => onProgress?.({ loaded, total });
    try {
      return { line, info: await line.ask("load", [source, plain], { onProgress: tell }) };
    } catch (error) {
      line.end(new ThimbleError("closed", "loading failed"));
      abort?.throwIfAborted();
      throw error;
    } finally {
      abort?.removeEventListener("abort", onAbort);
    }
  };
  return new PageModel(await start(signal), () => start());
}

function startWorker(makeWorker: () => WorkerLike): WorkerLike {
  try {
    return makeWorker();
  } catch (cause) {
    const message =
      "the host makes no worker; serve the page over http(s) or the app's own scheme, and check worker-src";
    throw new ThimbleError("unsupported_runtime", message, { cause });
  }
}
