/**
 * Our runtime as a `Measurer`, on Node, through the same calls a session makes: `Engine.forward` and an argmax.
 * @module
 */
import { readFile } from "node:fs/promises";
import { openFile } from "../bindings/node/file-source.ts";
import { platform as node } from "../bindings/node/platform.ts";
import { loadFrom } from "../host/model.ts";
import type { Platform } from "../host/platform.ts";
import { type Measurer, promptTokens } from "./prompt.ts";

/** And what only ours can tell. */
export interface OurMeasurer extends Measurer {
  /** Bytes of the page pool. */
  cacheBytes(): number;
}

/** The wasm of the build, wherever the bench's bundle lies; run from the project's root. */
const platform: Platform = { ...node, wasm: async (variant) => new Uint8Array(await readFile(`dist/${variant}.wasm`)) };

/** @param options.threads - must be 1: this build computes on one thread */
export async function measureOurs(options: { readonly model: string; readonly threads: number }): Promise<OurMeasurer> {
  if (options.threads !== 1) throw new Error("this build computes on one thread");
  const model = await loadFrom(platform, await openFile(options.model));
  const { engine, config } = model;
  const { maxRows } = engine.sizes;
  const session = engine.openSession();
  const feed = (tokens: readonly number[], position: number): void => {
    for (let at = 0; at < tokens.length; at += maxRows) {
      const rows = tokens.slice(at, at + maxRows);
      const isEnd = at + maxRows >= tokens.length;
      engine.forward(
        rows.map((input, i) => ({
          session,
          input,
          position: position + at + i,
          logits: isEnd && i === rows.length - 1,
        })),
      );
    }
  };
  const best = (): number => {
    const logits = engine.logits(0);
    let id = 0;
    for (let i = 1; i < logits.length; ++i) if (logits[i]! > logits[id]!) id = i;
    return id;
  };
  const fill = (n: number): void => {
    engine.runtime.exports.sessionTruncate(session, 0);
    feed([...promptTokens(n, config.vocabSize)], 0);
  };
  return {
    name: `thimble (${engine.runtime.variant})`,
    async prefill(n) {
      engine.runtime.exports.sessionTruncate(session, 0);
      const start = performance.now();
      fill(n);
      return (performance.now() - start) / 1000;
    },
    async decode(nContext, nTokens) {
      fill(nContext);
      let id = best();
      const start = performance.now();
      for (let i = 0; i < nTokens; ++i) {
        feed([id], nContext + i);
        id = best();
      }
      return (nTokens * 1000) / (performance.now() - start);
    },
    cacheBytes: () => model.stats.pageBytes,
    close: () => model.close(),
  };
}
