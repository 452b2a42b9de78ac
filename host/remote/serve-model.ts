/**
 * The worker's side of a model that computes for a page: requests of messages.ts, answered with a model of its own.
 * @module
 */
import { ThimbleError } from "../errors.ts";
import type { GenerationResult } from "../generation.ts";
import type { LoadOptions } from "../load-engine.ts";
import type { Model } from "../model.ts";
import type { Session } from "../session.ts";
import type { ModelSource } from "../source.ts";
import { type Answer, type Request, type Requests, type SessionInfo, toPlain } from "./messages.ts";

/** A worker's global scope, or a port. */
export interface Port {
  postMessage(message: Answer, transfer?: Transferable[]): void;
  addEventListener(type: "message", listener: (event: MessageEvent<Request>) => void): void;
}

type LoadModel = (source: string | ModelSource, options?: LoadOptions) => Promise<Model>;

interface Turn {
  readonly session: Session;
  readonly pieces: AsyncGenerator<string, void>;
  readonly result: Promise<GenerationResult>;
  readonly controller: AbortController;
  /** Id of the request for the step under way. */
  id: number;
}

/** @param loadModel of the binding */
export function serveModel(port: Port, loadModel: LoadModel): void {
  let loaded: Model | undefined;
  const sessions = new Map<number, Session>();
  const turns = new Map<number, Turn>();
  /** Id of the request that was last begun. */
  let current = 0;
  const tell = (id: number, done: number, total: number): void => port.postMessage({ id, progress: [done, total] });

  const model = (): Model => loaded ?? missing("the model is not loaded");
  const sessionOf = (number: number): Session => sessions.get(number) ?? missing("the session is closed");
  const turnOf = (number: number): Turn => turns.get(number) ?? missing("the turn is over");
  const add = (number: number, session: Session): SessionInfo => {
    sessions.set(number, session);
    return infoOf(session);
  };

  const requests: Requests = {
    async load(source, options) {
      const id = current;
      loaded = await loadModel(source, { ...options, onProgress: (p) => tell(id, p.loaded, p.total) });
      const { name, hasChatTemplate, stats } = loaded;
      return { name, hasChatTemplate, stats };
    },
    stats: () => model().stats,
    tokenize: (text) => model().tokenize(text),
    detokenize: (ids) => model().detokenize(ids),
    count: (input) => model().count(input),
    session: (number, options) => add(number, model().session(options)),
    restore: async (number, capsule, options) => add(number, await model().restore(capsule, options)),
    fork: (number, made) => add(made, sessionOf(number).fork()),
    save: async (number, options) => new Uint8Array(await new Response(sessionOf(number).save(options)).arrayBuffer()),
    trim: (number, level) => sessionOf(number).trim(level),
    pin: (number, what) => sessionOf(number).pin(what),
    recall: (number, span) => sessionOf(number).recall(span),
    cacheMap: (number) => sessionOf(number).cacheMap(),
    close(number) {
      sessions.get(number)?.close();
      sessions.delete(number);
    },
    turn(number, sessionNumber, prompt, options) {
      const session = sessionOf(sessionNumber);
      const controller = new AbortController();
      const all = {
        ...options,
        signal: controller.signal,
        onPrefill: (done: number, total: number) => tell(turns.get(number)?.id ?? 0, done, total),
      };
      const generation = prompt === undefined ? session.resume(all) : session.generate(prompt, all);
      const pieces = generation[Symbol.asyncIterator]();
      turns.set(number, { session, pieces, result: generation.result, controller, id: current });
    },
    async step(number) {
      const turn = turnOf(number);
      turn.id = current;
      const { session, pieces, result } = turn;
      try {
        const { done, value } = await pieces.next();
        if (done !== true) return { done: false, piece: value };
      } catch (error) {
        turns.delete(number);
        throw error;
      }
      turns.delete(number);
      return { done: true, result: await result, info: infoOf(session) };
    },
    async end(number) {
      const turn = turns.get(number);
      turns.delete(number);
      turn?.controller.abort();
      await turn?.pieces.return();
    },
  };

  port.addEventListener("message", async ({ data: { id, name, args } }) => {
    current = id;
    try {
      const value = await (requests[name] as (...args: readonly unknown[]) => unknown)(...args);
      port.postMessage({ id, value }, value instanceof Uint8Array ? [value.buffer] : []);
    } catch (error) {
      port.postMessage({ id, error: toPlain(error) });
    }
  });
  holdLock((lock) => port.postMessage({ lock }));
}

/** A lock goes with the worker that holds it, however that ends: the page waits for it. */
function holdLock(onHeld: (name: string | undefined) => void): void {
  const locks = (globalThis.navigator as { locks?: LockManager } | undefined)?.locks;
  if (locks === undefined) {
    onHeld(undefined); // not a secure context
    return;
  }
  const name = `thimble-${globalThis.crypto.getRandomValues(new Uint32Array(2)).join("-")}`;
  locks
    .request(name, () => {
      onHeld(name);
      return new Promise(() => {});
    })
    .catch(() => onHeld(undefined));
}

function infoOf(session: Session): SessionInfo {
  const { stats, tokens, messages, ledger, isPaused, tenant } = session;
  return { stats, tokens, messages, ledger, isPaused, tenant };
}

function missing(message: string): never {
  throw new ThimbleError("closed", message);
}
