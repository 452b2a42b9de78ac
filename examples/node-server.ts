/**
 * A Node server that streams completions as server-sent events. All requests share one model; each has a session of its own, of
 * which the budget in bytes has room for a few:
 *
 *   node build/examples/node-server.js 8000        (npm run build && npm run examples:build)
 *   curl -N localhost:8000 -d '{"prompt": "Tell me a story about a fox."}'
 * @module
 */
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { loadModel } from "thimble";

const MAX_BYTES = 16_384;
const MAX_TOKENS = 512;
const STATUS: Readonly<Record<string, number>> = {
  ...{ invalid_option: 400, invalid_text: 400, empty_prompt: 400 },
  ...{ context_length_exceeded: 413, over_budget: 429, out_of_memory: 503 },
};

/** All of WebAssembly memory, never exceeded; it has room for so many sessions whose contexts are full, and more are refused. */
const budget = "24MB";
const SESSIONS = 7;
let nOpen = 0;
const file = import.meta.resolve("thimble/models/thimble-15m.Q4_0.gguf");
const model = await loadModel(file, { contextLength: 512, budget, sessions: SESSIONS, keys: "q8", values: "q8" });

type Ask = { prompt: string; maxTokens: number; temperature: number };
type Coded = Error & { code?: string; status?: number };
const refusal = (status: number, code: string, message: string): Coded =>
  Object.assign(new Error(message), { status, code });

async function readBody(request: IncomingMessage): Promise<Ask> {
  let text = "";
  // Not destroyed where it is left: the answer goes over the same connection.
  for await (const part of request.setEncoding("utf8").iterator({ destroyOnReturn: false })) {
    text += part;
    if (text.length > MAX_BYTES) throw refusal(413, "body_too_large", `a request has at most ${MAX_BYTES} bytes`);
  }
  const body = await new Response(text).json().catch(() => undefined);
  if (typeof body?.prompt !== "string")
    throw refusal(400, "bad_body", 'the body is JSON: {"prompt": "...", "maxTokens": 100, "temperature": 0.7}');
  return { maxTokens: 128, temperature: 0.7, ...body };
}

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const gone = new AbortController();
  response.on("close", () => gone.abort());
  const { signal } = gone;
  const send = async (data: object): Promise<void> => {
    if (!response.headersSent) response.writeHead(200, { "content-type": "text/event-stream" });
    if (!response.write(`data: ${JSON.stringify(data)}\n\n`)) await once(response, "drain", { signal });
  };
  const { prompt, maxTokens, temperature } = await readBody(request);
  if (maxTokens > MAX_TOKENS) throw refusal(400, "too_many_tokens", `maxTokens is at most ${MAX_TOKENS}`);
  if (nOpen >= SESSIONS) throw refusal(429, "too_many_requests", "all sessions are taken: try again later");
  nOpen += 1;
  try {
    await using session = model.session();
    const turn = session.generate(prompt, { maxTokens, temperature, signal });
    for await (const piece of turn) await send({ piece });
    const { finishReason } = await turn.result;
    await send({ finishReason });
    response.end();
  } finally {
    nOpen -= 1;
  }
}

const server = createServer((request, response) => {
  answer(request, response).catch(({ code = "internal", message, status = STATUS[code] ?? 500 }: Coded) => {
    if (response.headersSent)
      response.destroy(); // the client is gone, or sees that it was cut
    else
      response
        .writeHead(status, { "content-type": "application/json", connection: "close" })
        .end(JSON.stringify({ error: { code, message } }));
  });
});
await once(server.listen(Number(process.argv[2] ?? 0), "127.0.0.1"), "listening");
console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
