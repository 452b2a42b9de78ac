/**
 * Attention against the memory roof of one thread, where the cache is far larger than any processor's: 32,768 slots of all
 * heads of SmolLM2-135M, in the forms of pages. GB/s of page bytes; the roof is a loop that only reads the same pages, in
 * the same process, in turns with the kernels. The share is of the roof's best round.
 * @module
 */
import { access } from "node:fs/promises";
import { type Case, interleave, type Plan, type Side, withSides } from "../lib/interleave.ts";
import { openLineSide, program } from "../lib/line-side.ts";
import type { CaseResult, PartResult } from "../lib/results.ts";
import type { Build } from "../lib/variants.ts";

const ROOF = "roof";
const SLOTS = 32_768;
/** As a cache has them by default, and 4 bits with scales by token. */
const FORMS = ["q8", "q4", "q4-tokens", "q3", "f32"] as const;

/** @param builds - `test` builds by name; the first one's pages are what the roof reads */
export async function attentionPart(builds: readonly Build[], node: string, plan: Plan): Promise<PartResult> {
  const openers: Record<string, () => Promise<Side>> = {};
  let first: Side | undefined;
  for (const { name, file } of builds) {
    openers[name] = async () => {
      await access(file).catch(() => {
        throw new Error(`${file} was not built`);
      });
      const env = { THIMBLE_TEST_WASM: file };
      const side = await openLineSide(name, { program: node, args: [program("sides/attention")], env });
      first ??= side;
      return side;
    };
  }
  openers[ROOF] = async () => {
    if (first === undefined) throw new Error("there is no build whose pages it could read");
    const { info, measure } = first;
    return { name: ROOF, info, measure: (request) => measure({ ...request, what: ROOF }), close: async () => {} };
  };
  const { result, sides, skipped } = await withSides(openers, plan.log, (open) => interleave(open, cases(), plan));
  const shares = result.cases.flatMap(shareOf);
  return { part: "attention", sides, skipped: [...skipped, ...result.skipped], cases: [...result.cases, ...shares] };
}

function cases(): Case[] {
  return FORMS.map((form) => ({ label: `${form} pages`, unit: "GB/s", request: { form, slots: SLOTS } }));
}

function shareOf({ case: label, samples }: CaseResult): CaseResult[] {
  const { [ROOF]: roof, ...rates } = samples;
  if (roof === undefined) return [];
  const best = Math.max(...roof);
  const shares = Object.entries(rates).map(([side, values]) => [side, values.map((rate) => rate / best)] as const);
  const unit = "of one thread's roof";
  return [{ case: `${label}, share of the roof`, unit, samples: Object.fromEntries(shares), cpu: {} }];
}
