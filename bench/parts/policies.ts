/**
 * What policies cost, each against a model without one, in turns: the prompt's end as a share of its prefill, what is observed
 * of the prompt, and decoding, behind the whole prompt and behind what stays of it, where the other side has as many slots.
 * Goes on where it was left: a policy whose figures are in the results, of the same model, prompt and rounds, is not measured
 * again.
 * @module
 */
import { basename } from "node:path";
import { POLICY_NAMES } from "../../host/policy.ts";
import { type Case, interleave, messageOf, type Plan, type Side } from "../lib/interleave.ts";
import { openLineSide, program } from "../lib/line-side.ts";
import { type CaseResult, type PartResult, readPart, type SideInfo, type Skipped, storePart } from "../lib/results.ts";

/** Tokens that a decode is timed over. */
const TOKENS = 32;
export const NONE = "none";
export const POLICY = "policy";

/** Parameters where the defaults are for longer prompts, or would keep all of this one. */
const PARAMETERS: Readonly<Record<string, string>> = { razor: "recent=512", simlayerkv: "threshold=0" };
/** Read the prompt once more: its end takes as long as the prompt, and is measured once. */
const REPEATING = ["kvzip", "kvzip-layerwise"];

export interface PolicyOptions {
  readonly model: string;
  readonly node: string;
  /** Tokens of the prompt. */
  readonly prompt: number;
  /** Names; default all. */
  readonly only: readonly string[] | undefined;
  readonly plan: Plan;
  /** Where figures go as they come, and the command that they come from. */
  readonly results: string;
  readonly command: string;
}

export function caseOf(policy: string, what: string): string {
  return `${policy}: ${what}`;
}

export async function policiesPart(options: PolicyOptions): Promise<PartResult> {
  const { model, prompt, plan, results, command } = options;
  const note = `${basename(model)}, a prompt of ${prompt} tokens, ${plan.rounds} rounds`;
  const stored = await readPart(results, "policies");
  const before = stored?.notes?.[0] === note ? stored : undefined;
  const cases: CaseResult[] = [...(before?.cases ?? [])];
  const sides: Record<string, SideInfo> = { ...before?.sides };
  const skipped: Skipped[] = [];
  const part = (): PartResult => ({ part: "policies", sides, skipped, cases, notes: [note] });
  const wanted = (options.only ?? POLICY_NAMES).filter((name) => {
    return !cases.some((each) => each.case === caseOf(name, "decode, half kept"));
  });
  if (wanted.length === 0) return part();
  const none = await open(NONE, NONE, options);
  sides[NONE] = none.info;
  try {
    for (const name of wanted) {
      try {
        const side = await open(POLICY, PARAMETERS[name] ? `${name}:${PARAMETERS[name]}` : name, options);
        try {
          cases.push(...(await casesOf(name, none, side, plan)));
          const { policy: _, ...info } = side.info;
          sides[POLICY] = info;
        } finally {
          await side.close();
        }
      } catch (error) {
        skipped.push({ side: name, reason: messageOf(error) });
        plan.log(`${name} left out: ${messageOf(error)}`);
      }
      await storePart(results, command, part());
    }
  } finally {
    await none.close();
  }
  return part();
}

function open(side: string, policy: string, { model, node, prompt }: PolicyOptions): Promise<Side> {
  return openLineSide(side, { program: node, args: [program("sides/policy"), model, policy, String(prompt)] });
}

async function casesOf(name: string, none: Side, policy: Side, plan: Plan): Promise<CaseResult[]> {
  const once = { ...plan, rounds: 1, warmups: 0 };
  const run = async (what: string, each: Omit<Case, "label">, how = plan): Promise<CaseResult> => {
    const { cases, skipped } = await interleave([none, policy], [{ label: caseOf(name, what), ...each }], how);
    if (skipped.length > 0) throw new Error(skipped[0]!.reason);
    return cases[0]!;
  };
  const own = [POLICY];
  const tokens = TOKENS;
  const prefill = await run("prefill", { unit: "s", request: { op: "prefill" } }, once);
  const chunk = await run("prefill of the last chunk", { unit: "tokens/s", request: { op: "chunk" } });
  const rounds = REPEATING.includes(name) ? once : plan;
  const end = await run("prompt's end", { unit: "s", request: { op: "end" }, only: own }, rounds);
  const all = await run("decode, all kept", { unit: "tokens/s", request: { op: "decode", tokens } });
  const { value: slots } = await policy.measure({ op: "slots" });
  const half = await run("decode, half kept", { unit: "tokens/s", request: { op: "decode", tokens, slots } });
  return [prefill, chunk, end, all, half];
}
