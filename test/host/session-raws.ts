/**
 * Raw sessions of a random life: regions and rows of `forward`, without turns. All of them decode in one call.
 * @module
 */
import * as assert from "uvu/assert";
import type { RowRequest } from "../../host/engine.ts";
import type { Model } from "../../host/model.ts";
import { randomIds } from "../model/load.ts";
import type { Operation } from "./session-operation.ts";
import type { Oracle } from "./session-oracle.ts";
import type { Record } from "./session-record.ts";

interface Raw {
  readonly address: number;
  ids: number[];
}

/** The operations on them. */
const KINDS = ["openRaw", "feed", "decode", "cut"] as const;
type RawKind = (typeof KINDS)[number];
export type RawOperation = Operation & { readonly kind: RawKind };

export function isRaw(operation: Operation): operation is RawOperation {
  return (KINDS as readonly string[]).includes(operation.kind);
}

export class RawSessions {
  readonly #model: Model;
  readonly #oracle: Oracle;
  readonly #record: Record;
  /** Calls whose logits are compared with the oracle's: one in so many. */
  readonly #compared: number;
  #raws: Raw[] = [];

  constructor(model: Model, oracle: Oracle, record: Record, compared: number) {
    this.#model = model;
    this.#oracle = oracle;
    this.#record = record;
    this.#compared = compared;
  }

  async do(operation: RawOperation): Promise<void> {
    const { kind, which } = operation;
    if (kind === "openRaw") {
      return this.#add([], await this.#record.attempt(kind, ["over_budget"], () => this.#model.engine.openSession()));
    }
    const raw = this.#raws[which % Math.max(1, this.#raws.length)];
    if (raw === undefined) return;
    if (kind === "cut") await this.#cut(operation, raw);
    else await this.#forward(operation, kind === "feed" ? [raw] : this.#raws);
  }

  close(): void {
    for (const { address } of this.#raws) this.#model.engine.runtime.exports.sessionClose(address);
    this.#raws = [];
  }

  #add(ids: readonly number[], address: number | undefined): void {
    if (address !== undefined) this.#raws.push({ address, ids: [...ids] });
  }

  /** Back to fewer tokens; now and then to none, or on as two. */
  async #cut({ kind, seed }: RawOperation, raw: Raw): Promise<void> {
    const { engine } = this.#model;
    const { exports } = engine.runtime;
    const choice = seed % 7;
    if (choice === 0) {
      exports.sessionClose(raw.address);
      this.#raws = this.#raws.filter((other) => other !== raw);
      return this.#record.count("raw close");
    }
    if (choice === 1) {
      return this.#add(
        raw.ids,
        await this.#record.attempt("fork", ["over_budget"], () => engine.forkSession(raw.address)),
      );
    }
    if (choice === 2) exports.sessionMark(raw.address);
    const length = exports.sessionTruncate(raw.address, seed % (raw.ids.length + 2));
    assert.ok(length <= raw.ids.length);
    raw.ids.length = length;
    this.#record.count(kind);
  }

  /** More tokens of one session, or one of each. */
  async #forward({ kind, amount, seed }: RawOperation, fed: readonly Raw[]): Promise<void> {
    const { engine, config } = this.#model;
    const { contextLength, maxRows, maxOutputs } = engine.sizes;
    const rows: RowRequest[] = fed.slice(0, maxOutputs).flatMap(({ address, ids }) => {
      const n = Math.min(kind === "feed" ? Math.min(amount, maxRows) : 1, contextLength - ids.length);
      const inputs = randomIds(Math.max(0, n), config.vocabSize, seed + address);
      return inputs.map((input, i) => ({ session: address, input, position: ids.length + i, logits: i === n - 1 }));
    });
    if (rows.length === 0) return;
    const lengths = () => this.#raws.map(({ address }) => engine.runtime.exports.sessionLength(address));
    const before = lengths();
    const done = await this.#record.attempt(kind, ["over_budget"], () => {
      engine.forward(rows);
      return true;
    });
    if (done === undefined) return assert.equal(lengths(), before, "what is refused changes nothing");
    for (const { session, input } of rows) this.#at(session).ids.push(input as number);
    const expected = this.#raws.map(({ ids }) => ids.length);
    assert.equal(lengths(), expected);
    if (seed % this.#compared !== 0) return;
    for (const [output, { session }] of rows.filter(({ logits }) => logits).entries()) {
      this.#oracle.checkLogits(this.#at(session).ids, engine.logits(output));
    }
    this.#record.count("raw compared");
  }

  #at(address: number): Raw {
    return this.#raws.find((raw) => raw.address === address)!;
  }
}
