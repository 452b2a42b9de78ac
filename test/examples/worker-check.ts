/** examples/worker in workerd: conversations from a pack, kept by their objects, over requests and restarts. @module */
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadModel } from "thimble";
import type { Check } from "../binding/conformance.ts";
import { OUT } from "./build.ts";

const SAID = ["Who are you?", "What do you eat?", "Where do you live?"];
const TYPES: Readonly<Record<string, string>> = { js: "ESModule", wasm: "CompiledWasm", gguf: "Data", pack: "Data" };

interface Miniflare {
  dispatchFetch(url: string, options: object): Promise<Response>;
  dispose(): Promise<void>;
}

interface Answer {
  readonly text: string;
  readonly usage: { readonly promptTokens: number; readonly reusedTokens: number };
  readonly messages: number;
}

async function open(miniflare: string, durableObjectsPersist: string): Promise<Miniflare> {
  const { Miniflare } = (await import(join(miniflare, "dist/src/index.js"))) as {
    Miniflare: new (o: object) => Miniflare;
  };
  const folder = join(OUT, "worker");
  const names = (await readdir(folder)).sort((a, b) => Number(b === "index.js") - Number(a === "index.js"));
  const modules = await Promise.all(
    names.map(async (path) => {
      const contents = await readFile(join(folder, path));
      return {
        type: TYPES[path.split(".").at(-1)!],
        path,
        contents: path.endsWith(".js") ? contents.toString() : contents,
      };
    }),
  );
  const durableObjects = { CONVERSATIONS: { className: "Conversation", useSQLite: true } };
  return new Miniflare({ compatibilityDate: "2026-07-01", modules, durableObjects, durableObjectsPersist });
}

/** The same conversation with nothing in between. */
async function undisturbed(): Promise<readonly string[]> {
  await using model = await loadModel("models/thimble-15m.Q4_0.gguf", { contextLength: 1024, budget: "32MB" });
  const pack = await model.openPack(await readFile(join(OUT, "worker-source/brief.pack")));
  await using session = pack.session();
  const texts: string[] = [];
  for (const text of SAID) texts.push((await session.complete(text, { temperature: 0, maxTokens: 64 })).text);
  return texts;
}

export function workerCheck(miniflare: string): Check {
  return {
    name: "worker: conversations begin with the pack, are kept by their objects, and go on after a restart",
    async run() {
      const folder = await mkdtemp(join(tmpdir(), "thimble-worker-"));
      let worker = await open(miniflare, folder);
      const say = async (name: string, body: string): Promise<Answer> => {
        const response = await worker.dispatchFetch(`http://worker/${name}`, { method: "POST", body });
        if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`);
        return (await response.json()) as Answer;
      };
      try {
        const expected = await undisturbed();
        const first = await say("ada", SAID[0]!);
        const [second, other] = await Promise.all([say("ada", SAID[1]!), say("bob", SAID[0]!)]);
        await worker.dispose();
        worker = await open(miniflare, folder);
        const third = await say("ada", SAID[2]!);
        const texts = [first, second, third].map(({ text }) => text);
        if (JSON.stringify(texts) !== JSON.stringify(expected)) throw new Error(JSON.stringify({ texts, expected }));
        if (other.text !== expected[0]) throw new Error(`another conversation: ${other.text}`);
        if (first.usage.reusedTokens < 20 || third.messages !== 7) throw new Error(JSON.stringify({ first, third }));
        const refused = await worker.dispatchFetch("http://worker/ada", { method: "POST", body: "x".repeat(5000) });
        if (refused.status !== 400) throw new Error(`a long body: ${refused.status}`);
        return `${first.usage.reusedTokens} tokens from the pack, ${third.usage.reusedTokens} of ${third.usage.promptTokens} from the capsule`;
      } finally {
        await worker.dispose();
        await rm(folder, { recursive: true, force: true });
      }
    },
  };
}
