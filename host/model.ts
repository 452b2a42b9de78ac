/**
 * A loaded model: weights in WebAssembly memory, tokenizer, chat template, and the sessions that share them.
 * @module
 */

import type { MemoryPlan, PromptOrder } from "./budget.ts";
import type { CapsuleSource } from "./capsule/byte-reader.ts";
import type { CapsuleKind } from "./capsule/format.ts";
import { type RestoreOptions, restoreCapsule } from "./capsule/restore.ts";
import { type ChatMessage, type ChatTemplate, createChatTemplate, encodeChat } from "./chat.ts";
import { createDetokenizer } from "./detokenizer.ts";
import { ASYNC_DISPOSE } from "./dispose.ts";
import type { Engine, RowRequest } from "./engine.ts";
import { ThimbleError } from "./errors.ts";
import { readHeader } from "./gguf.ts";
import { type CalibratedModel, checkHeadScores } from "./head-scores.ts";
import type { GgufHeader } from "./header.ts";
import type { KvFormName } from "./kv-cache.ts";
import { describeFormat } from "./kv-format.ts";
import { type LoadedEngine, type LoadOptions, loadEngine } from "./load-engine.ts";
import { metadataString } from "./metadata.ts";
import type { ModelConfig } from "./model-config.ts";
import { wrongOption } from "./options.ts";
import { Pack, type PackOptions, type PackPrompt, prefillPack } from "./pack.ts";
import { formsOf } from "./plan.ts";
import type { Platform } from "./platform.ts";
import { QUESTIONS, type Wording } from "./repeat.ts";
import { Session } from "./session.ts";
import type { ByteSource } from "./source.ts";
import type { TokenSession } from "./token-session.ts";
import type { SessionOptions } from "./token-turn.ts";
import { createTokenizer, type EncodeOptions, type Tokenizer } from "./tokenizer.ts";
import type { Variant } from "./variant.ts";
import type { ActivationMode } from "./weight-form.ts";

/** Bytes and times of a model. */
export interface ModelStats {
  readonly platform: string;
  readonly variant: Variant;
  /** Threads that compute. */
  readonly threads: number;
  readonly activations: ActivationMode;
  /** Most tokens of a session: as asked for, or what the budget has room for. */
  readonly contextLength: number;
  /** Forms of keys and values that are no longer recent: as asked for, or as the budget chose them. */
  readonly keys: KvFormName;
  readonly values: KvFormName;
  /** What pages keep beside plain codes, as far as it has an effect on these forms; "" is nothing. */
  readonly kvFormat: string;
  /** How prompts of which a part is kept are computed: as asked for, or as the budget chose it. */
  readonly prompts: PromptOrder;
  /** Bytes that memory stays within; undefined without a budget. */
  readonly budget: number | undefined;
  /** Bytes by part, as planned from the header. */
  readonly plan: MemoryPlan;
  /** Bytes of WebAssembly memory: all there ever was, since it only grows. */
  readonly peakBytes: number;
  /** Bytes of pages in the pool, in use or free. */
  readonly pageBytes: number;
  /** Milliseconds for the header, and for reading and packing the weights. */
  readonly headerMs: number;
  readonly weightsMs: number;
}

export class Model implements AsyncDisposable {
  readonly config: ModelConfig;
  /** The file's name for itself, else the source's name. */
  readonly name: string;
  readonly header: GgufHeader;
  /** For this package's own modules and tests: the engine inside. */
  readonly engine: Engine;
  readonly platform: Platform;
  readonly #loaded: Loaded;
  readonly #open = new Set<{ close(): void }>();
  #tokenizer: Tokenizer | undefined;
  #template: ChatTemplate | undefined;
  #closed = false;

  /** Use `loadModel`. */
  constructor(loaded: Loaded) {
    this.#loaded = loaded;
    this.config = loaded.architecture.config;
    this.header = loaded.header;
    this.engine = loaded.engine;
    this.platform = loaded.platform;
    this.engine.wording = () => this.#wording();
    this.name = metadataString(loaded.header, "general.name", { default: loaded.header.file });
  }

