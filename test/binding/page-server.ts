/**
 * Serves a page of the suite, the build beside it and the model on the loopback, with no header but the content type, or
 * cross-origin isolated. `POST /report` takes what a page reports that no driver gives a function, and
 * `/control?path=FILE&mode=MODE` has the server answer badly for a file from then on.
 * @module
 */
import { createReadStream } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";

const PAGE = `<!doctype html><meta charset="utf-8"><title>conformance</title><link rel="icon" href="data:,">
<script type="module" src="main.js"></script>`;
const TYPES: Readonly<Record<string, string>> = {
  js: "text/javascript",
  wasm: "application/wasm",
  gguf: "application/octet-stream",
};

export interface PageServer {
  readonly url: string;
  close(): void;
}

export interface PageServerOptions {
  /** The bundle main.js and what lies beside it. */
  readonly directory: string;
  readonly model: string;
  readonly isIsolated?: boolean;
  readonly onReport?: (json: unknown) => void;
}

export async function servePage({ directory, model, isIsolated, onReport }: PageServerOptions): Promise<PageServer> {
  /** Files that are answered for in another way; see `answerBadly`. */
  const modes = new Map<string, string>();
  const server: Server = createServer(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? "/", "http://server");
    const name = pathname.slice(1);
    response.setHeader("cache-control", "no-store");
    if (isIsolated) {
      response.setHeader("cross-origin-opener-policy", "same-origin");
      response.setHeader("cross-origin-embedder-policy", "require-corp");
    }
    if (name === "") {
      const own = await readFile(join(directory, "index.html"), "utf8").catch(() => PAGE);
      response.setHeader("content-type", "text/html").end(own);
    } else if (name === "report") {
      let text = "";
      for await (const chunk of request.setEncoding("utf8")) text += chunk;
      onReport?.(JSON.parse(text));
      response.writeHead(204).end();
    } else if (name === "control") {
      modes.set(searchParams.get("path")!, searchParams.get("mode")!);
      response.writeHead(204).end();
    } else {
      const file = name === "model.gguf" ? model : join(directory, name.replace(/[^\w./-]|\.\./g, ""));
      const type = TYPES[name.split(".").at(-1)!];
      const mode = modes.get(name) ?? "whole";
      if (mode !== "whole") await answerBadly(response, mode, file);
      else {
        const { size } = await stat(file).catch(() => ({ size: undefined }));
        if (type === undefined || size === undefined) response.writeHead(404).end();
        else createReadStream(file).pipe(response.writeHead(200, { "content-type": type, "content-length": size }));
      }
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, close: () => server.close() };
}

async function answerBadly(response: ServerResponse, mode: string, file: string): Promise<void> {
  if (mode === "missing") response.writeHead(404).end();
  else if (mode === "page") response.setHeader("content-type", "text/html").end(PAGE);
  else if (mode === "untyped") response.setHeader("content-type", "text/plain").end(await readFile(file));
  else if (mode === "hang-up") response.destroy();
  else {
    const bytes = await readFile(file);
    response.setHeader("content-length", bytes.byteLength);
    response.write(bytes.subarray(0, bytes.byteLength >> 1), () => response.destroy());
  }
}
