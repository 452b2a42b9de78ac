/**
 * What a page of the bench offers to lib/page-side.ts: a runtime that loads the one model and measures.
 * @module
 */
import type { Request } from "../lib/interleave.ts";
import type { SideInfo } from "../lib/results.ts";
import type { Measurer } from "../prompt.ts";
import { measureTokens } from "../sides/tokens.ts";

declare global {
  var bench: {
    /** Loads the model. Seconds from a Blob at hand to the first token of a one-token prompt, compilation included. */
    open(options: Readonly<Record<string, string>>): Promise<number>;
    info(): SideInfo;
    /** Tokens a second. */
    measure(request: Request): Promise<number>;
  };
}

export interface PageRuntime extends Measurer {
  readonly info: SideInfo;
}

/** @param load - makes the runtime from the model's bytes, up to a first token */
export function offer(load: (model: Blob, options: Readonly<Record<string, string>>) => Promise<PageRuntime>): void {
  let runtime: PageRuntime | undefined;
  const loaded = (): PageRuntime => {
    if (runtime === undefined) throw new Error("the model is not loaded");
    return runtime;
  };
  globalThis.bench = {
    async open(options) {
      const model = await (await fetch("/model.gguf")).blob();
      const start = performance.now();
      runtime = await load(model, options);
      return (performance.now() - start) / 1000;
    },
    info: () => ({ ...loaded().info, isolated: String(globalThis.crossOriginIsolated) }),
    measure: (request) => measureTokens(loaded(), request),
  };
}
