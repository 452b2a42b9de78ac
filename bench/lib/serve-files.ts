/**
 * Files on the loopback for the pages of the bench, with no header but the content type: a page is not cross-origin
 * isolated, so no runtime in it can use threads.
 * @module
 */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".wasm": "application/wasm",
};

/** An empty page whose module is `script`, under /pages/. */
function pageOf(script: string): string {
  return `<!doctype html><meta charset="utf-8"><title>bench</title><link rel="icon" href="data:,">
<script type="module" src="/pages/${script}.js"></script>`;
}

/**
 * Serves `paths`, each a folder or a file, under its key ("/dist/", "/model.gguf"), and the page of a script under
 * /SCRIPT.html.
 */
export async function serveFiles(paths: Readonly<Record<string, string>>): Promise<{ url: string; server: Server }> {
  const server = createServer(async ({ url = "" }, response) => {
    const page = /^\/([\w-]+)\.html$/.exec(url)?.[1];
    if (page !== undefined) {
      response.setHeader("content-type", TYPES[".html"]!).end(pageOf(page));
      return;
    }
    const prefix = Object.keys(paths).find((key) => url.startsWith(key));
    const file = prefix === undefined ? "" : join(paths[prefix]!, normalize(`/${url.slice(prefix.length)}`));
    const found = await stat(file.replace(/\/$/, "")).catch(() => undefined);
    if (!found?.isFile()) response.writeHead(404).end();
    else {
      response.setHeader("content-type", TYPES[extname(file)] ?? "application/octet-stream");
      createReadStream(file.replace(/\/$/, "")).pipe(response.setHeader("content-length", found.size));
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server };
}
