/**
 * What sessions do in a random life (session-operation.ts), on a model with little memory: conversations through
 * `Session`, and raw sessions through `forward`. After every operation the engine's books must add up
 * (test/cache/audit.ts), nothing may have failed but with the codes that the operation may fail with, and a conversation
 * must hold exactly its finished turns.
 * @module
 */
import * as assert from "uvu/assert";
import type { ChatMessage } from "../../host/chat.ts";
import type { ThimbleErrorCode } from "../../host/errors.ts";
import type { GenerateOptions, Generation, GenerationResult } from "../../host/generation.ts";
import type { Model } from "../../host/model.ts";
import type { Session } from "../../host/session.ts";
import type { SessionOptions } from "../../host/token-turn.ts";
import { type Audited, audit, auditEmpty, watchSessions } from "../cache/audit.ts";
import { forged } from "./capsule-case.ts";
import { checkForgotten, guardedBy } from "./session-forgetting.ts";
import type { Operation, OperationKind } from "./session-operation.ts";
import { chooses, type Oracle, type Way } from "./session-oracle.ts";
import { optionsOf, pinOf, promptOf, recallOf, ruleOf } from "./session-prompt.ts";
import { isRaw, RawSessions } from "./session-raws.ts";
import { Record, type Tally } from "./session-record.ts";

/** A conversation as its finished turns say it is. */
interface Said {
  readonly tokens: readonly number[];
  readonly messages: readonly ChatMessage[];
  /** Options of the paused turn. */
  readonly paused: GenerateOptions | undefined;
  /** How it came to this, for the oracle; undefined where the same could not be said again, as after a pin in the middle. */
  readonly way: Way | undefined;
  /** Positions that pins keep. */
  readonly guarded: ReadonlySet<number>;
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
  readonly rule: SessionOptions;
  said: Said;
  turn: Turn | undefined;
}

interface Capsule {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly said: Said;
  readonly rule: SessionOptions;
}

/** A session that nothing was said in. */
const NOTHING = (rule: SessionOptions): Said => ({
  tokens: [],
  messages: [],
  paused: undefined,
  way: { rule, pins: [], turns: [] },
  guarded: new Set(),
});

/** From here on the oracle cannot follow. */
function lose(talk: Talk): void {
  talk.said = { ...talk.said, way: undefined };
}

/** What can be full. A prompt that does not fit is the context's matter, everything else the budget's. */
const FULL = ["over_budget", "context_length_exceeded"] as const satisfies readonly ThimbleErrorCode[];
const DAMAGED = ["capsule_malformed", "capsule_mismatch", "capsule_key", ...FULL] as const;
/** Turns that are compared with the oracle's: one in so many. */
const COMPARED = 3;
const MOST_CAPSULES = 4;

export class World {
  readonly #model: Model;
  readonly #oracle: Oracle;
  readonly #audited: Audited;
  readonly #record: Record;
  readonly #raws: RawSessions;
  #talks: Talk[] = [];
  readonly #capsules: Capsule[] = [];

