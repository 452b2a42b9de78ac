/**
 * Keeps the page's own files, so that it opens without a network after the first visit. The model is kept by the page
 * itself. A new version takes over when the pages of the old one are closed, and throws the old files away.
 * https://w3c.github.io/ServiceWorker
 * @module
 */

/** Written by build.ts: the files, and a digest of all of them. */
declare const FILES: readonly string[];
declare const VERSION: string;

/** The part of the scope's interface that is used: the types of pages do not have it. */
interface Lasting extends Event {
  waitUntil(done: Promise<unknown>): void;
}
interface Fetching extends Lasting {
  readonly request: Request;
  respondWith(answer: Promise<Response>): void;
}
interface Scope {
  readonly clients: { claim(): Promise<void> };
  addEventListener(type: "install" | "activate", listener: (event: Lasting) => void): void;
  addEventListener(type: "fetch", listener: (event: Fetching) => void): void;
}

const scope = globalThis as unknown as Scope;
const PREFIX = "thimble-page-";
const NAME = PREFIX + VERSION;

scope.addEventListener("install", (event) => {
  const fresh = FILES.map((file) => new Request(file, { cache: "reload" }));
  event.waitUntil(caches.open(NAME).then((cache) => cache.addAll(fresh)));
});

scope.addEventListener("activate", (event) => {
  const clean = async (): Promise<void> => {
    const old = (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== NAME);
    await Promise.all(old.map((name) => caches.delete(name)));
    await scope.clients.claim();
  };
  event.waitUntil(clean());
});

scope.addEventListener("fetch", (event) => {
  if (event.request.method !== "GET") return;
  const answer = async (): Promise<Response> => {
    const kept = await (await caches.open(NAME)).match(event.request, { ignoreSearch: true });
    return kept ?? fetch(event.request);
  };
  event.respondWith(answer());
});
