/**
 * A WebAssembly module of the build by `fetch`, and what to do where a server, a content policy or a packager is in its way.
 * A wrong content type is no obstacle: the bytes are compiled after they have arrived, instead of meanwhile.
 * @module
 */
import { ThimbleError } from "../../host/errors.ts";

const MAGIC = [0, 0x61, 0x73, 0x6d];

/** @throws ThimbleError wasm_unreadable */
export async function fetchModule(url: URL): Promise<WebAssembly.Module> {
  const refuse = (message: string, cause?: unknown): never => {
    throw new ThimbleError("wasm_unreadable", message, { file: url.href.slice(0, 200), cause });
  };
  const response = await fetch(url).catch((cause) =>
    refuse("no answer; deploy the file beside the script, and let the content policy's connect-src allow it", cause),
  );
  if (!response.ok) return refuse(`the server answered ${response.status}; deploy the file beside the script`);
  const type = response.headers.get("content-type") ?? "none";
  const cut = (cause: unknown) => refuse("the module did not arrive whole; load it again", cause);
  const bytes = new Uint8Array(await response.arrayBuffer().catch(cut));
  if (MAGIC.some((byte, i) => bytes[i] !== byte)) {
    const message = `what came (content type ${type}) is no WebAssembly; a server that answers every address with a page?`;
    return refuse(message);
  }
  return WebAssembly.compile(bytes).catch((cause) =>
    refuse('the module does not compile: cut short, or a content policy without "wasm-unsafe-eval"', cause),
  );
}
