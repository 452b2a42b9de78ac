/**
 * A sequence that is computed once, and forked where a prompt is to end: a fork has the queries of its last rows observed,
 * and each variant is a fork of that fork.
 * @module
 */
import { Size } from "../../assembly/memory/status.ts";
import type { Model } from "../../host/model.ts";
import { evictPrompt, observedRows } from "../../host/prompt-end.ts";
import type { Variant } from "./variants.ts";

export class Prefix {
  readonly #model: Model;
  readonly #ids: readonly number[];
  readonly #session: number;
  #length = 0;

  constructor(model: Model, ids: readonly number[]) {
    this.#model = model;
    this.#ids = ids;
    this.#session = model.engine.openSession();
  }

  /** The first `end` tokens; ends must ascend. To be closed. */
  endAt(end: number): PromptEnd {
    const { engine } = this.#model;
    const from = Math.max(0, end - observedRows(engine));
    if (from < this.#length) throw new Error(`the prompt's end ${end} lies before ${this.#length} computed tokens`);
    this.#length = feed(this.#model, this.#session, this.#length, this.#ids.slice(this.#length, from));
    return new PromptEnd(this.#model, engine.forkSession(this.#session), from, this.#ids.slice(from, end));
  }

  close(): void {
    this.#model.engine.runtime.exports.sessionClose(this.#session);
  }
}

export class PromptEnd {
  readonly #model: Model;
  /** Holds what comes before the last rows, which are computed again where a policy wants to see fewer of them. */
  readonly #before: number;
  readonly #from: number;
  readonly #rows: readonly number[];
  #session: number;
  /** How many of the rows are observed. */
  #observed: number;

  constructor(model: Model, before: number, from: number, rows: readonly number[]) {
    this.#model = model;
    this.#before = before;
    this.#from = from;
    this.#rows = rows;
    this.#observed = rows.length;
    this.#session = this.#observe();
  }

  /** A session that has kept of the prompt what the variant keeps; to be closed by the caller. */
  fork({ rule, policy }: Variant): number {
    const { engine } = this.#model;
    const { exports } = engine.runtime;
    // There is one place for observed rows; TOVA, which has no window, looks at the newest of them.
    const wanted = Math.min(this.#rows.length, policy?.values.get("window") ?? this.#observed);
    if (wanted !== this.#observed) {
      exports.sessionClose(this.#session);
      this.#observed = wanted;
      this.#session = this.#observe();
    }
    const session = engine.forkSession(this.#session);
    exports.observeRows(session, this.#firstObserved);
    if (rule !== undefined) evictPrompt(engine, session, rule, policy);
    return session;
  }

  close(): void {
    const { exports } = this.#model.engine.runtime;
    exports.sessionClose(this.#session);
    exports.sessionClose(this.#before);
  }

  get #firstObserved(): number {
    return this.#from + this.#rows.length - this.#observed;
  }

  #observe(): number {
    const { engine } = this.#model;
    const session = engine.forkSession(this.#before);
    engine.runtime.exports.observeRows(session, this.#firstObserved);
    feed(this.#model, session, this.#from, this.#rows);
    return session;
  }
}

/** Appends tokens; returns the session's length. */
export function feed(model: Model, session: number, at: number, ids: readonly number[]): number {
  const { maxRows } = model.engine.sizes;
  for (let i = 0; i < ids.length; i += maxRows) {
    const rows = ids.slice(i, i + maxRows).map((input, r) => ({ session, input, position: at + i + r }));
    model.forward(rows);
  }
  return at + ids.length;
}

/** Bytes of the pages that hold a session's slots, each in the form it has: headers, codes, scales, positions. */
export function sessionBytes({ engine }: Model, session: number): number {
  const { exports } = engine.runtime;
  let bytes = 0;
  for (let head = 0; head < exports.imageHeads(); ++head) {
    const pages = Math.ceil(exports.headSlots(session, head) / Size.PAGE_SLOTS);
    for (let i = 0; i < pages; ++i) bytes += exports.pageSize(exports.headPage(session, head, i));
  }
  return bytes;
}
