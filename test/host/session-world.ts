/**
 * What sessions do in a random life (session-operation.ts), on a model with little memory: conversations through
 * `Session`, and raw sessions through `forward`. After every operation the engine's books must add up
 * (test/cache/audit.ts), nothing may have failed but with the codes that the operation may fail with, and a conversation
 * must hold exactly its finished turns.
 * @module
 */
import * as assert from "uvu/assert";
import type { ChatMessage } from "../../host/chat.ts";
import { ThimbleError, type ThimbleErrorCode } from "../../host/errors.ts";
import type { GenerateOptions, Generation, GenerationResult } from "../../host/generation.ts";
import type { Model } from "../../host/model.ts";
import type { Prompt, Session } from "../../host/session.ts";
import { type Audited, audit, auditEmpty, watchSessions } from "../cache/audit.ts";
import { randomIds } from "../model/load.ts";
import type { Operation, OperationKind } from "./session-operation.ts";
import type { Oracle } from "./session-oracle.ts";

/** A conversation as its finished turns say it is. */
interface Said {
  readonly tokens: readonly number[];
  readonly messages: readonly ChatMessage[];
  /** Options of the paused turn. */
  readonly paused: GenerateOptions | undefined;
}

/** A turn that is stepped through. */
interface Turn {
  readonly generation: Generation;
  readonly pieces: AsyncIterator<string, void>;
  readonly controller: AbortController;
  readonly options: GenerateOptions;
}

interface Talk {
  readonly session: Session;
  said: Said;
  turn: Turn | undefined;
}

interface Raw {
  readonly address: number;
  ids: number[];
}

/** What can be full. A prompt that does not fit is the context's matter, everything else the budget's. */
const FULL = ["over_budget", "context_length_exceeded"] as const satisfies readonly ThimbleErrorCode[];
const DAMAGED = ["capsule_malformed", "capsule_mismatch", "capsule_key", ...FULL] as const;
/** Turns that are compared with the oracle's: one in so many. */
const COMPARED = 3;
const MOST_CAPSULES = 4;

/** How often what happened: kinds of operations, with the code of those that were refused. */
export type Tally = Map<string, number>;

export class World {
  readonly #model: Model;
  readonly #oracle: Oracle;
  readonly #audited: Audited;
  readonly #tally: Tally;
  #talks: Talk[] = [];
  #raws: Raw[] = [];
  readonly #capsules: { readonly bytes: Uint8Array; readonly said: Said }[] = [];

  /** @param model with a budget; no session of it may be open */
  constructor(model: Model, oracle: Oracle, tally: Tally) {
    const { plan, budget } = model.stats;
    this.#model = model;
    this.#oracle = oracle;
    this.#audited = { engine: model.engine, plan, limit: budget!, open: watchSessions(model.engine) };
    this.#tally = tally;
  }

