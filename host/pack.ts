/**
 * Prompt packs: a system prompt's keys and values, made once, kept as a file, and shared by every session that begins with
 * it. A pack's sessions are forks: pages of the pool are the same ones for all, never copied (docs/kv-cache.md).
 * @module
 */
import { type SaveOptions, saveCapsule } from "./capsule/save.ts";
import type { ChatMessage } from "./chat.ts";
import { ASYNC_DISPOSE } from "./dispose.ts";
import { ThimbleError } from "./errors.ts";
import type { Model } from "./model.ts";
import { Session } from "./session.ts";
import { TokenSession } from "./token-session.ts";
import type { SessionOptions, TokenOptions } from "./token-turn.ts";

/**
 * What sessions of a pack begin with:
 * - `{ system }`: a system prompt, in the file's chat template;
 * - `{ text }`: raw text, with the file's BOS where it has one;
 * - `{ ids }`: token ids.
 */
export type PackPrompt = { readonly system: string } | { readonly text: string } | { readonly ids: readonly number[] };

export type PackOptions = Pick<TokenOptions, "signal" | "onPrefill">;

export class Pack implements AsyncDisposable {
  readonly model: Model;
  /** The system prompt; none where the pack is raw text or ids. */
  readonly messages: readonly ChatMessage[];
  readonly #session: TokenSession;
  readonly #onClose: () => void;

  /** Use `model.createPack` or `model.openPack`. */
  constructor(model: Model, onClose: () => void, session: TokenSession, messages: readonly ChatMessage[]) {
    this.model = model;
    this.messages = messages;
    this.#session = session;
    this.#onClose = onClose;
  }

  /** Tokens that a session of the pack need not compute. */
  get tokens(): number {
    return this.#session.cachedTokens;
  }

  /**
   * A new session that begins with the pack: its first turn reuses the pack's tokens (`usage.reusedTokens`).
   * @throws ThimbleError closed, out_of_memory, over_budget, invalid_option, busy while the pack is being saved
   */
  session(options: SessionOptions = {}): Session {
    return this.model.adopt((onClose) => {
      const session = this.#session.fork();
      try {
        session.declare(options);
      } catch (error) {
        session.close();
        throw error;
      }
      const { tokens } = session;
      return new Session(this.model, onClose, {
        session,
        tokens,
        messages: this.messages,
        pending: undefined,
        tenant: options.tenant,
      });
    });
  }

  /** What `session.save({ since })` takes to leave out the pack; undefined until the pack was opened or saved to the end. */
  get id(): string | undefined {
    return this.#session.known.pack?.id;
  }

  /**
   * The pack as a file: a capsule, the same bytes each time (docs/capsule.md).
   * @throws ThimbleError closed, busy, invalid_option; the stream: closed, capsule_key, unsupported_runtime
   */
  save(options: Pick<SaveOptions, "key"> = {}): ReadableStream<Uint8Array> {
    const { engine, header, stats } = this.model;
    const model = { engine, header, activations: stats.activations };
    const { messages } = this;
    return saveCapsule(model, this.#session, { messages, pending: undefined }, { key: options.key }, "pack");
  }

  /** Frees what no session shares any more; sessions of the pack go on. */
  close(): void {
    this.#session.close();
    this.#onClose();
  }

  async [ASYNC_DISPOSE](): Promise<void> {
    this.close();
  }
}

/** Computes a prompt's keys and values. @throws ThimbleError as `Session.generate` */
export async function prefillPack(
  model: Model,
  prompt: PackPrompt,
  options: PackOptions = {},
): Promise<{ session: TokenSession; messages: readonly ChatMessage[] }> {
  const session = new TokenSession(model.engine, model.platform);
  try {
    const vocabulary = { size: model.config.vocabSize, eosIds: [] };
    const { signal, onPrefill } = options;
    if ("system" in prompt) {
      const system: ChatMessage = { role: "system", content: prompt.system };
      await session.prefill(systemIds(model, system), vocabulary, { signal, onPrefill });
      return { session, messages: [system] };
    }
    const ids = "ids" in prompt ? prompt.ids : textIds(model, prompt.text);
    for await (const _ of session.generate(ids, vocabulary, { signal, onPrefill, maxTokens: 0 }));
    return { session, messages: [] };
  } catch (error) {
    session.close();
    throw error;
  }
}

function textIds({ tokenizer }: Model, text: string): number[] {
  const bos = tokenizer.addBos && tokenizer.bosId !== undefined ? [tokenizer.bosId] : [];
  return [...bos, ...tokenizer.encode(text)];
}

/** Beginnings of messages that a tokenizer might join with what stands before them. */
const PROBES = ["a", "A", "1", " ", "\n", "(", "é", "中"] as const;

/** The ids that every conversation with this system prompt begins with. @throws ThimbleError */
function systemIds(model: Model, system: ChatMessage): number[] {
  const [first, ...others] = PROBES.map((content) => model.encodeChat([system, { role: "user", content }]));
  const differs = (id: number, i: number): boolean => others.some((ids) => ids[i] !== id);
  const end = first!.findIndex(differs);
  const ids = end < 0 ? first! : first!.slice(0, end);
  if (ids.length > 0) return ids;
  throw new ThimbleError("empty_prompt", "the chat template writes nothing before a user's message; give a raw text");
}
