/** Markdown of what policies cost: a policy a row. @module */
import { POLICY_NAMES } from "../../host/policy.ts";
import type { StoredPart } from "../lib/results.ts";
import { median, ratioOf } from "../lib/statistics.ts";
import { caseOf, NONE, POLICY } from "../parts/policies.ts";
import { digits, markdownTable } from "./tables.ts";

/** A policy may take a twentieth of a decode's time. */
const BAR = 0.95;

export function policiesTable(part: StoredPart): string {
  const samplesOf = (name: string, what: string, side: string): readonly number[] =>
    part.cases.find((each) => each.case === caseOf(name, what))?.samples[side] ?? [];
  const rateOf = (name: string, what: string): number =>
    ratioOf(samplesOf(name, what, POLICY), samplesOf(name, what, NONE)).median;
  const rows = POLICY_NAMES.filter((name) => samplesOf(name, "decode, half kept", POLICY).length > 0).map((name) => {
    const end = median(samplesOf(name, "prompt's end", POLICY));
    const share = end / median(samplesOf(name, "prefill", POLICY));
    const decodes = ["decode, all kept", "decode, half kept"].map((what) => rateOf(name, what));
    const isMet = decodes.every((ratio) => ratio >= BAR);
    const rates = [rateOf(name, "prefill of the last chunk"), ...decodes].map(digits);
    return [name, digits(end * 1000), `${(share * 100).toFixed(1)}%`, ...rates, isMet ? "met" : "**missed**"];
  });
  const head = [
    "",
    "prompt's end, ms",
    "of the prefill",
    "prefill at its end",
    "decode, all kept",
    "decode, half kept",
  ];
  return markdownTable([...head, `decode at least ${BAR}`], rows);
}
