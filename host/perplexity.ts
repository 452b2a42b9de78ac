/**
 * How well a model predicts given tokens: -ln p of each next token, in one context, without BOS.
 * @module
 */
import { ThimbleError } from "./errors.ts";
import { evictionRule, setEviction } from "./evictor.ts";
import type { Model } from "./model.ts";
import { checkInteger } from "./options.ts";
import { beginPrompt, endPrompt, promptRule } from "./prompt-end.ts";
import { computeByLayers, goesByLayers } from "./prompt-layers.ts";
import { atPromptEnd, beginThinning, hasRoom, makeRoom, thin, thinningRule } from "./thinning.ts";
import type { SessionOptions } from "./token-turn.ts";

/**
 * With `overflow: "evict"` the tokens may be more than the context holds; with a policy, `keep.slots` or `keep.bytes` then hold
 * all along. Else with `keep` the first `from` tokens are the prompt, and what it does not keep is gone for all that follow.
 */
export interface PerplexityOptions extends SessionOptions {
  /** Score from this token on; the ones before are context only. Default 1 (the first has nothing before it). */
  readonly from?: number;
  readonly signal?: AbortSignal;
  /** Tokens evaluated so far and in all. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** One entry for each scored token, in order. */
export interface PerplexityResult {
  /** Mean of `nll`, nats. */
  readonly meanNll: number;
  /** e^meanNll; for people, so the host's exp will do. */
  readonly perplexity: number;
  /** -ln p of the token, natural logarithm. */
  readonly nll: readonly number[];
  /** The most likely token at its place. */
  readonly argmax: readonly number[];
  /** Lead of the most likely logit over the second. */
  readonly gap: readonly number[];
}

/**
 * @throws ThimbleError empty_prompt (fewer than two tokens), context_length_exceeded, invalid_option; the signal's reason
 */
export async function perplexity(
  model: Model,
  ids: readonly number[],
  options: PerplexityOptions = {},
): Promise<PerplexityResult> {
  const { engine, platform } = model;
  const { contextLength, maxOutputs } = engine.sizes;
  if (ids.length < 2) {
    throw new ThimbleError("empty_prompt", `perplexity needs at least 2 tokens, not ${ids.length}`, {
      needed: 2,
      available: ids.length,
    });
  }
  const rule = evictionRule(engine, options, promptRule(engine, options));
  if (ids.length > contextLength && rule.overflow !== "evict") {
    throw new ThimbleError("context_length_exceeded", `${ids.length} tokens exceed the context of ${contextLength}`, {
      needed: ids.length,
      available: contextLength,
    });
  }
  const from = checkInteger("from", options.from ?? 1, 1, ids.length - 1);
  const nll: number[] = [];
  const argmax: number[] = [];
  const gap: number[] = [];
  /** What an output says of the token behind row `at`. */
  const score = (output: number, at: number): void => {
    const [best, lead] = topTwo(engine.logits(output));
    nll.push(engine.negativeLogLikelihood(output, ids[at + 1]!));
    argmax.push(best);
    gap.push(lead);
  };
  const session = engine.openSession();
  let freeStream = (): void => {};
  try {
    const prompt = promptRule(engine, options);
    const thinning = thinningRule(engine, rule, prompt);
    setEviction(
      engine,
      session,
      thinning === undefined ? rule : evictionRule(engine, { ...options, keep: undefined }),
      [],
    );
    const check = (): void => options.signal?.throwIfAborted();
    const pass = { host: platform, check };
    const byLayers =
      prompt !== undefined && thinning === undefined && goesByLayers(engine, session, prompt, from, rule);
    if (byLayers) {
      freeStream = await engine.takeStream();
      await computeByLayers(engine, session, ids.slice(0, from), 0, prompt, {
        ...pass,
        onStep: (done, total) => options.onProgress?.(Math.floor((from * done) / total), ids.length),
        onLogits: () => score(0, from - 1),
      });
      freeStream();
    } else if (thinning === undefined) beginPrompt(engine, session, 0, prompt === undefined);
    else beginThinning(engine, session, thinning);
    const prompted = prompt === undefined ? 0 : from;
    for (let at = byLayers ? from : 0, end = 0; at < ids.length - 1; at = end) {
      check();
      if (at === prompted && prompt !== undefined && !byLayers) {
        if (thinning === undefined) await endPrompt(engine, session, prompt, ids.slice(0, from), pass);
        else if ("share" in prompt.keep) {
          await thin(
            engine,
            session,
            atPromptEnd(engine, session, thinning, prompt.keep.share),
            [],
            ids.slice(0, from),
            pass,
          );
        }
      }
      let most = maxOutputs;
      if (thinning !== undefined && !hasRoom(engine, session, thinning, maxOutputs)) {
        most = Math.min(most, (await makeRoom(engine, session, thinning, [], ids.slice(0, at), pass)).rows);
      }
      end = Math.min(at + most, at < prompted ? prompted : ids.length - 1, ids.length - 1);
      const rows = ids.slice(at, end);
      model.forward(rows.map((input, i) => ({ session, input, position: at + i, logits: at + i + 1 >= from })));
      let output = 0;
      for (let i = 0; i < rows.length; ++i) {
        if (at + i + 1 < from) continue;
        score(output, at + i);
        output += 1;
      }
      options.onProgress?.(Math.min(at + rows.length + 1, ids.length), ids.length);
      await platform.pause();
    }
  } finally {
    freeStream();
    engine.runtime.exports.sessionClose(session);
  }
  const meanNll = nll.reduce((sum, value) => sum + value, 0) / nll.length;
  return { meanNll, perplexity: Math.exp(meanNll), nll, argmax, gap };
}

/** Id of the highest value (the lowest id where equal) and its lead over the second. */
function topTwo(logits: Float32Array): [id: number, lead: number] {
  let id = 0;
  let best = Number.NEGATIVE_INFINITY;
  let second = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < logits.length; ++i) {
    const value = logits[i]!;
    if (value > best) {
      second = best;
      best = value;
      id = i;
    } else if (value > second) {
      second = value;
    }
  }
  return [id, best - second];
}
