/**
 * Node: files through `node:fs`, http(s) addresses through `fetch`, the module from beside this file. Bun and other hosts
 * with Node's API work the same way.
 * @module
 */
import { readFile } from "node:fs/promises";
import { openUrl } from "../../host/http-source.ts";
import type { Platform } from "../../host/platform.ts";
import { openFile } from "./file-source.ts";

export const platform: Platform = {
  name: "node",
  wasm: async (variant) => new Uint8Array(await readFile(new URL(`./${variant}.wasm`, import.meta.url))),
  open: (location, signal) => (/^https?:\/\//i.test(location) ? openUrl(location, { signal }) : openFile(location)),
  pause: () => new Promise((resolve) => setImmediate(resolve)),
  now: () => performance.now(),
};
