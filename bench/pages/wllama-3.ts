/**
 * wllama 3, which is llama.cpp's server without a network: completions of texts are its only interface (token ids as a
 * prompt, which the server would take, end its worker with an error in 3.8.1). Its times are those the server gives with
 * an answer, which leave out messages, JSON and the pieces' way to the page.
 * @module
 */
import { offer } from "./page.ts";

const BATCH = 512;
const CONTEXT = 1024;

/** What is used of the package. */
interface Wllama {
  loadModel(blobs: Blob[], options: object): Promise<void>;
  createCompletion(options: object): Promise<{ readonly timings: Timings }>;
  isMultithread(): boolean;
}
/** Of llama.cpp's server: tokens and milliseconds. */
interface Timings {
  readonly prompt_n: number;
  readonly prompt_ms: number;
  readonly predicted_n: number;
  readonly predicted_ms: number;
}
interface Package {
  readonly Wllama: { new (paths: Record<string, string>, options: object): Wllama; getLibllamaVersion(): string };
}

const BUNDLE = "/wllama-3/index.js";
const { Wllama } = (await import(BUNDLE)) as Package;

offer(async (blob) => {
  const wllama = new Wllama({ default: "/wllama-3/wasm/wllama.wasm" }, { suppressNativeLog: true });
  const sizes = { n_ctx: CONTEXT, n_batch: BATCH, n_ubatch: BATCH, n_parallel: 1 };
  await wllama.loadModel([blob], { ...sizes, n_threads: 1, n_gpu_layers: 0, flash_attn: true });
  /** Greedy, and nothing else in the chain of samplers. */
  const complete = async (nPrompt: number, nTokens: number): Promise<Timings> => {
    const { timings } = await wllama.createCompletion({
      prompt: textOf(nPrompt),
      max_tokens: nTokens,
      temperature: 0,
      samplers: ["top_k"],
      top_k: 1,
      ignore_eos: true,
      cache_prompt: false,
      stream: false,
    });
    if (timings.prompt_n !== nPrompt || timings.predicted_n !== nTokens) {
      throw new Error(`${timings.prompt_n} and ${timings.predicted_n} tokens instead of ${nPrompt} and ${nTokens}`);
    }
    return timings;
  };
  await complete(1, 1);
  return {
    name: "wllama 3",
    info: {
      runtime: `wllama 3.8.1, ${wllama.isMultithread() ? "several threads" : "one thread"}`,
      llamaCpp: Wllama.getLibllamaVersion(),
      threads: 1,
      cache: "f16",
    },
    prefill: async (n) => (await complete(n, 1)).prompt_ms / 1000,
    async decode(nContext, nTokens) {
      const { predicted_n, predicted_ms } = await complete(nContext, nTokens + 1);
      return ((predicted_n - 1) * 1000) / predicted_ms; // the first one came with the prompt
    },
    close: () => {},
  };
});

/** A text of `n` tokens in SmolLM2's vocabulary. */
function textOf(n: number): string {
  return Array.from({ length: n }, () => "the").join(" ");
}
