/**
 * The model inside WebAssembly, as the rest of the host uses it: one `forward` for everything, session regions, and the
 * reservation of pages before a call, so that nothing allocates inside a token.
 * @module
 */
import { Config, LayerField, RopeField, RowFlag, Size } from "../assembly/memory/status.ts";
import { aheadPages, type MemoryPlan, type RunSizes, regionBytes } from "./budget.ts";
import { cachePages } from "./cache-pages.ts";
import { type ConfigField, modelFields, policyFields } from "./config-fields.ts";
import { ThimbleError } from "./errors.ts";
import { pageSizes } from "./kv-cache.ts";
import { wideMask } from "./kv-format.ts";
import { elementsWithin, limitMemory, type MemoryLimit } from "./memory-limit.ts";
import type { ModelConfig } from "./model-config.ts";
import type { Wording } from "./repeat.ts";
import type { Runtime } from "./runtime.ts";
import type { WeightRegion } from "./weights.ts";

/** One row of a `forward` call. */
export interface RowRequest {
  /** From `openSession`. */
  readonly session: number;
  /** A token id, or the vector [hiddenDim] that stands in its place. */
  readonly input: number | Float32Array;
  /** The session's next position, counting the rows before this one. */
  readonly position: number;
  /** Compute the logits of this row. */
  readonly logits?: boolean;
  /** Keep the normed hidden state of this row. */
  readonly hidden?: boolean;
}

/** What memory may grow to, and what sessions and pages take of it. */
export interface EngineLimit extends MemoryLimit {
  readonly plan: Pick<MemoryPlan, "session" | "page" | "widePage">;
}

export class Engine {
  readonly runtime: Runtime;
  readonly config: ModelConfig;
  readonly sizes: RunSizes;
  /** Where the packed weights lie, in the file's order; once they are loaded. */
  weights: readonly WeightRegion[] = [];
  /** How a model with a tokenizer asks for a text once more. */
  wording: (() => Wording) | undefined;
  /** Scores of all KV heads in a row, where a policy deals by them. */
  headScores: readonly number[] | undefined;
  readonly #limit: EngineLimit | undefined;
  /** Bytes that may still be taken under the limit. */
  readonly #room: () => number;
  #threads = 1;
  /** Fulfilled when no prompt goes layer by layer. */
  #stream: Promise<void> = Promise.resolve();

  /** @param limit what memory may grow to; without it, as far as the host allows */
  constructor(runtime: Runtime, config: ModelConfig, sizes: RunSizes, limit?: EngineLimit) {
    const limited = limit && limitMemory(runtime, limit, limit.plan);
    this.runtime = limited?.runtime ?? runtime;
    this.config = config;
    this.sizes = sizes;
    this.#limit = limit;
    this.#room = limited?.room ?? (() => Number.POSITIVE_INFINITY);
  }

  /** Configures the instance and lays out records and run state. @throws ThimbleError out_of_memory */
  layout(stagingBytes: number): void {
    const { exports } = this.runtime;
    const { config, sizes } = this;
    const { cache } = sizes;
    const { policy } = cache;
    const fields: readonly ConfigField[] = [
      ...modelFields(config),
      [Config.CONTEXT_LENGTH, sizes.contextLength],
      [Config.MAX_ROWS, sizes.maxRows],
      [Config.MAX_OUTPUTS, sizes.maxOutputs],
      [Config.N_THREADS, sizes.threads ?? 1],
      [Config.KEY_FORM, cache.keyForm],
      [Config.VALUE_FORM, cache.valueForm],
      [Config.KV_GROUP, cache.group],
      [Config.RECENT_PAGES, cache.recentPages],
      [Config.SINK_PAGES, cache.sinkPages],
      [Config.ROTATE_KEYS, cache.rotateKeys ? 1 : 0],
      [Config.KV_SECTIONS, cache.sections],
      [Config.KV_FLAT, cache.flat / 1000],
      ...(policy === undefined ? [] : policyFields(policy, config)),
      [Config.STREAM_ROWS, sizes.prompts === "layers" ? sizes.contextLength : 0],
    ];
    for (const [field, value] of fields) this.runtime.check(exports.setConfig(field, value), "configuration");
    this.runtime.check(exports.layoutRecords(), "layout of the model");
    this.#setLayersAndRopes();
    this.runtime.check(exports.layoutRunState(stagingBytes), "layout of the run state");
  }

