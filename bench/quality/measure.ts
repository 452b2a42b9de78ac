/** One unit: a stop, a variant, and the figures it gives. @module */
import type { Model } from "../../host/model.ts";
import { beginPrompt, endPrompt, evictPrompt, observedRows } from "../../host/prompt-end.ts";
import type { Stop } from "./items.ts";
import { feed, type PromptEnd, sessionBytes } from "./prefix.ts";
import { forceTokens, type Grades, mean } from "./score.ts";
import { isPlain, type Variant } from "./variants.ts";

/** As the store has them: bytes at the prompt's end, then what the measure says. */
export async function measureStop(model: Model, prompt: PromptEnd, stop: Stop, variant: Variant): Promise<number[]> {
  const session = prompt.fork(variant);
  try {
    const bytes = sessionBytes(model, session);
    return [bytes, ...figuresOf(stop, await gradesOf(model, session, prompt.ids, stop, variant))];
  } finally {
    model.engine.runtime.exports.sessionClose(session);
  }
}

function figuresOf({ measure, groups }: Stop, { nll, best }: Grades): number[] {
  if (measure === "nll") return [mean(nll)];
  if (measure === "recall") return [best.every(Boolean) ? 1 : 0, -mean(nll)];
  let at = 0;
  return groups.map(({ length }) => {
    at += length;
    return best.slice(at - length, at).every(Boolean) ? 1 : 0;
  });
}

async function gradesOf(
  model: Model,
  session: number,
  ids: readonly number[],
  { end, tail, groups, ends = [] }: Stop,
  variant: Variant,
): Promise<Grades> {
  const all: Grades[] = [];
  let at = 0;
  for (const stop of variant.rule === undefined ? [] : ends) {
    const from = questionStart(groups, stop);
    all.push(force(model, session, end, tail, groups, at, from));
    await endAgain(model, session, [...ids, ...tail.slice(0, stop)], end + from, end, variant);
    at = stop;
  }
  all.push(force(model, session, end, tail, groups, at, tail.length - 1));
  return { nll: all.flatMap(({ nll }) => nll), best: all.flatMap(({ best }) => best) };
}

/** The token after the last graded one before `stop`: what was answered belongs to the turn before. */
function questionStart(groups: Stop["groups"], stop: number): number {
  return Math.max(...groups.flat().filter((i) => i < stop)) + 1;
}

/** Appends tail[at, to), grading what is graded of (at, to]. */
function force(
  model: Model,
  session: number,
  end: number,
  tail: readonly number[],
  groups: Stop["groups"],
  at: number,
  to: number,
): Grades {
  const graded = groups.flat().flatMap((i) => (i > at && i <= to ? [i - at] : []));
  return forceTokens(model, session, end + at, tail.slice(at, to + 1), graded);
}

/** Another prompt ends, all tokens being `ids`, and the session keeps no more slots than after the first one. */
async function endAgain(
  model: Model,
  session: number,
  ids: readonly number[],
  position: number,
  first: number,
  { rule, policy }: Variant,
): Promise<void> {
  const { engine, platform } = model;
  const own = engine.sizes.cache.policy!;
  const share = "share" in rule!.keep ? rule!.keep.share : 1;
  const again = { ...rule!, keep: { slots: Math.round(share * first) } };
  if (isPlain(own)) {
    const window = policy?.values.get("window") ?? observedRows(engine);
    engine.runtime.exports.observeRows(session, Math.max(position, ids.length - window));
    feed(model, session, position, ids.slice(position));
    evictPrompt(engine, session, again, policy);
    return;
  }
  beginPrompt(engine, session, position);
  feed(model, session, position, ids.slice(position));
  await endPrompt(engine, session, again, ids, { host: platform, check: () => {} });
}
