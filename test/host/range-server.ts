/**
 * A server on 127.0.0.1 that gives one file, properly or badly in the ways that servers and networks are bad.
 * @module
 */
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { gzipSync } from "node:zlib";

export interface Behaviour {
  /** Answers 200 with everything, whatever is asked. */
  readonly noRanges?: boolean;
  /** No Content-Length: chunks to the end. */
  readonly noLength?: boolean;
  /** A connection is cut when it has come to the next multiple of this; once for each multiple. */
  readonly cutEvery?: number;
  /** Every connection is cut after so many bytes. */
  readonly cutAfter?: number;
  /** Every range ends properly after so many bytes, without a length. */
  readonly endAfter?: number;
  /** Statuses of the first requests, before the proper answers. */
  readonly statuses?: readonly number[];
  readonly retryAfter?: string;
  /** The ETag of the n-th request, from 0; null for none. */
  readonly tag?: (request: number) => string | null;
  /** Bytes of a chunk, each after a turn of the event loop and this many milliseconds. */
  readonly chunkBytes?: number;
  readonly chunkMs?: number;
  readonly contentRange?: (start: number, end: number, size: number, request: number) => string;
  /** Bytes sent beyond the announced range. */
  readonly surplus?: number;
  /** Compresses whole answers; with `gzipRanges` ranges too. */
  readonly gzip?: boolean;
  readonly gzipRanges?: boolean;
  /** The first request is sent on to another path. */
  readonly redirect?: boolean;
  /** The answer's headers come, and no byte. */
  readonly silent?: boolean;
}

export interface Requested {
  readonly range: string | undefined;
  readonly ifRange: string | undefined;
  readonly url: string;
  readonly headers: IncomingMessage["headers"];
}

export interface RangeServer extends AsyncDisposable {
  readonly url: string;
  readonly requests: Requested[];
  /** Bytes of bodies handed to connections that were open. */
  sent(): number;
  /** Answers under way. */
  open(): number;
}

export async function serveFile(bytes: Uint8Array, behaviour: Behaviour = {}): Promise<RangeServer> {
  const requests: Requested[] = [];
  let sent = 0;
  let open = 0;
  let nextCut = behaviour.cutEvery ?? Infinity;

  const write = async (response: ServerResponse, body: Uint8Array, start: number, surplus = 0): Promise<void> => {
    const { chunkBytes = 65_536, chunkMs, cutAfter = Infinity } = behaviour;
    let left = cutAfter;
    for (let at = 0; at < body.length && !response.destroyed; at += chunkBytes) {
      let piece = body.subarray(at, at + Math.min(chunkBytes, left));
      let isCut = piece.length < Math.min(chunkBytes, body.length - at);
      if (start + at + piece.length > nextCut) {
        piece = piece.subarray(0, Math.max(0, nextCut - start - at));
        nextCut += behaviour.cutEvery!;
        isCut = true;
      }
      left -= piece.length;
      sent += piece.length;
      if (!response.write(piece)) {
        const closed = new AbortController();
        const { signal } = closed;
        await Promise.race(["drain", "close"].map((event) => once(response, event, { signal }).catch(() => {})));
        closed.abort();
      }
      if (chunkMs !== undefined) await new Promise((resolve) => setTimeout(resolve, chunkMs));
      if (!isCut) continue;
      await new Promise((resolve) => setTimeout(resolve, 5)); // what was written leaves first
      response.destroy();
      return;
    }
    if (surplus > 0) response.write(new Uint8Array(surplus));
    response.end();
  };

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const number = requests.length;
    const { range, "if-range": ifRange } = request.headers;
    requests.push({ range, ifRange: ifRange as string | undefined, url: request.url!, headers: request.headers });
    const status = behaviour.statuses?.[number];
    if (status !== undefined) {
      if (behaviour.retryAfter !== undefined) response.setHeader("retry-after", behaviour.retryAfter);
      response.writeHead(status).end("no");
      return;
    }
    if (behaviour.redirect && request.url === "/model.gguf") {
      response.writeHead(302, { location: "/elsewhere" }).end();
      return;
    }
    const tag = behaviour.tag === undefined ? '"one"' : behaviour.tag(number);
    if (tag !== null) response.setHeader("etag", tag);
    const match = /^bytes=(\d+)-(\d*)$/.exec(range ?? "");
    const isWhole = match === null || behaviour.noRanges || (ifRange !== undefined && ifRange !== tag);
    if (isWhole) {
      const body = behaviour.gzip ? gzipSync(bytes, { level: 1 }) : bytes;
      if (behaviour.gzip) response.setHeader("content-encoding", "gzip");
      if (!behaviour.noLength) response.setHeader("content-length", body.length);
      response.writeHead(200);
      response.flushHeaders();
      if (!behaviour.silent) await write(response, body, 0);
      return;
    }
    const start = Number(match[1]);
    const end = Math.min(bytes.length, match[2] === "" ? bytes.length : Number(match[2]) + 1);
    if (start >= bytes.length) {
      response.writeHead(416, { "content-range": `bytes */${bytes.length}` }).end();
      return;
    }
    const said = behaviour.contentRange?.(start, end, bytes.length, number);
    response.setHeader("content-range", said ?? `bytes ${start}-${end - 1}/${bytes.length}`);
    let body = bytes.subarray(start, end);
    if (behaviour.gzipRanges) {
      response.setHeader("content-encoding", "gzip");
      body = gzipSync(body, { level: 1 });
    }
    if (behaviour.endAfter !== undefined) body = body.subarray(0, behaviour.endAfter);
    else if (behaviour.surplus === undefined) response.setHeader("content-length", body.length);
    response.writeHead(206);
    response.flushHeaders();
    if (!behaviour.silent) await write(response, body, start, behaviour.surplus);
  };

  const server = createServer((request, response) => {
    open += 1;
    response.once("close", () => {
      open -= 1;
    });
    answer(request, response).catch((error: unknown) => response.destroy(error as Error));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/model.gguf`,
    requests,
    sent: () => sent,
    open: () => open,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