  /** @param model with a budget; no session of it may be open */
  constructor(model: Model, oracle: Oracle, tally: Tally) {
    const { plan, budget } = model.stats;
    this.#model = model;
    this.#oracle = oracle;
    this.#audited = { engine: model.engine, plan, limit: budget!, open: watchSessions(model.engine) };
    this.#record = new Record(tally);
    this.#raws = new RawSessions(model, oracle, this.#record, COMPARED);
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
    this.#raws.close();
    auditEmpty(this.#audited);
  }

  async #do(operation: Operation): Promise<void> {
    const { kind, which } = operation;
    if (isRaw(operation)) await this.#raws.do(operation);
    else if (kind === "open") {
      const rule = ruleOf(operation, this.#model.engine.sizes.cache.policy !== undefined);
      const codes = ["over_budget", "invalid_option"] as const;
      const session = await this.#record.attempt(kind, codes, () => this.#model.session(rule));
      if (session !== undefined) this.#talks.push({ session, rule, said: NOTHING(rule), turn: undefined });
    } else if (kind === "stepAll") await this.#stepAll();
    else if (kind.startsWith("restore")) await this.#restore(operation);
    else {
      const able = this.#talks.filter((talk) => isAble(kind, talk));
      const talks = able.length > 0 ? able : this.#talks;
      const talk = talks[which % Math.max(1, talks.length)];
      if (talk !== undefined) await this.#doTalk(operation, talk);
    }
    for (const talk of this.#talks) {
      const { session, said } = talk;
      assert.equal([session.tokens, session.messages], [said.tokens, said.messages], "its finished turns");
      assert.is(session.isPaused, said.paused !== undefined, "paused");
      checkForgotten(this.#model, session, said.guarded);
      if (talk.turn === undefined && this.#isShort(session)) lose(talk);
    }
  }

  /** What a turn may be refused with: a policy needs more room to choose from than some contexts have. */
  get #refusals(): readonly ThimbleErrorCode[] {
    return this.#model.engine.sizes.cache.policy === undefined ? FULL : [...FULL, "invalid_option"];
  }

  /** Whether it makes do with fewer pages than its context has, since memory had no more. */
  #isShort(session: Session): boolean {
    return session.tokenSession.isShort;
  }

  async #doTalk(operation: Operation, talk: Talk): Promise<void> {
    const { kind, amount, seed } = operation;
    const { session, turn } = talk;
    const options = optionsOf(operation, talk.rule);
    switch (kind) {
      case "turn":
      case "regenerate":
      case "edit":
        return this.#whole(operation, talk, options, () =>
          session.complete(promptOf(operation, session, talk.rule), options),
        );
      case "pause": {
        const short = { ...options, cpuMs: 1 + (amount % 40) };
        return this.#whole(operation, talk, short, () =>
          session.complete(promptOf(operation, session, talk.rule), short),
        );
      }
      case "resume": {
        if (talk.said.paused === undefined) {
          await this.#record.attempt(kind, ["invalid_option"], async () => {
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
        const copy = await this.#record.attempt(kind, turn ? ["busy"] : ["over_budget"], () => session.fork());
        if (copy !== undefined) this.#talks.push({ ...talk, session: copy, turn: undefined });
        return;
      }
      case "pin":
        return this.#pin(operation, talk);
      case "unpin":
        session.unpin();
        talk.said = { ...talk.said, guarded: new Set() };
        lose(talk);
        return this.#record.count(kind);
      case "recall":
      case "unrecall":
        return this.#recall(operation, talk);
      case "save":
      case "saveHalf":
        return this.#save(operation, talk);
      case "trim":
        await this.#record.attempt(kind, turn ? ["busy"] : [], () => session.trim(seed % 2 === 0 ? "half" : "all"));
        return turn ? undefined : this.#cut(talk);
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
    const result = await this.#record.attempt(kind, talk.turn ? ["busy"] : this.#refusals, run);
    if (result === undefined) return talk.turn ? undefined : this.#cut(talk);
    await this.#finish(talk, result, options, seed);
  }

