/**
 * A loaded model of ours as a `Measurer`, on any host, through the calls a session makes: `Engine.forward` and an argmax.
 * @module
 */
import type { Model } from "../host/model.ts";
import { type Measurer, promptTokens } from "./prompt.ts";

/** And what only ours can tell. */
export interface OurMeasurer extends Measurer {
  /** Bytes of the page pool. */
  cacheBytes(): number;
  /** Bytes of packed weights, all of which a token reads: the output matrix is the embedding here. */
  weightBytes(): number;
  /** Bytes that the keys and values of `n` tokens take. */
  cacheBytesOf(n: number): number;
}

export function measurerOf(model: Model): OurMeasurer {
  const { engine, config } = model;
  const { exports } = engine.runtime;
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
  /** Prompt tokens at the front of the cache: what a decode behind it need not read again. */
  let kept = 0;
  const fill = (n: number): void => {
    kept = exports.sessionTruncate(session, Math.min(kept, n - 1)); // the last one anew, for its logits
    const tokens = [...promptTokens(n, config.vocabSize)];
    feed(tokens.slice(kept, -1), kept);
    exports.sessionMark(session);
    feed(tokens.slice(-1), n - 1);
    kept = n;
  };
  return {
    name: `thimble (${engine.runtime.variant})`,
    async prefill(n) {
      exports.sessionTruncate(session, 0);
      kept = 0;
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
    weightBytes: () => model.stats.plan.weights,
    cacheBytesOf: (n) => n * model.stats.plan.perToken,
    close: () => model.close(),
  };
}
