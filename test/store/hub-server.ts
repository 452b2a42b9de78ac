/**
 * A hub on this machine, with its habits and its accidents: the hub itself answers what a file is and sends clients on to a
 * second server, another origin as far as tokens are concerned, which has the bytes. Accidents are put into a queue and
 * happen to one request for bytes each.
 * @module
 */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export const COMMIT = "0123456789abcdef0123456789abcdef01234567";
export const TOKEN = "hf_secret";

export interface HubFile {
  /** `org/name/path/to/file`. */
  readonly path: string;
  bytes: Uint8Array;
  /** The hub demands TOKEN. */
  readonly isPrivate?: boolean;
  readonly isGated?: boolean;
  /** No strong ETag from the server of bytes. */
  readonly isWeak?: boolean;
}

export type Accident =
  | { readonly kind: "none" }
  /** The connection breaks after so many bytes of the body. */
  | { readonly kind: "cut"; readonly after: number }
  | { readonly kind: "status"; readonly status: number; readonly headers?: Readonly<Record<string, string>> }
  /** Every byte is another. */
  | { readonly kind: "wrong" }
  /** The whole file, whatever was asked for. */
  | { readonly kind: "ignore-range" }
  /** 206 with another range than was asked for. */
  | { readonly kind: "other-range" }
  /** So many bytes, then silence. */
  | { readonly kind: "hang"; readonly after: number }
  /** Pieces of `bytes`, `ms` apart. */
  | { readonly kind: "slow"; readonly bytes: number; readonly ms: number }
  /** Without saying how long the file is. */
  | { readonly kind: "no-length" }
  | { readonly kind: "compressed" }
  | { readonly kind: "redirect"; readonly to: string };

export interface Seen {
  readonly server: "hub" | "bytes";
  readonly method: string;
  readonly path: string;
  readonly range: string | undefined;
  readonly authorization: string | undefined;
}

export class HubServer {
  readonly files = new Map<string, HubFile>();
  /** What happens to the next requests for bytes. */
  readonly accidents: Accident[] = [];
  /** The same for requests to the hub itself. */
  readonly hubAccidents: Accident[] = [];
  /** What happens to every request for bytes that no accident is meant for. */
  habit: Accident = { kind: "none" };
  readonly seen: Seen[] = [];
  endpoint = "";
  bytesOrigin = "";
  #servers: Server[] = [];

  static async start(): Promise<HubServer> {
    const hub = new HubServer();
    hub.endpoint = await hub.#listen((request, response) => hub.#answer(request, response));
    hub.bytesOrigin = await hub.#listen((request, response) => hub.#sendBytes(request, response));
    return hub;
  }

  add(path: string, bytes: Uint8Array, more: Partial<HubFile> = {}): HubFile {
    const file = { path, bytes, ...more };
    this.files.set(path, file);
    return file;
  }

  /** Requests for bytes. */
  gets(): Seen[] {
    return this.seen.filter(({ server }) => server === "bytes");
  }

  /** Forgets everything. */
  reset(): void {
    this.files.clear();
    this.accidents.length = 0;
    this.hubAccidents.length = 0;
    this.seen.length = 0;
    this.habit = { kind: "none" };
  }

