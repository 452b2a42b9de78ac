/**
 * Kept files as answers in the Cache API, which has whole answers only. https://w3c.github.io/ServiceWorker/#cache-interface
 * @module
 */
import type { KeepPlace } from "./kept-model.ts";

export const CACHE = "Cache API";
const NAME = "thimble-models";

export const cachePlace: KeepPlace = {
  async find(url) {
    const answer = await (await caches.open(NAME)).match(url);
    return answer?.blob();
  },
  async write(url, stream, bytes) {
    const headers = bytes === undefined ? {} : { "content-length": String(bytes) };
    await (await caches.open(NAME)).put(url, new Response(stream, { headers }));
  },
  async remove(url) {
    return (await caches.open(NAME)).delete(url);
  },
};
