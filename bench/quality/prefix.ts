/**
 * A sequence that is computed once, and forked where a prompt is to end: a fork has observed what its policy looks at, and each
 * variant is a fork of that fork.
 * @module
 */
import { Observed, Size } from "../../assembly/memory/status.ts";
import type { Model } from "../../host/model.ts";
import { beginPrompt, evictPrompt, observedRows } from "../../host/prompt-end.ts";
import { repeatContext } from "../../host/repeat.ts";
import { isPlain, type Variant } from "./variants.ts";

export class Prefix {
  readonly #model: Model;
  readonly #ids: readonly number[];
  readonly #session: number;
  /** The policy looks at all rows: they are observed as they come. */
  readonly #isWhole: boolean;
  #length = 0;

  constructor(model: Model, ids: readonly number[]) {
    const { policy } = model.engine.sizes.cache;
    this.#model = model;
    this.#ids = ids;
    this.#session = model.engine.openSession();
    this.#isWhole = policy !== undefined && !isPlain(policy);
    if (this.#isWhole) beginPrompt(model.engine, this.#session, 0);
  }

  /** The first `end` tokens; ends must ascend. To be closed. */
  async endAt(end: number): Promise<PromptEnd> {
    const { engine } = this.#model;
    const from = this.#isWhole ? end : Math.max(0, end - observedRows(engine));
    if (from < this.#length) throw new Error(`the prompt's end ${end} lies before ${this.#length} computed tokens`);
    this.#length = feed(this.#model, this.#session, this.#length, this.#ids.slice(this.#length, from));
    const prompt = new PromptEnd(this.#model, engine.forkSession(this.#session), from, this.#ids.slice(0, end));
    await prompt.repeat();
    return prompt;
  }

  close(): void {
    this.#model.engine.runtime.exports.sessionClose(this.#session);
  }
}

export class PromptEnd {
  /** All of the prompt. */
  readonly ids: readonly number[];
  readonly #model: Model;
  /** Holds what comes before the last rows, which are computed again where a policy wants to see fewer of them. */
  readonly #before: number;
  readonly #from: number;
  #session: number;
  /** How many of the rows are observed. */
  #observed: number;
  /** Newest tokens that were not read once more. */
  #recent = 0;

  constructor(model: Model, before: number, from: number, ids: readonly number[]) {
    this.ids = ids;
    this.#model = model;
    this.#before = before;
    this.#from = from;
    this.#observed = ids.length - from;
    this.#session = this.#observe();
  }

  /** Where the policy reads a prompt once more, once for all variants. */
  async repeat(): Promise<void> {
    const { engine, platform } = this.#model;
    const { policy } = engine.sizes.cache;
    if (policy?.observed !== Observed.LARGEST) return;
    const pass = { host: platform, check: () => {} };
    this.#recent = (await repeatContext(engine, this.#session, this.ids, policy, pass)).recent;
  }

  /** A session that has kept of the prompt what the variant keeps; to be closed by the caller. */
  fork({ rule, policy }: Variant): number {
    const { engine } = this.#model;
    const { exports } = engine.runtime;
    // TOVA, which has no window, looks at the newest of the rows.
    const rows = this.ids.length - this.#from;
    const wanted = rows === 0 ? 0 : Math.min(rows, policy?.values.get("window") ?? this.#observed);
    if (wanted !== this.#observed) {
      exports.sessionClose(this.#session);
      this.#observed = wanted;
      this.#session = this.#observe();
    }
    const session = engine.forkSession(this.#session);
    if (rule !== undefined) evictPrompt(engine, session, rule, policy, this.#recent);
    return session;
  }

  close(): void {
    const { exports } = this.#model.engine.runtime;
    exports.sessionClose(this.#session);
    exports.sessionClose(this.#before);
  }

  #observe(): number {
    const { engine } = this.#model;
    const session = engine.forkSession(this.#before);
    if (this.ids.length === this.#from) return session;
    engine.runtime.exports.observeRows(session, this.ids.length - this.#observed);
    feed(this.#model, session, this.#from, this.ids.slice(this.#from));
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
