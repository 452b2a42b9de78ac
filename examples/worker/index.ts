/**
 * A Worker whose conversations go on over requests, isolates and days: each has a Durable Object, which keeps the session as a
 * capsule. All begin with one prompt pack, so that nobody waits for the system prompt:
 *
 *   npx thimble pack --system @examples/worker/brief.txt --context 1024 --output brief.pack
 *   curl https://.../ada -d 'Who are you?'
 *
 * It needs a binding CONVERSATIONS of the class, with SQLite storage (values of 1 MiB), and rules of type Data for *.gguf and
 * *.pack.
 * @module
 */
import { type CapsuleStorage, capsuleStore, keepSession } from "thimble/capsule-stores";
import bytes from "thimble/models/thimble-15m.Q4_0.gguf";
import { loadModel, type Model, type Pack, ThimbleError } from "thimble/workers";
import brief from "./brief.pack";

const MAX_LETTERS = 4096;

/** What is used of a Durable Object's storage. */
interface Storage {
  get(key: string): Promise<unknown>;
  put(key: string, value: unknown): Promise<void>;
  delete(key: string): Promise<boolean>;
  list(options: { prefix: string }): Promise<Map<string, unknown>>;
}

interface Env {
  readonly CONVERSATIONS: { getByName(name: string): { fetch(request: Request): Promise<Response> } };
}

const asCapsules = (storage: Storage): CapsuleStorage => ({
  getItem: (key) => storage.get(key),
  setItem: (key, value) => storage.put(key, value),
  getItemRaw: (key) => storage.get(key),
  setItemRaw: (key, value) => storage.put(key, value),
  removeItem: async (key) => void (await storage.delete(key)),
  getKeys: async (prefix = "") => [...(await storage.list({ prefix })).keys()],
});

/** One model and pack for all objects of an isolate. */
let loaded: Promise<{ model: Model; pack: Pack }> | undefined;
async function load(): Promise<{ model: Model; pack: Pack }> {
  const model = await loadModel(bytes, { contextLength: 1024, budget: "32MB" });
  return { model, pack: await model.openPack(brief) };
}

export class Conversation {
  readonly #store;
  #last: Promise<unknown> = Promise.resolve();

  constructor({ storage }: { storage: Storage }) {
    this.#store = capsuleStore(asCapsules(storage));
  }

  /** Turns of a conversation follow one another. */
  fetch(request: Request): Promise<Response> {
    const turn = this.#last.then(() => this.#answer(request));
    this.#last = turn.catch(() => {});
    return turn.catch((error: Error) => {
      const code = error instanceof ThimbleError ? error.code : "internal";
      const status = code === "context_length_exceeded" ? 413 : code === "over_budget" ? 429 : 500;
      return Response.json({ error: { code, message: error.message } }, { status });
    });
  }

  async #answer(request: Request): Promise<Response> {
    const text = await request.text();
    if (text === "" || text.length > MAX_LETTERS)
      return Response.json({ error: { code: "bad_body" } }, { status: 400 });
    loaded ??= load();
    const { model, pack } = await loaded;
    const kept = await this.#store.get("session");
    await using session = kept === undefined ? pack.session() : await model.restore(kept);
    const { usage, ...result } = await session.complete(text, { temperature: 0, maxTokens: 64 });
    await keepSession(this.#store, "session", session);
    return Response.json({ text: result.text, usage, messages: session.messages.length });
  }
}

export default {
  fetch: (request: Request, { CONVERSATIONS }: Env): Promise<Response> =>
    CONVERSATIONS.getByName(new URL(request.url).pathname).fetch(request),
};