  /** @throws Error when an invariant does not hold, with the error that says which as its cause */
  async live(operations: readonly Operation[]): Promise<void> {
    for (const [i, operation] of operations.entries()) {
      try {
        await this.#do(operation);
        audit(this.#audited);
      } catch (cause) {
        throw new Error(`operation ${i}, ${JSON.stringify(operation)}`, { cause });
      }
    }
    for (const { turn } of this.#talks) await turn?.pieces.return?.();
    for (const { session } of this.#talks) session.close();
    for (const { address } of this.#raws) this.#model.engine.runtime.exports.sessionClose(address);
    auditEmpty(this.#audited);
  }

  #count(what: string): void {
    this.#tally.set(what, (this.#tally.get(what) ?? 0) + 1);
  }

  /** The result, or undefined where it was refused with one of the codes. */
  async #attempt<T>(
    kind: OperationKind,
    codes: readonly ThimbleErrorCode[],
    run: () => T | Promise<T>,
  ): Promise<T | undefined> {
    try {
      const result = await run();
      this.#count(kind);
      return result;
    } catch (error) {
      if (!(error instanceof ThimbleError) || !codes.includes(error.code)) throw error;
      const { code, needed, available } = error;
      if (code === "over_budget") assert.ok(needed! > available!, `${needed} needed, ${available} available`);
      this.#count(`${kind}: ${code}`);
      return undefined;
    }
  }

  async #do(operation: Operation): Promise<void> {
    const { kind, which } = operation;
    if (kind === "open") {
      const session = await this.#attempt(kind, ["over_budget"], () => this.#model.session());
      if (session !== undefined)
        this.#talks.push({ session, said: { tokens: [], messages: [], paused: undefined }, turn: undefined });
    } else if (kind === "stepAll") await this.#stepAll();
    else if (kind === "restore" || kind === "restoreDamaged") await this.#restore(operation);
    else if (kind === "openRaw" || kind === "feed" || kind === "decode" || kind === "cut") await this.#doRaw(operation);
    else {
      const able = this.#talks.filter((talk) => isAble(kind, talk));
      const talks = able.length > 0 ? able : this.#talks;
      const talk = talks[which % Math.max(1, talks.length)];
      if (talk !== undefined) await this.#doTalk(operation, talk);
    }
    for (const { session, said } of this.#talks) {
      assert.equal([session.tokens, session.messages], [said.tokens, said.messages], "its finished turns");
      assert.is(session.isPaused, said.paused !== undefined, "paused");
    }
  }

  async #doTalk(operation: Operation, talk: Talk): Promise<void> {
    const { kind, amount, seed } = operation;
    const { session, turn } = talk;
    const options = optionsOf(operation);
    switch (kind) {
      case "turn":
      case "regenerate":
      case "edit":
        return this.#whole(operation, talk, options, () => session.complete(promptOf(operation, talk), options));
      case "pause": {
        const short = { ...options, cpuMs: 1 + (amount % 40) };
        return this.#whole(operation, talk, short, () => session.complete(promptOf(operation, talk), short));
      }
      case "resume": {
        if (talk.said.paused === undefined) {
          await this.#attempt(kind, ["invalid_option"], async () => {
            for await (const _ of session.resume());
            assert.unreachable("nothing was paused");
          });
          return;
        }
        const { cpuMs: _, ...same } = talk.said.paused;
        const again = seed % 2 === 0 ? { ...same, cpuMs: 1 + (amount % 40) } : same;
        return this.#whole(operation, talk, again, async () => {
          const generation = session.resume(again);
          for await (const _ of generation);
          return generation.result;
        });
      }
      case "begin":
        return this.#begin(operation, talk, options);
      case "step":
        return this.#step(talk);
      case "abort":
      case "leave":
        return this.#end(kind, talk);
      case "fork": {
        const copy = await this.#attempt(kind, turn ? ["busy"] : ["over_budget"], () => session.fork());
        if (copy !== undefined) this.#talks.push({ session: copy, said: talk.said, turn: undefined });
        return;
      }
      case "save":
      case "saveHalf":
        return this.#save(operation, talk);
      case "trim":
        return void (await this.#attempt(kind, turn ? ["busy"] : [], () =>
          session.trim(seed % 2 === 0 ? "half" : "all"),
        ));
      case "close":
        return this.#close(talk);
    }
  }

  /** A turn from its beginning to its end or pause. */
  async #whole(
    { kind, seed }: Operation,
    talk: Talk,
    options: GenerateOptions,
    run: () => Promise<GenerationResult>,
  ): Promise<void> {
    const result = await this.#attempt(kind, talk.turn ? ["busy"] : FULL, run);
    if (result !== undefined) await this.#finish(talk, result, options, seed);
  }

  async #finish(talk: Talk, result: GenerationResult, options: GenerateOptions, seed: number): Promise<void> {
    if (result.finishReason === "paused") {
      this.#count("paused");
      talk.said = { ...talk.said, paused: { ...options, seed: result.seed } };
      return;
    }
    talk.said = {
      tokens: [...result.promptIds, ...result.completionIds],
      messages: talk.session.messages,
      paused: undefined,
    };
    if (result.overflow !== undefined) this.#count(`overflow: ${result.overflow}`);
    if (seed % COMPARED !== 0) return;
    await this.#oracle.checkTurn(result, options);
    this.#count("compared");
  }

  async #begin(operation: Operation, talk: Talk, options: GenerateOptions): Promise<void> {
    const controller = new AbortController();
    const own = { ...options, signal: controller.signal };
    const generation = talk.session.generate(promptOf(operation, talk), own);
    const turn = { generation, pieces: generation[Symbol.asyncIterator](), controller, options: own };
    const first = await this.#attempt("begin", talk.turn ? ["busy"] : FULL, () => turn.pieces.next());
    if (first === undefined) return;
    talk.turn = turn;
    if (first.done) await this.#over(talk, turn);
  }

  async #step(talk: Talk): Promise<void> {
    const { turn } = talk;
    if (turn === undefined) return;
    const step = await this.#attempt("step", FULL, () => turn.pieces.next());
    if (step === undefined) talk.turn = undefined;
    else if (step.done) await this.#over(talk, turn);
  }

  /** One piece of every turn under way, at once: the engine serves them in turns. */
  async #stepAll(): Promise<void> {
    await Promise.all(this.#talks.map((talk) => this.#step(talk)));
    this.#count("stepAll");
  }

  async #over(talk: Talk, turn: Turn): Promise<void> {
    talk.turn = undefined;
    await this.#finish(talk, await turn.generation.result, turn.options, turn.options.seed!);
  }

  /** Ends a turn before it is over: nothing of it stays. */
  async #end(kind: "abort" | "leave", talk: Talk): Promise<void> {
    const { turn } = talk;
    if (turn === undefined) return;
    talk.turn = undefined;
    this.#count(kind);
    if (kind === "leave") {
      await turn.pieces.return!();
      return;
    }
    const reason = new Error("enough");
    turn.controller.abort(reason);
    const heard = await turn.pieces.next().catch((error: unknown) => error);
    if (heard === reason) return;
    // Its last token was computed, and the last piece was taken: it is over.
    assert.ok((heard as IteratorResult<string>).done, `not the signal's reason: ${heard}`);
    await this.#over(talk, turn);
  }

  async #save({ kind, seed }: Operation, talk: Talk): Promise<void> {
    const bytes = await this.#attempt(kind, talk.turn ? ["busy"] : [], async () => {
      const reader = talk.session.save().getReader();
      const pieces: Uint8Array[] = [];
      for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
        pieces.push(piece.value);
        if (kind !== "saveHalf") continue;
        await reader.cancel();
        return undefined;
      }
      return new Uint8Array(await new Blob(pieces as Uint8Array<ArrayBuffer>[]).arrayBuffer());
    });
    if (bytes === undefined) return;
    this.#capsules.splice(seed % MOST_CAPSULES, 1, { bytes, said: talk.said });
  }

  async #restore({ kind, which, seed }: Operation): Promise<void> {
    const capsule = this.#capsules[which % Math.max(1, this.#capsules.length)];
    if (capsule === undefined) return;
    if (kind === "restore") {
      const session = await this.#attempt(kind, ["over_budget"], () => this.#model.restore(capsule.bytes));
      if (session !== undefined) this.#talks.push({ session, said: capsule.said, turn: undefined });
      return;
    }
    const at = seed % capsule.bytes.length;
    const damaged = which % 2 === 0 ? capsule.bytes.slice(0, at) : capsule.bytes.slice();
    if (which % 2 === 1) damaged[at]! ^= 1 << (seed % 8);
    await this.#attempt("restoreDamaged", DAMAGED, async () => {
      await this.#model.restore(damaged);
      assert.unreachable(`a capsule with byte ${at} damaged was taken`);
    });
  }

  async #close(talk: Talk): Promise<void> {
    talk.session.close();
    this.#talks = this.#talks.filter((other) => other !== talk);
    if (talk.turn === undefined) return this.#count("close");
    await this.#attempt("close", ["closed"], async () => {
      const step = await talk.turn!.pieces.next();
      assert.ok(step.done, "a closed session went on");
    });
  }

  async #doRaw({ kind, which, amount, seed }: Operation): Promise<void> {
    const { engine } = this.#model;
    const { exports } = engine.runtime;
    if (kind === "openRaw") {
      const address = await this.#attempt(kind, ["over_budget"], () => engine.openSession());
      if (address !== undefined) this.#raws.push({ address, ids: [] });
      return;
    }
    const raw = this.#raws[which % Math.max(1, this.#raws.length)];
    if (raw === undefined) return;
    if (kind === "cut") {
      // Now and then a session ends or forks in place of going back.
      if (seed % 7 === 0) {
        exports.sessionClose(raw.address);
        this.#raws = this.#raws.filter((other) => other !== raw);
        return this.#count("raw close");
      }
      if (seed % 7 === 1) {
        const address = await this.#attempt("fork", ["over_budget"], () => engine.forkSession(raw.address));
        if (address !== undefined) this.#raws.push({ address, ids: [...raw.ids] });
        return;
      }
      if (seed % 7 === 2) exports.sessionMark(raw.address);
      const length = exports.sessionTruncate(raw.address, seed % (raw.ids.length + 2));
      assert.ok(length <= raw.ids.length);
      raw.ids.length = length;
      return this.#count(kind);
    }
    const { contextLength, maxRows, maxOutputs } = engine.sizes;
    const fed = kind === "feed" ? [raw] : this.#raws.slice(0, maxOutputs);
    const rows = fed.flatMap(({ address, ids }) => {
      const n = Math.min(kind === "feed" ? Math.min(amount, maxRows) : 1, contextLength - ids.length);
      const inputs = randomIds(Math.max(0, n), this.#model.config.vocabSize, seed + address);
      return inputs.map((input, i) => ({ session: address, input, position: ids.length + i, logits: i === n - 1 }));
    });
    if (rows.length === 0 || rows.length > maxRows) return;
    const lengths = () => this.#raws.map(({ address }) => exports.sessionLength(address));
    const before = lengths();
    const done = await this.#attempt(kind, ["over_budget"], () => {
      engine.forward(rows);
      return true;
    });
    if (done === undefined) return assert.equal(lengths(), before, "what is refused changes nothing");
    for (const { session, input } of rows) this.#raws.find(({ address }) => address === session)!.ids.push(input);
    assert.equal(
      lengths(),
      this.#raws.map(({ ids }) => ids.length),
    );
    if (seed % COMPARED !== 0) return;
    const asked = rows.filter(({ logits }) => logits);
    for (const [output, { session }] of asked.entries()) {
      const { ids } = this.#raws.find(({ address }) => address === session)!;
      this.#oracle.checkLogits(ids, engine.logits(output));
    }
    this.#count("raw compared");
  }
}

