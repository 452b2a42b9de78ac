/**
 * A conversation with a model: turns, one at a time. It keeps the part of an answer that the user has stopped, which the
 * session, whose unfinished turns are undone, does not.
 * @module
 */
import {
  type CacheMap,
  type ChatMessage,
  type Forgotten,
  type GenerationResult,
  type PageModel,
  type PageSession,
  ThimbleError,
} from "../../bindings/browser/page.ts";
import { SESSION_OPTIONS } from "./settings.ts";

/** The share of the room behind what always stays that quotations may take: the rest is the message's and its answer's. */
const QUOTED = 0.5;
/** Fewer tokens than this say nothing. */
const LEAST_QUOTED = 16;

export interface TurnEvents {
  onPiece(piece: string): void;
  /** Tokens of the prompt that were read, and all that there are to read. */
  onPrefill(done: number, total: number): void;
}

export class Conversation {
  readonly #model: PageModel;
  readonly #session: PageSession;
  /** What the next turn goes on from, where the session's own messages lack a stopped answer. */
  #stopped: readonly ChatMessage[] | undefined;
  #controller: AbortController | undefined;
  #asked = new Set<string>();

  private constructor(model: PageModel, session: PageSession) {
    this.#model = model;
    this.#session = session;
  }

  static async begin(model: PageModel): Promise<Conversation> {
    return new Conversation(model, await model.session(SESSION_OPTIONS));
  }

  get isWriting(): boolean {
    return this.#controller !== undefined;
  }

  get ledger(): readonly Forgotten[] {
    return this.#session.ledger;
  }

  cacheMap(): Promise<CacheMap> {
    return this.#session.cacheMap();
  }

  /** One turn; undefined where the user has stopped it. @throws ThimbleError */
  async send(
    content: string,
    temperature: number,
    { onPiece, onPrefill }: TurnEvents,
  ): Promise<GenerationResult | undefined> {
    const controller = new AbortController();
    this.#controller = controller;
    const before = this.#stopped ?? this.#session.messages;
    const user: ChatMessage = { role: "user", content };
    let text = "";
    try {
      const prompt = this.#model.hasChatTemplate ? [...before, user] : content;
      const turn = this.#session.generate(prompt, { temperature, signal: controller.signal, onPrefill });
      for await (const piece of turn) {
        text += piece;
        onPiece(piece);
      }
      this.#stopped = undefined;
      this.#asked.clear();
      return await turn.result;
    } catch (error) {
      if (!controller.signal.aborted) throw error;
      if (this.#model.hasChatTemplate && text !== "") {
        this.#stopped = [...before, user, { role: "assistant", content: text }];
      }
      return undefined;
    } finally {
      this.#controller = undefined;
    }
  }

  /** Ends the turn at once. */
  stop(): void {
    this.#controller?.abort();
  }

  /**
   * The next message quotes what was forgotten, or the end of it, where there is no room for all of it at once.
   * @returns how many tokens. @throws ThimbleError context_length_exceeded, busy
   */
  async recall(span: Forgotten): Promise<number> {
    const length = span.end - span.first;
    const ask = (n: number): Promise<void> => this.#session.recall({ first: span.end - n, end: span.end });
    let asked = length;
    try {
      await ask(length);
    } catch (error) {
      const { needed = 0, available = 0 } = error instanceof ThimbleError ? error : {};
      asked = Math.floor(available * QUOTED) - (needed - length);
      if (asked < LEAST_QUOTED || asked >= length) throw error;
      await ask(asked);
    }
    this.#asked.add(nameOf(span));
    return asked;
  }

  isRecalled(span: Forgotten): boolean {
    return this.#asked.has(nameOf(span));
  }

  async close(): Promise<void> {
    this.stop();
    await this.#session.close();
  }
}

function nameOf({ first, end }: Forgotten): string {
  return `${first}-${end}`;
}
