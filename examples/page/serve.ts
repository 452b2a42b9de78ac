/**
 * Serves build/page on this machine: `npm run page`, or with a port, `npm run page -- 8080`. Any server of files will do, given
 * that it says `application/wasm` of modules.
 * @module
 */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";

const TYPES: Readonly<Record<string, string>> = {
  html: "text/html; charset=utf-8",
  css: "text/css; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  svg: "image/svg+xml",
  webmanifest: "application/manifest+json",
  wasm: "application/wasm",
  gguf: "application/octet-stream",
};

export interface FileServer {
  readonly url: string;
  /** Ends it, and all its connections: the network is gone. */
  close(): void;
}

/** @param port - 0 takes a free one */
export async function serveFiles(folder: string, port = 0): Promise<FileServer> {
  const server: Server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url ?? "/", "http://server");
    const name = pathname.endsWith("/") ? `${pathname}index.html` : pathname;
    const path = join(folder, name.replace(/[^\w./-]|\.\./g, ""));
    const type = TYPES[name.split(".").at(-1) ?? ""];
    const found = await stat(path).catch(() => undefined);
    if (type === undefined || found?.isFile() !== true || !["GET", "HEAD"].includes(request.method ?? "")) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, { "content-type": type, "content-length": found.size, "cache-control": "no-cache" });
    if (request.method === "HEAD") response.end();
    else
      createReadStream(path)
        .on("error", () => response.destroy())
        .pipe(response);
  });
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(port, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  return {
    url,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}