  async stop(): Promise<void> {
    for (const server of this.#servers) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  async #listen(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
    const server = createServer(answer);
    this.#servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  #note(server: Seen["server"], { method = "", url = "", headers }: IncomingMessage): void {
    this.seen.push({ server, method, path: url, range: headers.range, authorization: headers.authorization });
  }

  #answer(request: IncomingMessage, response: ServerResponse): unknown {
    this.#note("hub", request);
    const accident = this.hubAccidents.shift();
    if (accident?.kind === "hang") return undefined;
    if (accident?.kind === "status") return end(response, accident.status, accident.headers);
    if (accident?.kind === "redirect") return end(response, 307, { location: accident.to });
    const { pathname } = new URL(request.url!, this.endpoint);
    const listing = /^\/api\/models\/([^/]+\/[^/]+)\/tree\/[^/]+/.exec(pathname)?.[1];
    if (listing !== undefined) return this.#list(listing, response);
    const [, repo, revision, path] = /^\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(pathname) ?? [];
    const file = this.files.get(`${repo}/${path}`);
    const isKnownRepo = [...this.files.keys()].some((one) => one.startsWith(`${repo}/`));
    if (!isKnownRepo) return end(response, 401, { "x-error-code": "RepoNotFound" });
    if (file === undefined) return end(response, 404, { "x-error-code": "EntryNotFound" });
    if (revision !== "main" && revision !== COMMIT) return end(response, 404, { "x-error-code": "RevisionNotFound" });
    const isAllowed = request.headers.authorization === `Bearer ${TOKEN}`;
    if (file.isGated && !isAllowed) return end(response, 403, { "x-error-code": "GatedRepo" });
    if (file.isPrivate && !isAllowed) return end(response, 401, { "x-error-code": "RepoNotFound" });
    const headers = {
      "x-repo-commit": COMMIT,
      "x-linked-etag": `"${sha256(file.bytes)}"`,
      "x-linked-size": String(file.bytes.byteLength),
      etag: '"pointer"',
      location: `${this.bytesOrigin}/${file.path}?signature=1`,
    };
    return end(response, 302, headers);
  }

  #list(repo: string, response: ServerResponse): unknown {
    const names = [...this.files.keys()].filter((path) => path.startsWith(`${repo}/`));
    const entries = names.map((path) => ({
      type: "file",
      path: path.slice(repo.length + 1),
      oid: "0".repeat(40),
      size: this.files.get(path)!.bytes.byteLength,
    }));
    response.writeHead(200, { "content-type": "application/json" });
    return response.end(JSON.stringify(entries));
  }

  #sendBytes(request: IncomingMessage, response: ServerResponse): unknown {
    this.#note("bytes", request);
    const accident = this.accidents.shift() ?? this.habit;
    if (accident.kind === "status") return end(response, accident.status, accident.headers);
    if (accident.kind === "redirect") return end(response, 302, { location: accident.to });
    const file = this.files.get(decodeURIComponent(new URL(request.url!, this.bytesOrigin).pathname.slice(1)));
    if (file === undefined) return end(response, 404);
    const etag = `${file.isWeak ? "W/" : ""}"${sha256(file.bytes).slice(0, 16)}"`;
    const total = file.bytes.byteLength;
    const condition = request.headers["if-range"];
    const isFresh = condition === undefined || (condition === etag && !file.isWeak);
    const asked =
      isFresh && accident.kind !== "ignore-range" ? /^bytes=(\d+)-$/.exec(request.headers.range ?? "") : null;
    const start = asked === null ? 0 : Number(asked[1]);
    if (asked !== null && start >= total) return end(response, 416, { "content-range": `bytes */${total}` });
    const from = accident.kind === "other-range" ? 0 : start;
    const body =
      accident.kind === "wrong" ? file.bytes.subarray(from).map((byte) => byte ^ 1) : file.bytes.subarray(from);
    const headers: Record<string, string> = { etag };
    if (accident.kind !== "no-length") headers["content-length"] = String(body.byteLength);
    if (accident.kind === "compressed") headers["content-encoding"] = "gzip";
    if (asked !== null) headers["content-range"] = `bytes ${from}-${total - 1}/${total}`;
    response.writeHead(asked === null ? 200 : 206, headers);
    return this.#sendBody(response, body, accident);
  }

  #sendBody(response: ServerResponse, body: Uint8Array, accident: Accident): unknown {
    if (accident.kind === "cut" && accident.after < body.byteLength) {
      // Ended below HTTP, not reset: what was sent arrives.
      if (accident.after === 0) response.flushHeaders();
      return response.write(body.subarray(0, accident.after), () => response.socket?.end());
    }
    if (accident.kind === "hang") return response.write(body.subarray(0, accident.after));
    if (accident.kind !== "slow") return response.end(body);
    let at = 0;
    const timer = setInterval(() => {
      response.write(body.subarray(at, at + accident.bytes));
      at += accident.bytes;
      if (at < body.byteLength && !response.destroyed) return;
      clearInterval(timer);
      response.end();
    }, accident.ms);
    return timer;
  }
}

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function end(response: ServerResponse, status: number, headers: Readonly<Record<string, string>> = {}): ServerResponse {
  return response.writeHead(status, headers).end();
}
