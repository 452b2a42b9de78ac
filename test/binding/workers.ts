/**
 * The suite in workerd: a worker that runs it for a request and streams what it reports, a line of JSON each. The service
 * behind http://model/ has the model; see miniflare.ts.
 * @module
 */
import { loadModel } from "../../bindings/workers/index.ts";
import { runConformance } from "./conformance.ts";
import { measure } from "./measure.ts";

const location = "http://model/model.gguf";

async function* run(version: string): AsyncGenerator<unknown, void> {
  const bytes = new Uint8Array(await (await fetch(location)).arrayBuffer());
  const host = { name: "workers", threads: false, loadModel, location, bytes };
  yield { measured: await measure(host, version) };
  const results: unknown[] = [];
  let wake = () => {};
  const running = runConformance(host, (result) => {
    results.push(result);
    wake();
  }).then(() => results.push(undefined) && wake());
  for (;;) {
    while (results.length === 0) await new Promise<void>((resolve) => (wake = resolve));
    const result = results.shift();
    if (result === undefined) return running.then(() => {});
    yield result;
  }
}

export default {
  async fetch(request: Request): Promise<Response> {
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    const writer = writable.getWriter();
    const encoder = new TextEncoder();
    const version = new URL(request.url).searchParams.get("version")!;
    (async () => {
      for await (const line of run(version)) await writer.write(encoder.encode(`${JSON.stringify(line)}\n`));
      await writer.close();
    })().catch((error: unknown) => writer.abort(error));
    return new Response(readable);
  },
};