  /** For this package's own modules: what digests of the model are made of. */
  get calibrated(): CalibratedModel {
    return { engine: this.engine, header: this.header, activations: this.#loaded.activations };
  }

  /** Made at first use: a file whose tokenizer is not supported still runs on token ids. @throws ThimbleError */
  get tokenizer(): Tokenizer {
    if (this.#tokenizer !== undefined) return this.#tokenizer;
    const tokenizer = createTokenizer(this.header.metadata, this.header.file);
    if (tokenizer.vocabSize > this.config.vocabSize) {
      throw new ThimbleError(
        "malformed_file",
        `the vocabulary has ${tokenizer.vocabSize} tokens, the embedding only ${this.config.vocabSize} rows`,
        { file: this.header.file, needed: tokenizer.vocabSize, available: this.config.vocabSize },
      );
    }
    this.#tokenizer = tokenizer;
    return tokenizer;
  }

  /** The file has a chat template. */
  get hasChatTemplate(): boolean {
    return this.header.metadata["tokenizer.chat_template"] !== undefined;
  }

  get stats(): ModelStats {
    const { exports, variant } = this.engine.runtime;
    const { plan, activations, budget, headerMs, weightsMs } = this.#loaded;
    return {
      platform: this.platform.name,
      variant,
      threads: this.engine.threads,
      activations,
      contextLength: this.engine.sizes.contextLength,
      ...formsOf(this.engine.sizes),
      kvFormat: describeFormat(this.engine.sizes.cache),
      prompts: this.engine.sizes.prompts ?? "chunks",
      budget,
      plan,
      peakBytes: this.engine.runtime.memoryBytes(),
      pageBytes: exports.poolPages() * plan.page + exports.poolPages(true) * plan.widePage,
      headerMs,
      weightsMs,
    };
  }

  /** A new, empty session. @throws ThimbleError out_of_memory, over_budget, closed, invalid_option */
  session(options: SessionOptions = {}): Session {
    this.#checkOpen();
    checkTenant(options.tenant);
    return this.adopt((onClose) => new Session(this, onClose, options));
  }

  /** The session of a tenant that has computed most of a sequence, more than `more` tokens. */
  donor(tenant: string, ids: readonly number[], more: number): TokenSession | undefined {
    let best: TokenSession | undefined;
    let most = more;
    for (const one of this.#open) {
      const n = one instanceof Session && one.tenant === tenant ? one.tokenSession.shareable(ids) : 0;
      if (n <= most) continue;
      best = (one as Session).tokenSession;
      most = n;
    }
    return best;
  }

  /** Counts a session or pack that is made elsewhere among those closed with the model. @throws ThimbleError closed */
  adopt<T extends { close(): void }>(create: (onClose: () => void) => T): T {
    this.#checkOpen();
    const made = create(() => this.#open.delete(made));
    this.#open.add(made);
    return made;
  }

  /**
   * A session that goes on where a capsule was saved (`session.save`), with the same bits; docs/capsule.md. Of a capsule
   * that continues another one, all are given: the full one first, the newest last. Whose session it is, no capsule says.
   * @throws ThimbleError closed, and the codes of `restoreCapsule`; there is no session then
   */
  async restore(
    source: CapsuleSource | readonly CapsuleSource[],
    { tenant, ...options }: RestoreOptions & Pick<SessionOptions, "tenant"> = {},
  ): Promise<Session> {
    checkTenant(tenant);
    const state = await this.#restore(source, options, "session");
    return this.#adopt(state.session, (onClose) => new Session(this, onClose, { ...state, tenant }));
  }

  /**
   * Computes a prompt once, for many sessions to begin with, or to be kept as a file (`pack.save`).
   * @throws ThimbleError closed, and the codes of `Session.generate`
   */
  async createPack(prompt: PackPrompt, options: PackOptions = {}): Promise<Pack> {
    this.#checkOpen();
    const { session, messages } = await prefillPack(this, prompt, options);
    return this.#adopt(session, (onClose) => new Pack(this, onClose, session, messages));
  }

  /**
   * Reads a prompt pack, once for all sessions that begin with it (`pack.session`); docs/capsule.md.
   * @throws ThimbleError as `restore`
   */
  async openPack(source: CapsuleSource, options: RestoreOptions = {}): Promise<Pack> {
    const { session, messages } = await this.#restore(source, options, "pack");
    return this.#adopt(session, (onClose) => new Pack(this, onClose, session, messages));
  }

  async #restore(source: CapsuleSource | readonly CapsuleSource[], options: RestoreOptions, kind: CapsuleKind) {
    this.#checkOpen();
    const { engine, header, platform } = this;
    const model = { engine, header, activations: this.#loaded.activations };
    return restoreCapsule(model, platform, source, options, kind);
  }

  /** The model may have been closed meanwhile. */
  #adopt<T extends { close(): void }>(session: TokenSession, create: (onClose: () => void) => T): T {
    try {
      return this.adopt(create);
    } catch (error) {
      session.close();
      throw error;
    }
  }

  /** Token ids of a text; no BOS is added. @throws ThimbleError invalid_text, unsupported_tokenizer */
  tokenize(text: string, options?: EncodeOptions): number[] {
    return this.tokenizer.encode(text, options);
  }

  /** Text of token ids; control tokens are left out unless `special`. @throws ThimbleError invalid_option */
  detokenize(ids: Iterable<number>, options?: { readonly special?: boolean }): string {
    const detokenizer = createDetokenizer(this.tokenizer, options);
    let text = "";
    for (const id of ids) text += detokenizer.push(id);
    return text + detokenizer.flush();
  }

  /** Number of tokens of a text, or of a conversation in the model's chat template. @throws ThimbleError */
  count(input: string | readonly ChatMessage[]): number {
    return (typeof input === "string" ? this.tokenize(input) : this.encodeChat(input)).length;
  }

  /**
   * Token ids of a conversation in the file's chat template, ending with the opening of the assistant's turn. Control
   * tokens written in a message stay plain text.
   * @throws ThimbleError no_chat_template, template_failed
   */
  encodeChat(messages: readonly ChatMessage[]): number[] {
    return encodeChat(this.tokenizer, this.#chatTemplate(), messages);
  }

  /** Runs rows of any sessions in one go; see `Engine.forward`. @throws ThimbleError */
  forward(rows: readonly RowRequest[]): void {
    this.#checkOpen();
    this.engine.forward(rows);
  }

  /** Closes the model and its sessions; the memory goes when the garbage collector takes the instance. */
  async close(): Promise<void> {
    if (this.#closed) return;
    for (const one of [...this.#open]) one.close();
    this.#closed = true;
    this.engine.runtime.close();
  }

  async [ASYNC_DISPOSE](): Promise<void> {
    await this.close();
  }

  /** Questions, and what the chat template puts around a user's text: what two conversations share. */
  #wording(): Wording {
    const [first, next] = [QUESTIONS.first, QUESTIONS.next].map((text) => this.tokenizer.encode(text));
    if (!this.hasChatTemplate) return { before: [], after: this.tokenizer.encode("\n"), first: first!, next: next! };
    const [a, b] = ["x", "7"].map((content) => this.encodeChat([{ role: "user", content }])) as [number[], number[]];
    const differsAt = (x: readonly number[], y: readonly number[]): number => x.findIndex((id, i) => id !== y[i]);
    const before = a.slice(0, differsAt(a, b));
    const tail = differsAt([...a].reverse(), [...b].reverse());
    return { before, after: a.slice(a.length - tail), first: first!, next: next! };
  }

  #checkOpen(): void {
    if (this.#closed) throw new ThimbleError("closed", "the model is closed");
  }

  #chatTemplate(): ChatTemplate {
    if (this.#template !== undefined) return this.#template;
    const source = metadataString(this.header, "tokenizer.chat_template", { default: undefined });
    if (source === undefined) {
      throw new ThimbleError("no_chat_template", "the file has no chat template; give raw text instead of messages", {
        file: this.header.file,
      });
    }
    this.#template = createChatTemplate(source);
    return this.#template;
  }
}

/** What `loadFrom` hands to a model. */
interface Loaded extends LoadedEngine {
  readonly header: GgufHeader;
  readonly headerMs: number;
}

/**
 * Loads a model from an open source, which is closed at the end whatever happens.
 * @throws ThimbleError with the codes of `readHeader` and `loadEngine`; the signal's reason when aborted
 */
export async function loadFrom(platform: Platform, source: ByteSource, options: LoadOptions = {}): Promise<Model> {
  try {
    options.signal?.throwIfAborted();
    const start = platform.now();
    const header = await readHeader(source, options.signal);
    const headerMs = platform.now() - start;
    const loaded = { ...(await loadEngine(platform, source, header, options)), header, headerMs };
    try {
      loaded.engine.headScores = await checkHeadScores(options.headScores, loaded);
    } catch (error) {
      loaded.engine.runtime.close();
      throw error;
    }
    return new Model(loaded);
  } finally {
    await source.close();
  }
}

/** JavaScript callers pass anything. */
function checkTenant(tenant: unknown): void {
  if (tenant === undefined || (typeof tenant === "string" && tenant !== "")) return;
  throw wrongOption("tenant", "tenant must be a text that names whose session it is");
}
