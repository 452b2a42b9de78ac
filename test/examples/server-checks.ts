/** What every example that is a server must do: stream, refuse, share, let go. @module */
import type { Check } from "../binding/conformance.ts";
import { GREEDY_TEXT } from "../binding/digest.ts";

export const STORY = "Tell me a short story about a fox.";
/** More than the budget of the examples has sessions for. */
const MANY = 60;

export interface Server {
  readonly url: string;
  close(): void;
}

interface Event {
  readonly piece?: string;
  readonly finishReason?: string;
}

const post = (url: string, body: BodyInit | object, signal?: AbortSignal): Promise<Response> =>
  fetch(url, {
    method: "POST",
    body: typeof body === "string" || body instanceof Uint8Array ? (body as BodyInit) : JSON.stringify(body),
    ...(signal && { signal }),
  });

async function* eventsOf(response: Response): AsyncGenerator<Event, void> {
  let rest = "";
  for await (const text of response.body!.pipeThrough(new TextDecoderStream())) {
    const events = (rest + text).split("\n\n");
    rest = events.pop()!;
    for (const event of events) yield JSON.parse(event.slice("data: ".length)) as Event;
  }
  if (rest !== "") throw new Error(`half an event: ${rest}`);
}

/** The text of an answer, which has to come to its end. */
async function textOf(response: Response): Promise<{ text: string; pieces: number }> {
  if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`);
  const events: Event[] = [];
  for await (const event of eventsOf(response)) events.push(event);
  if (events.at(-1)?.finishReason === undefined) throw new Error(`it ends with ${JSON.stringify(events.at(-1))}`);
  return { text: events.map(({ piece = "" }) => piece).join(""), pieces: events.length - 1 };
}

const greedy = { prompt: STORY, temperature: 0, maxTokens: 60 };

export function serverChecks(name: string, start: () => Promise<Server>): Check[] {
  let server: Server | undefined;
  const url = async (): Promise<string> => {
    server ??= await start();
    return server.url;
  };
  return [
    {
      name: `${name}: a completion streams, piece by piece`,
      async run() {
        const { text, pieces } = await textOf(await post(await url(), greedy));
        if (!text.startsWith(GREEDY_TEXT.slice(0, text.length)) || text.length < 100) throw new Error(`text: ${text}`);
        if (pieces < 20) throw new Error(`${pieces} pieces`);
        return `${pieces} pieces`;
      },
    },
    {
      name: `${name}: bad requests are refused with a code`,
      async run() {
        const cases: readonly (readonly [BodyInit | object, number, string])[] = [
          ["", 400, "bad_body"],
          ["{", 400, "bad_body"],
          ["null", 400, "bad_body"],
          [new Uint8Array([0x22, 0xff, 0xfe, 0x22]), 400, "bad_body"],
          [{ prompt: 7 }, 400, "bad_body"],
          [{ prompt: "Hi", maxTokens: -1 }, 400, "invalid_option"],
          [{ prompt: "Hi", maxTokens: "many" }, 400, "invalid_option"],
          [{ prompt: "Hi", maxTokens: 100_000 }, 400, "too_many_tokens"],
          [{ prompt: "Hi", temperature: -1 }, 400, "invalid_option"],
          [{ prompt: "word ".repeat(2000) }, 413, "context_length_exceeded"],
          ["x".repeat(1 << 20), 413, "body_too_large"],
        ];
        for (const [body, status, code] of cases) {
          const response = await post(await url(), body);
          const { error } = (await response.json()) as { error: { code: string; message: string } };
          if (response.status !== status || error.code !== code) {
            throw new Error(`${JSON.stringify(body).slice(0, 60)}: ${response.status} ${error.code} ${error.message}`);
          }
        }
        await textOf(await post(await url(), greedy));
        return `${cases.length} cases`;
      },
    },
    {
      name: `${name}: requests share the model; more than it has room for get 429, the others all of their text`,
      async run() {
        const alone = await textOf(await post(await url(), greedy));
        const responses = await Promise.all(Array.from({ length: MANY }, async () => post(await url(), greedy)));
        const refused = responses.filter(({ status }) => status === 429);
        const codes = await Promise.all(
          refused.map(async (r) => ((await r.json()) as { error: { code: string } }).error.code),
        );
        if (codes.length === 0 || codes.some((code) => code !== "too_many_requests"))
          throw new Error(`codes: ${codes}`);
        const served = responses.filter(({ status }) => status !== 429);
        const texts = await Promise.all(served.map(textOf));
        const other = texts.find(({ text }) => text !== alone.text);
        if (other !== undefined || texts.length < 2) throw new Error(`of ${texts.length}: ${JSON.stringify(other)}`);
        await textOf(await post(await url(), greedy));
        return `${served.length} served, ${refused.length} refused`;
      },
    },
    {
      name: `${name}: a client that goes leaves nothing behind`,
      async run() {
        for (let i = 0; i < MANY; ++i) {
          const gone = new AbortController();
          const response = await post(await url(), { ...greedy, maxTokens: 500 }, gone.signal);
          if (response.status !== 200) throw new Error(`client ${i}: ${response.status} ${await response.text()}`);
          await eventsOf(response).next();
          gone.abort();
        }
        const { text } = await textOf(await post(await url(), greedy));
        server?.close();
        return `${MANY} clients went; then ${text.length} letters`;
      },
    },
  ];
}
