/**
 * The native peer: llama.cpp as node-llama-cpp ships it (prebuilt, GPU off), driven below its scheduler.
 *
 * Install it outside the repository, with one platform's binary; no install script is needed (85 MB; without the
 * --omit, 725 MB of CUDA and Vulkan binaries come along):
 *
 *   npm install --prefix DIR --omit=optional --ignore-scripts node-llama-cpp@3.22.1 @node-llama-cpp/linux-x64@3.22.1
 *
 * The addon calls are internal to that package, hence the pinned version. They are used because the public
 * `sequence.evaluate` adds scheduling in JavaScript to each token, which would flatter us (SmolLM2-135M, best of 25
 * interleaved runs: 14.1 ms a token against 12.7).
 *
 * Setting: batch = micro-batch = 512, so a prompt of up to 512 tokens is one graph; KV cache f16; flash attention
 * "auto", the default of both projects, which means on for the CPU and is the faster choice; the choice of CPU backend
 * and weight repacking are llama.cpp's own. Decode includes the package's argmax (0.2 ms for 49,152 logits).
 */

import { readFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { type Measurer, promptTokens } from "./prompt.ts";

const PACKAGE_VERSION = "3.22.1";
const BATCH = 512;
const SEQUENCE = 0;

export interface NativeOptions {
  /** Folder that node-llama-cpp was installed in (the one with node_modules). */
  peersDir: string;
  /** Path of the GGUF file. */
  model: string;
  /** Default 1. */
  threads?: number;
  /** Default "auto". */
  flashAttention?: boolean | "auto";
  /** Type of the cache's keys and values. Default F16. */
  cacheType?: string;
  /** Slots of the KV cache. Default: the model's training length, at most 8192. */
  contextSize?: number;
}

export interface NativeInfo {
  release: string;
  /** The CPU backend that llama.cpp chose, e.g. libggml-cpu-haswell.so (AVX2). */
  backend: string;
  systemInfo: string;
  threads: number;
  /** Lines of llama.cpp's log about buffers, flash attention and batch size. */
  log: string[];
}

interface Addon {
  initBatch(size: number): void;
  addToBatch(sequence: number, position: number, tokens: Uint32Array, logitIndexes: Uint32Array): Uint32Array;
  decodeBatch(): Promise<void>;
  sampleToken(logitIndex: number, sampler: Sampler): Promise<number>;
  disposeSequence(sequence: number): void;
  removeTokenCellsFromSequence(sequence: number, start: number, end: number): boolean;
  getThreads(): number;
}

interface Sampler {
  applyConfig(config: { temperature: number }): void;
}

const LOGGED = /model buffer size|KV buffer size|n_ubatch|Flash Attention/;

export async function measureNative(options: NativeOptions): Promise<Measurer & { info: NativeInfo }> {
  const { peersDir, model: modelPath, threads = 1, flashAttention = "auto" } = options;
  const { getLlama } = await importPinned(resolve(peersDir));
  const log: string[] = [];
  let backend = "";
  const llama = await getLlama({
    gpu: false,
    build: "never",
    maxThreads: threads,
    logLevel: "log",
    logger: (_level: string, message: string) => {
      if (message.includes("loaded CPU backend from")) backend = basename(message.trim());
      if (LOGGED.test(message)) log.push(message.trim().replace(/ +/g, " "));
    },
  });
  const model = await llama.loadModel({ modelPath });
  const contextSize = options.contextSize ?? Math.min(model.trainContextSize, 8192);
  const cache = options.cacheType && {
    experimentalKvCacheKeyType: options.cacheType,
    experimentalKvCacheValueType: options.cacheType,
  };
  const context = await model.createContext({
    contextSize,
    batchSize: BATCH,
    threads,
    sequences: 1,
    flashAttention,
    ...cache,
  });
  llama.logLevel = "error";

  const vocabSize: number = model.fileInfo.metadata.tokenizer.ggml.tokens.length;
  const addon: Addon = context._ctx;
  const greedy: Sampler = new llama._bindings.AddonSampler(model._model);
  greedy.applyConfig({ temperature: 0 });
  if (addon.getThreads() !== threads) throw new Error(`[bench] native runs ${addon.getThreads()} threads`);

  /** Runs `tokens` behind `position` slots; the index of the last one's logits. */
  async function forward(tokens: Uint32Array, position: number): Promise<number> {
    let logitIndex = -1;
    for (let start = 0; start < tokens.length; start += BATCH) {
      const chunk = tokens.subarray(start, start + BATCH);
      const isLast = start + chunk.length === tokens.length;
      addon.initBatch(chunk.length);
      const wanted = isLast ? Uint32Array.of(chunk.length - 1) : new Uint32Array(0);
      const indexes = addon.addToBatch(SEQUENCE, position + start, chunk, wanted);
      await addon.decodeBatch();
      if (isLast) logitIndex = indexes[0]!;
    }
    return logitIndex;
  }

  /** Prompt tokens at the front of the cache: what a decode behind it need not read again. */
  let kept = 0;

  async function prefill(n: number): Promise<number> {
    const tokens = promptTokens(n, vocabSize);
    addon.disposeSequence(SEQUENCE);
    kept = n;
    const start = performance.now();
    await forward(tokens, 0);
    return (performance.now() - start) / 1000;
  }

  /** The index of the logits of the last of `n` prompt tokens, which is read anew for them. */
  async function fill(n: number): Promise<number> {
    kept = Math.min(kept, n - 1);
    if (!addon.removeTokenCellsFromSequence(SEQUENCE, kept, -1)) throw new Error("[bench] the cache was not cut");
    const logitIndex = await forward(promptTokens(n, vocabSize).subarray(kept), kept);
    kept = n;
    return logitIndex;
  }

  async function decode(nContext: number, nTokens: number): Promise<number> {
    let token = await addon.sampleToken(await fill(nContext), greedy);
    const start = performance.now();
    for (let i = 0; i < nTokens; ++i) {
      token = await addon.sampleToken(await forward(Uint32Array.of(token), nContext + i), greedy);
    }
    return nTokens / ((performance.now() - start) / 1000);
  }

  await prefill(Math.min(BATCH, contextSize - 1));
  await decode(32, 8);
  const info: NativeInfo = {
    release: `llama.cpp ${llama.llamaCppRelease.release} (node-llama-cpp ${PACKAGE_VERSION}, ${llama.buildType})`,
    backend,
    systemInfo: llama.systemInfo.trim(),
    threads: addon.getThreads(),
    log: [...new Set(log)],
  };
  return { name: "llama.cpp", info, prefill, decode, close: () => llama.dispose() };
}

/** Untyped: the package is no dependency of ours, and what we call of it is checked by its version. */
// biome-ignore lint/suspicious/noExplicitAny: see above
async function importPinned(peersDir: string): Promise<any> {
  const root = join(peersDir, "node_modules", "node-llama-cpp");
  const install = `npm install --prefix ${peersDir} node-llama-cpp@${PACKAGE_VERSION}`;
  const manifest = await readFile(join(root, "package.json"), "utf8").catch((cause) => {
    throw new Error(`[bench] no node-llama-cpp in ${peersDir}: ${install}`, { cause });
  });
  const { version } = JSON.parse(manifest);
  if (version !== PACKAGE_VERSION) throw new Error(`[bench] node-llama-cpp ${version} found: ${install}`);
  return import(pathToFileURL(join(root, "dist", "index.js")).href);
}