/** A session with which the operation has most to do; where there is none, any will be asked. */
function isAble(kind: OperationKind, { said, turn }: Talk): boolean {
  if (kind === "resume") return said.paused !== undefined;
  if (kind === "step" || kind === "abort" || kind === "leave") return turn !== undefined;
  return true;
}

function optionsOf({ amount, seed }: Operation): GenerateOptions {
  const temperature = seed % 3 === 0 ? 0 : 0.9;
  const overflow = seed % 5 === 0 ? "throw" : "stop";
  return { maxTokens: amount % 33, temperature, seed, overflow, logprobs: 2, ignoreEos: seed % 4 !== 0 };
}

/** What a turn continues: ids after all tokens, the next message, the last one again, or one changed and told anew. */
function promptOf({ kind, amount, seed }: Operation, { session }: Talk): Prompt {
  const { messages } = session;
  const text = String.fromCharCode(...randomIds(1 + (seed % 20), 26, seed).map((letter) => 97 + letter));
  if (kind === "regenerate" && messages.length > 1) return messages.slice(0, -1);
  if (kind === "edit" && messages.length > 1) {
    const kept = messages.slice(0, 2 * Math.floor((seed % messages.length) / 2));
    return [...kept, { role: "user", content: text }];
  }
  return seed % 2 === 0 ? { ids: randomIds(amount << (seed % 3), 256, seed) } : text;
}
