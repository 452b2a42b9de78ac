/**
 * Teacher forcing: tokens are appended to a session as they are given, and some of them are graded by the logits before them.
 * @module
 */
import type { Model } from "../../host/model.ts";

/** Entry for each graded token, in order. */
export interface Grades {
  /** -ln p, nats. */
  readonly nll: readonly number[];
  /** It was the most likely one; of equals, the first. */
  readonly best: readonly boolean[];
}

/**
 * Appends `ids` but the last one, which nothing follows.
 * @param at - the session's length
 * @param graded - indices in `ids`, ascending, none of them 0: the token before `ids` is not computed again
 */
export function forceTokens(
  model: Model,
  session: number,
  at: number,
  ids: readonly number[],
  graded: readonly number[],
): Grades {
  const { engine } = model;
  const { maxOutputs } = engine.sizes;
  const wanted = new Set(graded);
  if (wanted.has(0)) throw new RangeError("the first token has no row before it here");
  const nll: number[] = [];
  const best: boolean[] = [];
  for (let i = 0; i < ids.length - 1; i += maxOutputs) {
    const end = Math.min(i + maxOutputs, ids.length - 1);
    const rows = ids.slice(i, end).map((input, r) => ({
      session,
      input,
      position: at + i + r,
      logits: wanted.has(i + r + 1),
    }));
    model.forward(rows);
    rows
      .filter(({ logits }) => logits)
      .forEach(({ position }, output) => {
        const next = ids[position - at + 1]!;
        nll.push(engine.negativeLogLikelihood(output, next));
        best.push(isBest(engine.logits(output), next));
      });
  }
  return { nll, best };
}

function isBest(logits: Float32Array, token: number): boolean {
  const value = logits[token]!;
  return logits.every((logit, id) => logit < value || (logit === value && id >= token));
}

export function mean(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0) / values.length;
}
