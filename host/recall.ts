/**
 * Recalling: tokens that were evicted are computed once more, at the session's present end and as part of the next turn's
 * prompt, so that positions stay in order and the chat template stays what the model was trained on. In a conversation
 * their text stands in front of the user's next message, as a quotation; behind raw text or ids the tokens follow as they
 * are. MemGPT (https://arxiv.org/abs/2310.08560) and its kin keep what left the context outside and let the model ask for
 * it; here the caller asks, and what comes back is written where everyone can read it.
 *
 * The copy is as any other tokens: it takes the time of its prefill, and it may be evicted, and recalled, again.
 * @module
 */
import type { ChatMessage } from "./chat.ts";
import { createDetokenizer } from "./detokenizer.ts";
import { ThimbleError } from "./errors.ts";
import type { LedgerEntry } from "./ledger.ts";
import { checkInteger, wrongOption } from "./options.ts";
import type { Pin } from "./token-turn.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** Evicted tokens [first, end) that a turn has computed once more. */
export interface Recall extends Pin {
  /** Number of that turn, from 0. */
  readonly turn: number;
  /** Position at which the copy begins; a quotation of it begins a few tokens later, behind the template's own. */
  readonly at: number;
}

/** As a capsule keeps it. */
export interface RecallState {
  readonly asked: readonly Pin[];
  readonly made: readonly Recall[];
}

/** What spans may be recalled. */
interface Recallable {
  readonly entries: readonly LedgerEntry[];
  /** Tokens of the session. */
  readonly nTokens: number;
  /** Most tokens that can follow and all be seen at once. */
  readonly room: number;
}

/** What a session recalls with its next turn, and what it has recalled. */
export class Recalls {
  #asked: readonly Pin[];
  #made: readonly Recall[];

  constructor({ asked, made }: RecallState = { asked: [], made: [] }) {
    this.#asked = asked;
    this.#made = made;
  }

  /** Spans that the next turn recalls: in order, those that touch made one. */
  get asked(): readonly Pin[] {
    return this.#asked;
  }

  /** What turns have recalled, as long as the conversation has the copies. */
  get made(): readonly Recall[] {
    return this.#made;
  }

  /** Undefined where there is nothing to keep. */
  get state(): RecallState | undefined {
    return this.#asked.length + this.#made.length === 0 ? undefined : { asked: this.#asked, made: this.#made };
  }

  /** Tokens of the spans that the next turn recalls. */
  get nTokens(): number {
    return nTokensOf(this.#asked);
  }

  /**
   * The next turn recalls a span more.
   * @throws ThimbleError invalid_option where a token of the span is not forgotten or none of the session's;
   * context_length_exceeded where all that is recalled would not be seen at once; nothing has changed then
   */
  add(span: Pin, { entries, nTokens, room }: Recallable): void {
    const first = checkInteger("recall.first", span?.first, 0, Math.max(0, nTokens - 1));
    const end = checkInteger("recall.end", span.end, first + 1, Math.max(first + 1, nTokens));
    const held = firstOutside(entries, { first, end });
    if (held !== undefined) {
      const message = `token ${held} has not been evicted; recall takes spans that session.ledger names, or parts of them`;
      throw wrongOption("recall", message);
    }
    const asked = union([...this.#asked, { first, end }]);
    const needed = nTokensOf(asked);
    if (needed > room) {
      const message = `the spans to recall are ${needed} tokens; behind what always stays there is room for ${room}: recall a part, unpin, or load the model with a longer contextLength`;
      throw new ThimbleError("context_length_exceeded", message, { needed, available: room });
    }
    this.#asked = asked;
  }

  clear(): void {
    this.#asked = [];
  }

  /** A turn has brought what was asked for, behind the first `nCommon` tokens of what there was before it. */
  finish(nCommon: number, turn: number): void {
    let at = nCommon;
    const made = this.#asked.map(({ first, end }) => {
      at += end - first;
      return { first, end, turn, at: at - (end - first) };
    });
    const left = this.#made.filter((recall) => recall.at + recall.end - recall.first <= nCommon);
    this.#made = [...left, ...made];
    this.#asked = [];
  }

  /** The tokens to be recalled, as they are. @param ids - the session's tokens */
  idsOf(ids: readonly number[]): readonly number[] {
    return this.#asked.flatMap(({ first, end }) => ids.slice(first, end));
  }

  /** A conversation with a quotation of them in front of its last message. @throws ThimbleError invalid_option */
  quoteIn(
    messages: readonly ChatMessage[],
    ids: readonly number[],
    tokenizer: Pick<Tokenizer, "bytes" | "isControl">,
  ): readonly ChatMessage[] {
    if (this.#asked.length === 0) return messages;
    const last = messages.at(-1);
    if (last?.role !== "user") {
      const message = "what is recalled stands in front of a user's message, and the last one is none; call unrecall";
      throw wrongOption("recall", message);
    }
    const passages = this.#asked.map(
      ({ first, end }) => `"""\n${plainText(ids.slice(first, end), tokenizer)}\n"""\n\n`,
    );
    const content = `From earlier in this conversation:\n\n${passages.join("")}${last.content}`;
    return [...messages.slice(0, -1), { role: "user", content }];
  }
}

function nTokensOf(spans: readonly Pin[]): number {
  return spans.reduce((sum, { first, end }) => sum + end - first, 0);
}

/** The lowest position of a span that no other one has. */
function firstOutside(spans: readonly Pin[], { first, end }: Pin): number | undefined {
  let reach = first;
  for (const span of [...spans].sort((a, b) => a.first - b.first)) {
    if (span.first > reach) break;
    reach = Math.max(reach, span.end);
  }
  return reach < end ? reach : undefined;
}

function union(spans: readonly Pin[]): Pin[] {
  const joined: Pin[] = [];
  for (const { first, end } of [...spans].sort((a, b) => a.first - b.first)) {
    const last = joined.at(-1);
    if (last !== undefined && first <= last.end) {
      joined[joined.length - 1] = { first: last.first, end: Math.max(last.end, end) };
    } else joined.push({ first, end });
  }
  return joined;
}

/** Text without control tokens, and without halves of characters that the span cuts. */
function plainText(ids: readonly number[], tokenizer: Pick<Tokenizer, "bytes" | "isControl">): string {
  const detokenizer = createDetokenizer(tokenizer);
  const pieces = ids.map((id) => detokenizer.push(id));
  return (pieces.join("") + detokenizer.flush()).replace(/^\uFFFD+|\uFFFD+$/g, "").trim();
}
