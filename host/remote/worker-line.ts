/**
 * A page's line to the worker with its model: requests and their answers, and the end of the worker.
 * @module
 */
import { ThimbleError } from "../errors.ts";
import { type Answer, fromPlain, type RequestName, type Requests } from "./messages.ts";

/** What a page needs of a worker. */
export interface WorkerLike {
  postMessage(message: unknown, transfer?: Transferable[]): void;
  addEventListener(type: "message" | "error" | "messageerror", listener: (event: Event) => void): void;
  terminate(): void;
}

export type OnProgress = (done: number, total: number) => void;

interface Waiting {
  resolve(value: unknown): void;
  reject(error: unknown): void;
  readonly onProgress: OnProgress | undefined;
}

export class WorkerLine {
  readonly #worker: WorkerLike;
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;
  #ended: ThimbleError | undefined;
  #isHeard = false;

  constructor(worker: WorkerLike) {
    this.#worker = worker;
    worker.addEventListener("message", (event) => this.#take((event as MessageEvent<Answer>).data));
    worker.addEventListener("error", (event) => {
      const message = this.#isHeard
        ? "the worker failed; load the model again"
        : "the worker did not start; deploy model-worker.js beside the script, and let the content policy's worker-src allow it";
      this.end(new ThimbleError("worker_ended", message, { cause: (event as ErrorEvent).message }));
    });
  }

  /** @param onProgress of a `load` or `step` */
  ask<N extends RequestName>(
    name: N,
    args: Parameters<Requests[N]>,
    { onProgress, transfer = [] }: { onProgress?: OnProgress | undefined; transfer?: Transferable[] } = {},
  ): Promise<Awaited<ReturnType<Requests[N]>>> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (value: unknown) => void, reject, onProgress });
      try {
        this.#worker.postMessage({ id, name, args }, transfer);
      } catch (cause) {
        this.#waiting.delete(id);
        const message = "an option or source cannot be sent to a worker; use data, a Blob or an address";
        reject(new ThimbleError("invalid_option", message, { cause }));
      }
    });
  }

  /** Terminates the worker; requests under way and later ones fail with `error`. */
  end(error: ThimbleError): void {
    if (this.#ended !== undefined) return;
    this.#ended = error;
    this.#worker.terminate();
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }

  #take(answer: Answer): void {
    this.#isHeard = true;
    if ("lock" in answer) {
      this.#watch(answer.lock);
      return;
    }
    const waiting = this.#waiting.get(answer.id);
    if (waiting !== undefined && "progress" in answer) waiting.onProgress?.(...answer.progress);
    if (waiting === undefined || "progress" in answer) return;
    this.#waiting.delete(answer.id);
    if ("error" in answer) waiting.reject(fromPlain(answer.error));
    else waiting.resolve(answer.value);
  }

  /** The lock is ours when the worker is gone. Systems that are short of memory end workers without a word. */
  #watch(lock: string | undefined): void {
    if (lock === undefined) return;
    const message = "the worker has ended, by the system or the page; load the model again and restore saved sessions";
    const gone = () => this.end(new ThimbleError("worker_ended", message));
    navigator.locks.request(lock, gone).catch(() => {});
  }
}