  /** What a session has kept of prompts is not chosen again as it was, when their tokens are computed again. */
  #cut(talk: Talk): void {
    if (chooses(this.#model, talk.rule)) lose(talk);
  }

  /** A turn that the oracle could not repeat, where it would matter. */
  #follow(talk: Talk, { promptIds, overflow }: GenerationResult, options: GenerateOptions, isResumed: boolean): void {
    const { tokens, paused } = talk.said;
    const isMore = tokens.every((id, i) => promptIds[i] === id) && (paused === undefined || isResumed);
    if (!isMore || overflow === "budget") this.#cut(talk);
    const own = talk.rule.overflow ?? "stop";
    const asked = options.overflow ?? own;
    if (asked !== own && (asked === "evict" || own === "evict")) lose(talk);
    if (this.#isShort(talk.session)) lose(talk);
  }

  async #pin(operation: Operation, talk: Talk): Promise<void> {
    const { session, said } = talk;
    const pin = pinOf(operation, said.tokens.length);
    const guarded = guardedBy(this.#model, session, pin);
    const done = await this.#record.attempt("pin", ["invalid_option"], () => {
      session.pin(pin);
      return true;
    });
    if (done === undefined) return;
    const isFirst = session.stats.cachedTokens === 0 && talk.turn === undefined;
    const way = said.way && isFirst ? { ...said.way, pins: [...said.way.pins, pin] } : undefined;
    talk.said = { ...said, way, guarded: new Set([...said.guarded, ...guarded]) };
  }

  /** What is recalled is part of the next turn's prompt: the oracle says it as any other. */
  async #recall(operation: Operation, { session, said, turn }: Talk): Promise<void> {
    const { kind } = operation;
    const before = session.recalling;
    const span = recallOf(operation, session);
    const codes = ["invalid_option", "context_length_exceeded"] as const;
    const done = await this.#record.attempt(kind, turn || said.paused ? ["busy"] : codes, () => {
      if (kind === "unrecall") session.unrecall();
      else session.recall(span);
      return true;
    });
    if (done === undefined) return assert.equal(session.recalling, before, "what is to be recalled");
    const isAsked = session.recalling.some(({ first, end }) => first <= span.first && span.end <= end);
    assert.is(isAsked, kind === "recall");
  }

  async #finish(talk: Talk, result: GenerationResult, options: GenerateOptions, seed: number): Promise<void> {
    this.#follow(talk, result, options, talk.said.paused !== undefined && options.seed === talk.said.paused.seed);
    if (result.finishReason === "paused") {
      this.#record.count("paused");
      talk.said = { ...talk.said, paused: { ...options, seed: result.seed } };
      return;
    }
    const { said } = talk;
    const { recalledTokens } = result.usage;
    if (recalledTokens > 0) this.#record.count("recalled");
    const turn = { ids: result.promptIds.slice(said.tokens.length), options: { ...options, seed: result.seed } };
    talk.said = {
      ...said,
      tokens: [...result.promptIds, ...result.completionIds],
      messages: talk.session.messages,
      paused: undefined,
      way: said.way && { ...said.way, turns: [...said.way.turns, turn] },
    };
    if (result.overflow !== undefined) this.#record.count(`overflow: ${result.overflow}`);
    const hasForgotten = talk.session.stats.evictedTokens > 0;
    if (hasForgotten) this.#record.count(`forgot: ${said.way ? "" : "not to be "}compared`);
    if (said.way === undefined || seed % COMPARED !== 0) return;
    await this.#oracle.checkTurn(result, options, said.way);
    if (recalledTokens > 0) this.#record.count("recalled and compared");
    this.#record.count(talk.rule.keep ? "kept compared" : hasForgotten ? "forgot and compared" : "compared");
  }

  async #begin(operation: Operation, talk: Talk, options: GenerateOptions): Promise<void> {
    const controller = new AbortController();
    const own = { ...options, signal: controller.signal };
    const generation = talk.session.generate(promptOf(operation, talk.session, talk.rule), own);
    const turn = { generation, pieces: generation[Symbol.asyncIterator](), controller, options: own };
    const first = await this.#record.attempt("begin", talk.turn ? ["busy"] : this.#refusals, () => turn.pieces.next());
    if (first === undefined) return talk.turn ? undefined : this.#cut(talk);
    talk.turn = turn;
    if (first.done) await this.#over(talk, turn);
  }

  async #step(talk: Talk): Promise<void> {
    const { turn } = talk;
    if (turn === undefined) return;
    const step = await this.#record.attempt("step", FULL, () => turn.pieces.next());
    if (step === undefined) {
      talk.turn = undefined;
      this.#cut(talk);
    } else if (step.done) await this.#over(talk, turn);
  }

  /** One piece of every turn under way, at once: the engine serves them in turns. */
  async #stepAll(): Promise<void> {
    await Promise.all(this.#talks.map((talk) => this.#step(talk)));
    this.#record.count("stepAll");
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
    this.#record.count(kind);
    this.#cut(talk);
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
    const bytes = await this.#record.attempt(kind, talk.turn ? ["busy"] : [], async () => {
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
    this.#capsules.splice(seed % MOST_CAPSULES, 1, { bytes, said: talk.said, rule: talk.rule });
  }

  async #restore({ kind, which, seed }: Operation): Promise<void> {
    const capsule = this.#capsules[which % Math.max(1, this.#capsules.length)];
    if (capsule === undefined) return;
    if (kind === "restore") {
      const session = await this.#record.attempt(kind, ["over_budget"], () => this.#model.restore(capsule.bytes));
      const rule = { ...capsule.rule, tenant: undefined };
      if (session !== undefined) this.#talks.push({ session, rule, said: capsule.said, turn: undefined });
      return;
    }
    if (kind === "restoreForged") {
      // Its tags are right: what is wrong shows when there is a session already, or not at all.
      const bytes = await forged(capsule.bytes, (body) => {
        body[seed % body.length]! ^= 1 << (which % 8);
      });
      await this.#record.attempt(kind, DAMAGED, async () => (await this.#model.restore(bytes)).close());
      return;
    }
    const at = seed % capsule.bytes.length;
    const damaged = which % 2 === 0 ? capsule.bytes.slice(0, at) : capsule.bytes.slice();
    if (which % 2 === 1) damaged[at]! ^= 1 << (seed % 8);
    await this.#record.attempt("restoreDamaged", DAMAGED, async () => {
      await this.#model.restore(damaged);
      assert.unreachable(`a capsule with byte ${at} damaged was taken`);
    });
  }

  async #close(talk: Talk): Promise<void> {
    talk.session.close();
    this.#talks = this.#talks.filter((other) => other !== talk);
    if (talk.turn === undefined) return this.#record.count("close");
    await this.#record.attempt("close", ["closed"], async () => {
      const step = await talk.turn!.pieces.next();
      assert.ok(step.done, "a closed session went on");
    });
  }
}

/** A session with which the operation has most to do; where there is none, any will be asked. */
function isAble(kind: OperationKind, { session, said, turn }: Talk): boolean {
  if (kind === "resume") return said.paused !== undefined;
  if (kind === "recall") return turn === undefined && said.paused === undefined && session.ledger.length > 0;
  if (kind === "step" || kind === "abort" || kind === "leave") return turn !== undefined;
  return true;
}