  #setLayersAndRopes(): void {
    const { exports } = this.runtime;
    const { layers, ropes } = this.config;
    layers.forEach(({ window, rope }, i) => {
      this.runtime.check(exports.setLayer(i, LayerField.WINDOW, window), "a layer");
      this.runtime.check(exports.setLayer(i, LayerField.ROPE, rope), "a layer");
      const mask = wideMask(this.sizes.cache.wideHeads, i);
      this.runtime.check(exports.setLayer(i, LayerField.WIDE_HEADS, mask), "a layer");
    });
    ropes.forEach((rope, i) => {
      const fields: readonly (readonly [RopeField, number])[] = [
        [RopeField.BASE, rope.base],
        [RopeField.FACTOR, rope.factor],
        [RopeField.ORIGINAL_CONTEXT, rope.originalContext],
        [RopeField.BETA_FAST, rope.betaFast],
        [RopeField.BETA_SLOW, rope.betaSlow],
        [RopeField.MAGNITUDE, rope.magnitude],
      ];
      for (const [field, value] of fields) this.runtime.check(exports.setRope(i, field, value), "rotation table");
    });
  }

  /** Starts the other threads; where they do not begin, the caller's computes alone. */
  async startThreads(): Promise<void> {
    this.#threads = await this.runtime.startThreads();
    this.runtime.check(this.runtime.exports.setConfig(Config.N_THREADS, this.#threads), "threads");
  }

  /** Threads that compute. */
  get threads(): number {
    return this.#threads;
  }

  /**
   * The residual stream of a prompt that goes layer by layer: one prompt's at a time, though others may compute meanwhile. Call
   * what it gives when the prompt has ended.
   */
  async takeStream(): Promise<() => void> {
    const before = this.#stream;
    let free = (): void => {};
    this.#stream = new Promise((resolve) => {
      free = resolve;
    });
    await before;
    return free;
  }

  /** A fresh session's address. @throws ThimbleError out_of_memory, over_budget */
  openSession(): number {
    const address = this.runtime.exports.sessionOpen() >>> 0;
    if (address === 0) throw this.#noMemory("another session", this.#limit?.plan.session ?? 0);
    return address;
  }

  /** A session that goes on from another one's tokens. @throws ThimbleError out_of_memory, over_budget */
  forkSession(session: number): number {
    const address = this.runtime.exports.sessionFork(session) >>> 0;
    if (address === 0) throw this.#noMemory("another session", this.#limit?.plan.session ?? 0);
    return address;
  }

  /** Says which of budget and host has no more; `needed` in bytes, 0 where it is not known. */
  #noMemory(what: string, needed: number): ThimbleError {
    const available = this.#limit === undefined ? 0 : Math.max(0, this.#room());
    const amounts = needed === 0 ? {} : { needed, available };
    if (this.#limit === undefined || needed <= available) {
      return new ThimbleError("out_of_memory", `no memory for ${what}`, amounts);
    }
    const advice = "close sessions, or load the model with a larger budget or smaller keys and values";
    const message = `no memory for ${what} within the budget of ${this.#limit.budget} bytes; ${advice}`;
    return new ThimbleError("over_budget", message, { ...amounts, name: "budget" });
  }

  /**
   * Makes room in the pool for `nTokens` more tokens of a session, and where memory allows for the ones after them.
   * @throws ThimbleError out_of_memory, over_budget; before anything changed
   */
  reserve(demands: readonly { session: number; nTokens: number }[]): void {
    const { exports } = this.runtime;
    const { aged, recent } = pageSizes(this.sizes.cache, this.config);
    const kinds = this.sizes.cache.wideHeads.length > 0 ? [false, true] : [false];
    const missing = kinds.flatMap((isWide) => {
      let pages = -exports.poolFreePages(isWide);
      for (const { session, nTokens } of demands) pages += exports.sessionPagesNeeded(session, nTokens, isWide);
      return pages > 0 ? [{ isWide, pages, bytes: isWide ? recent : aged }] : [];
    });
    let needed = missing.reduce((sum, { pages, bytes }) => sum + regionBytes(pages * bytes), 0);
    if (needed > this.#room()) throw this.#noMemory("the keys and values of more tokens", needed);
    for (const { isWide, pages, bytes } of missing) {
      const free = exports.poolFreePages(isWide);
      needed -= regionBytes(pages * bytes);
      const most = elementsWithin(this.#room() - needed, bytes);
      const ahead = Math.min(Math.max(pages, this.#slab(isWide) - free), most);
      if (exports.poolReserve(free + ahead, isWide) || exports.poolReserve(free + pages, isWide)) continue;
      throw this.#noMemory("the keys and values of more tokens", needed + regionBytes(pages * bytes));
    }
  }

  /** Pages to take at once; where there are two kinds, neither takes ahead of its own plan what the other's counts on. */
  #slab(isWide: boolean): number {
    const { config, sizes } = this;
    const kind = isWide ? "wide" : "aged";
    const slab = aheadPages(config, sizes)[kind];
    if (sizes.cache.wideHeads.length === 0) return slab;
    const { exports } = this.runtime;
    const used = exports.poolPages(isWide) - exports.poolFreePages(isWide);
    return Math.min(slab, (sizes.sessions ?? 1) * cachePages(config, sizes.cache, sizes.contextLength)[kind] - used);
  }

  /** Makes `pages` free pages in the pool. @throws ThimbleError out_of_memory, over_budget */
  reservePages(pages: number): void {
    const { exports } = this.runtime;
    const free = exports.poolFreePages();
    if (pages <= free) return;
    const { aged } = pageSizes(this.sizes.cache, this.config);
    if (pages <= free + elementsWithin(this.#room(), aged) && exports.poolReserve(pages)) return;
    throw this.#noMemory("moving keys and values", regionBytes((pages - free) * aged));
  }

  /**
   * Runs rows, in order; at most `sizes.maxRows`, at most `sizes.maxOutputs` of them with an output. Outputs are numbered
   * in row order and stay valid until the next call.
   * @throws ThimbleError invalid_option for a bad token or vector, out_of_memory, over_budget; the sessions are
   * then as before
   */
  forward(rows: readonly RowRequest[]): void {
    const demands = new Map<number, number>();
    for (const row of rows) demands.set(row.session, (demands.get(row.session) ?? 0) + 1);
    this.reserve([...demands].map(([session, nTokens]) => ({ session, nTokens })));
    this.#write(rows);
    this.runtime.check(this.runtime.exports.forward(rows.length), "forward");
  }

  /**
   * Runs rows of one session through one layer alone; they are rows `at` .. of its prompt, whose whole goes layer by layer
   * (prompt-layers.ts).
   * @throws ThimbleError as `forward`
   */
  forwardLayer(layer: number, at: number, rows: readonly RowRequest[]): void {
    const { exports } = this.runtime;
    this.reservePages(exports.layerPagesNeeded(rows[0]!.session, layer, rows.length));
    this.#write(rows);
    this.runtime.check(exports.forwardLayer(layer, at, rows.length), "forward");
  }

  #write(rows: readonly RowRequest[]): void {
    const { exports } = this.runtime;
    if (rows.length > this.sizes.maxRows) {
      throw new ThimbleError("invalid_option", `${rows.length} rows exceed the chunk of ${this.sizes.maxRows}`);
    }
    const words = this.runtime.words(exports.rowsAddress(), (rows.length * Size.ROW) / 4);
    rows.forEach((row, r) => {
      const at = (r * Size.ROW) / 4;
      const isVector = typeof row.input !== "number";
      words[at] = row.session;
      words[at + 1] = isVector ? -1 : (row.input as number);
      words[at + 2] = row.position;
      words[at + 3] = (row.logits ? RowFlag.LOGITS : 0) | (row.hidden ? RowFlag.HIDDEN : 0);
      words[at + 4] = isVector ? this.#writeVector(row.input as Float32Array, r) : 0;
    });
  }

  #writeVector(vector: Float32Array, row: number): number {
    const { hiddenDim } = this.config;
    if (vector.length !== hiddenDim) {
      throw new ThimbleError("invalid_option", `an input vector has ${vector.length} values instead of ${hiddenDim}`);
    }
    const address = this.runtime.exports.inputAddress(row) >>> 0;
    this.runtime.floats(address, hiddenDim).set(vector);
    return address;
  }

  /** Logits [vocabSize] of an output of the last call: a view, to be copied if it must outlive the next one. */
  logits(output: number): Float32Array {
    return this.runtime.floats(this.runtime.exports.logitsAddress(output), this.config.vocabSize);
  }

  /** Normed hidden state [hiddenDim] of an output of the last call: a view. */
  hidden(output: number): Float32Array {
    return this.runtime.floats(this.runtime.exports.hiddenAddress(output), this.config.hiddenDim);
  }

  /** -ln p of a token under an output's logits. */
  negativeLogLikelihood(output: number, token: number): number {
    const { exports } = this.runtime;
    return exports.logSumExp(exports.logitsAddress(output), this.config.vocabSize) - this.logits(output)[token]!;
  }
}
