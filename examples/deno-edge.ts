/**
 * An edge function that streams completions as server-sent events. Deno runs it, and so does whatever takes a `fetch` handler:
 *
 *   deno serve --allow-read --allow-env examples/deno-edge.ts
 *   curl -N localhost:8000 -d '{"prompt": "Tell me a story about a fox."}'
 *
 * A client that goes ends its turn; one that reads slowly is computed for slowly, since a piece is computed when it is asked for.
 * @module
 */
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
const encoder = new TextEncoder();
const file = import.meta.resolve("thimble/models/thimble-15m.Q4_0.gguf");
const model = await loadModel(file, { contextLength: 512, budget, sessions: SESSIONS, keys: "q8", values: "q8" });

type Ask = { prompt: string; maxTokens: number; temperature: number };
type Coded = Error & { code?: string; status?: number };
const refusal = (status: number, code: string, message: string): Coded =>
  Object.assign(new Error(message), { status, code });

async function readBody(request: Request): Promise<Ask> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of request.body ?? []) {
    bytes += part.byteLength;
    if (bytes > MAX_BYTES) throw refusal(413, "body_too_large", `a request has at most ${MAX_BYTES} bytes`);
    parts.push(part);
  }
  const body = await new Response(new Blob(parts as BlobPart[])).json().catch(() => undefined);
  if (typeof body?.prompt !== "string")
    throw refusal(400, "bad_body", 'the body is JSON: {"prompt": "...", "maxTokens": 100, "temperature": 0.7}');
  return { maxTokens: 128, temperature: 0.7, ...body };
}

async function answer(request: Request): Promise<Response> {
  const { prompt, maxTokens, temperature } = await readBody(request);
  if (maxTokens > MAX_TOKENS) throw refusal(400, "too_many_tokens", `maxTokens is at most ${MAX_TOKENS}`);
  if (nOpen >= SESSIONS) throw refusal(429, "too_many_requests", "all sessions are taken: try again later");
  const session = model.session();
  nOpen += 1;
  const turn = session.generate(prompt, { maxTokens, temperature, signal: request.signal });
  const pieces = turn[Symbol.asyncIterator]();
  const end = async (): Promise<void> => {
    await pieces.return(); // a turn under way is undone
    session.close();
    nOpen -= 1;
  };
  try {
    let next = await pieces.next(); // what is wrong with the prompt is known now, while there still is a status to send
    const pull = async (stream: ReadableStreamDefaultController<Uint8Array>): Promise<void> => {
      const send = (data: object): void => stream.enqueue(encoder.encode(`data: ${JSON.stringify(data)}\n\n`));
      try {
        if (!next.done) {
          send({ piece: next.value });
          next = await pieces.next();
          return;
        }
        const { finishReason } = await turn.result;
        send({ finishReason });
        stream.close();
      } catch (error) {
        stream.error(error);
      }
      await end();
    };
    const body = new ReadableStream({ pull, cancel: end }, { highWaterMark: 0 });
    return new Response(body, { headers: { "content-type": "text/event-stream" } });
  } catch (error) {
    await end();
    throw error;
  }
}

export default {
  fetch: (request: Request): Promise<Response> =>
    answer(request).catch(({ code = "internal", message, status = STATUS[code] ?? 500 }: Coded) => {
      return Response.json({ error: { code, message } }, { status });
    }),
};
