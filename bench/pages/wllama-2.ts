/**
 * wllama 2 through its low-level calls: `decode` reads tokens and computes the logits of the last. Sampling stays out of
 * its times, two more messages to its worker for each token, so the tokens of a decode are the prompt's next ones.
 * @module
 */
import { promptTokens, SMOLLM2_VOCABULARY } from "../prompt.ts";
import { offer } from "./page.ts";

const BATCH = 512;
const CONTEXT = 1024;

/** What is used of the package. */
interface Wllama {
  loadModel(blobs: Blob[], options: object): Promise<void>;
  decode(tokens: number[], options: object): Promise<{ nPast: number }>;
  kvClear(): Promise<void>;
  kvRemove(keep: number, discard: number): Promise<void>;
  isMultithread(): boolean;
}
interface Package {
  readonly Wllama: {
    new (paths: Record<string, string>, options: object): Wllama;
    getLibllamaVersion?(): string;
  };
}

const BUNDLE = "/wllama-2/index.js";
const { Wllama } = (await import(BUNDLE)) as Package;

offer(async (blob) => {
  const wasm = { "single-thread/wllama.wasm": "/wllama-2/single-thread/wllama.wasm" };
  const wllama = new Wllama(wasm, { suppressNativeLog: true });
  await wllama.loadModel([blob], { n_threads: 1, n_ctx: CONTEXT, n_batch: BATCH, flash_attn: true });
  await wllama.decode([...promptTokens(1, SMOLLM2_VOCABULARY)], {});
  let kept = 0;
  const prefill = async (n: number): Promise<number> => {
    await wllama.kvClear();
    kept = n;
    const start = performance.now();
    await wllama.decode([...promptTokens(n, SMOLLM2_VOCABULARY)], {});
    return (performance.now() - start) / 1000;
  };
  return {
    name: "wllama 2",
    info: {
      runtime: `wllama 2.4.0, ${wllama.isMultithread() ? "multi" : "single"}-thread build`,
      llamaCpp: Wllama.getLibllamaVersion?.() ?? "unknown",
      threads: 1,
      cache: "f16",
    },
    prefill,
    async decode(nContext, nTokens) {
      const tokens = [...promptTokens(nContext + nTokens, SMOLLM2_VOCABULARY)];
      if (kept < nContext) await prefill(nContext);
      await wllama.kvRemove(nContext, -1);
      const start = performance.now();
      for (let i = 0; i < nTokens; ++i) await wllama.decode([tokens[nContext + i]!], {});
      kept = nContext;
      return (nTokens * 1000) / (performance.now() - start);
    },
    close: () => {},
  };
});
