/** One unit: a stop, a variant, and the figures it gives. @module */
import type { Model } from "../../host/model.ts";
import { evictPrompt, observedRows } from "../../host/prompt-end.ts";
import type { Stop } from "./items.ts";
import { feed, type PromptEnd, sessionBytes } from "./prefix.ts";
import { forceTokens, type Grades, mean } from "./score.ts";
import type { Variant } from "./variants.ts";

/** As the store has them: bytes at the prompt's end, then what the measure says. */
export function measureStop(model: Model, prompt: PromptEnd, stop: Stop, variant: Variant): number[] {
  const session = prompt.fork(variant);
  try {
    const bytes = sessionBytes(model, session);
    return [bytes, ...figuresOf(stop, gradesOf(model, session, stop, variant))];
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

function gradesOf(model: Model, session: number, { end, tail, groups, ends = [] }: Stop, variant: Variant): Grades {
  const all: Grades[] = [];
  let at = 0;
  for (const stop of variant.rule === undefined ? [] : ends) {
    const from = questionStart(groups, stop);
    all.push(force(model, session, end, tail, groups, at, from));
    endPrompt(model, session, end + from, tail.slice(from, stop), end, variant);
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

/** Another prompt ends, and the session keeps no more slots than after the first one. */
function endPrompt(
  model: Model,
  session: number,
  position: number,
  question: readonly number[],
  first: number,
  { rule, policy }: Variant,
): void {
  const { engine } = model;
  const end = position + question.length;
  const window = policy?.values.get("window") ?? observedRows(engine);
  engine.runtime.exports.observeRows(session, Math.max(position, end - window));
  feed(model, session, position, question);
  const share = "share" in rule!.keep ? rule!.keep.share : 1;
  evictPrompt(engine, session, { ...rule!, keep: { slots: Math.round(share * first) } }, policy);
}
