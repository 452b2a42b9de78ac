/** What a session tells of its cache to be looked at, also through the line between a page and its worker. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type CacheMap, MAP_FORMS } from "../../host/cache-map.ts";
import type { ThimbleError } from "../../host/errors.ts";
import type { LoadOptions } from "../../host/load-engine.ts";
import type { Answer, Request } from "../../host/remote/messages.ts";
import { loadPageModel } from "../../host/remote/page-model.ts";
import { type Port, serveModel } from "../../host/remote/serve-model.ts";
import type { WorkerLike } from "../../host/remote/worker-line.ts";
import type { Session } from "../../host/session.ts";
import { DEFAULT_MODEL, load, randomIds } from "../model/load.ts";

const test = suite("maps of caches");

const IDS = randomIds(300, 4000, 9);
const SILENT = { temperature: 0, maxTokens: 0 } as const;

interface MappedPage {
  readonly first: number;
  readonly end: number;
  readonly slots: number;
  readonly form: string;
}

/** Pages of each head. */
function pagesOf({ counts, firsts, ends, slots, keys, values }: CacheMap): MappedPage[][] {
  let at = 0;
  return Array.from(counts, (count) => {
    const pages = Array.from({ length: count }, (_, i) => {
      const [key, value] = [MAP_FORMS[keys[at + i]!], MAP_FORMS[values[at + i]!]];
      return { first: firsts[at + i]!, end: ends[at + i]!, slots: slots[at + i]!, form: `${key}/${value}` };
    });
    at += count;
    return pages;
  });
}

/** The map says of every head what the positions that it holds say. */
function checkAgainstHeld(session: Session): CacheMap {
  const map = session.cacheMap();
  const held = session.kept().flat();
  assert.is(map.counts.length, map.nLayers * map.nKvHeads);
  for (const [head, pages] of pagesOf(map).entries()) {
    const positions = [...held[head]!];
    for (const { first, end, slots } of pages) {
      const own = positions.splice(0, slots);
      assert.equal([own[0], own.at(-1)! + 1, own.length], [first, end, slots], `head ${head}`);
    }
    assert.equal(positions, [], `head ${head} has more`);
  }
  return map;
}

async function mapAfter(options: LoadOptions, use: (session: Session) => Promise<unknown>): Promise<CacheMap> {
  await using model = await load(DEFAULT_MODEL, options);
  await using session = model.session({ overflow: "evict" });
  await use(session);
  return checkAgainstHeld(session);
}

test("pages have aged but for the first, the newest and the open one; an empty session has none", async () => {
  const map = await mapAfter({ contextLength: 512, keys: "q4", values: "q3" }, async (session) => {
    assert.is(session.cacheMap().firsts.length, 0);
    await session.complete({ ids: IDS.slice(0, 200) }, SILENT);
  });
  assert.is(map.nTokens, 200);
  const forms = ["q8/q8", ...Array(3).fill("q4/q3"), "q8/q8", "q8/q8", "f32/f32"];
  for (const pages of pagesOf(map)) {
    assert.equal(
      pages.map(({ form }) => form),
      forms,
    );
    assert.equal(pages.at(-1), { first: 192, end: 200, slots: 8, form: "f32/f32" });
  }
});

test("evicted pages are missing, whole ones without a policy and slots within pages with one", async () => {
  const whole = await mapAfter({ contextLength: 192 }, (session) => session.complete({ ids: IDS }, SILENT));
  const [first, second] = pagesOf(whole)[0]!;
  assert.equal([first!.end, first!.slots, second!.first - first!.end > 0, second!.slots], [32, 32, true, 32]);
  const thinned = await mapAfter({ contextLength: 224, policy: "key-norm" }, (session) =>
    session.complete({ ids: IDS }, SILENT),
  );
  assert.ok(pagesOf(thinned).some((pages) => pages.some(({ first, end, slots }) => end - first > slots)));
  await using model = await load(DEFAULT_MODEL, { contextLength: 512, policy: "key-norm" });
  await using session = model.session({ keep: { ratio: 0.5 } });
  await session.complete({ ids: IDS }, { ...SILENT, maxTokens: 8, ignoreEos: true });
  const pages = pagesOf(checkAgainstHeld(session)).flat();
  assert.ok(
    pages.some(({ slots, form }) => slots < 32 && form !== "f32/f32"),
    "a closed page that ends early",
  );
});

/** A worker in this thread. */
function workerHere(): WorkerLike {
  const toWorker: ((event: MessageEvent<Request>) => void)[] = [];
  const toPage: ((event: Event) => void)[] = [];
  const port: Port = {
    postMessage: (data: Answer) =>
      queueMicrotask(() => {
        for (const tell of toPage) tell({ data: structuredClone(data) } as MessageEvent);
      }),
    addEventListener: (_, listener) => void toWorker.push(listener),
  };
  serveModel(port, (source, options) => load(source, options));
  return {
    postMessage: (data) => {
      for (const tell of toWorker) tell({ data: structuredClone(data) } as MessageEvent<Request>);
    },
    addEventListener: (type, listener) => void (type === "message" && toPage.push(listener)),
    terminate: () => {},
  };
}

test("a page is told the same in the middle of a turn; of a closed session it is refused", async () => {
  const model = await loadPageModel(workerHere, DEFAULT_MODEL, { contextLength: 192 });
  const session = await model.session({ overflow: "evict" });
  const lengths: number[] = [];
  for await (const _ of session.generate(
    { ids: IDS.slice(0, 60) },
    { temperature: 0, maxTokens: 6, ignoreEos: true },
  )) {
    const map = await session.cacheMap();
    for (const pages of pagesOf(map)) assert.is(pages.at(-1)!.end, map.nTokens);
    lengths.push(map.nTokens);
  }
  assert.ok(lengths.length > 2 && lengths.every((n, i) => n >= 60 && (i === 0 || n > lengths[i - 1]!)), `${lengths}`);
  await session.close();
  const code = await session.cacheMap().then(
    () => "none",
    (error: ThimbleError) => error.code,
  );
  assert.is(code, "closed");
  await model.close();
});

test.run();
