/**
 * Tokens a second of ours alone, all variants interleaved, and beside each decode the memory roof of one thread, measured
 * in the same rounds: a token reads all weights and the keys and values before it, so bytes a second over the roof is the
 * share of what the memory could give one thread. Two threads go beside one: the roof of two over that of one, and the
 * processor time of their samples (2 says that both cores worked all the time), tell whether two real cores were free.
 * @module
 */
import { type Case, interleave, type Plan, type Side, withSides } from "../lib/interleave.ts";
import { openLineSide, program } from "../lib/line-side.ts";
import type { CaseResult, PartResult, SideInfo } from "../lib/results.ts";
import { builtVariants, productWasm } from "../lib/variants.ts";

const PREFILL = [128, 512, 2048] as const;
const DECODE = [128, 2048, 7168] as const;
/** Tokens that a decode is timed over. */
const TOKENS = 48;
const ROOF = "roof";

/** @param model - a GGUF file of at least 8K context */
export async function tokensPart(model: string, node: string, plan: Plan): Promise<PartResult> {
  const { variants, skipped } = await builtVariants(productWasm);
  const openers: Record<string, () => Promise<Side>> = {};
  for (const variant of variants) {
    for (const [name, threads] of [
      [variant, 1],
      [`${variant}, 2 threads`, 2],
    ] as const) {
      const args = [program("sides/ours"), model, variant, String(threads)];
      openers[name] = () => openLineSide(name, { program: node, args });
    }
  }
  openers[ROOF] = async () => {
    const side = await openLineSide(ROOF, { program: node, args: [program("sides/roof")] });
    return { ...side, measure: ({ threads = 1 }) => side.measure({ threads }) };
  };
  const { result, sides, ...rest } = await withSides(openers, plan.log, (open) =>
    interleave(open, cases(variants.flatMap((each) => [each, `${each}, 2 threads`])), plan),
  );
  const all = [...skipped, ...rest.skipped, ...result.skipped];
  const shares = result.cases.flatMap((each) => shareOf(each, sides));
  return { part: "tokens", sides, skipped: all, cases: [...result.cases.flatMap(split), ...shares] };
}

function cases(variants: readonly string[]): Case[] {
  const one = (op: string, label: string, context: number): Case => ({
    label: `${label}${context}`,
    unit: "tokens/s",
    request: { op, context, tokens: TOKENS },
    ...(op === "prefill" ? { only: variants } : {}),
  });
  return [
    ...[1, 2].map((threads) => ({ label: roofLabel(threads), unit: "GB/s", request: { threads }, only: [ROOF] })),
    ...PREFILL.map((context) => one("prefill", "prefill ", context)),
    ...DECODE.map((context) => one("decode", "decode @", context)),
  ];
}

function roofLabel(threads: number): string {
  return `memory roof, ${threads} ${threads === 1 ? "thread" : "threads"}`;
}

/** The roof's samples of a decode are GB/s: a case of their own. */
function split(each: CaseResult): CaseResult[] {
  const { [ROOF]: roof, ...samples } = each.samples;
  const { [ROOF]: _, ...cpu } = each.cpu;
  return roof === undefined || each.unit === "GB/s" ? [each] : [{ ...each, samples, cpu }];
}

/** Share of the roof in each round of a decode. */
function shareOf({ case: label, samples }: CaseResult, sides: Readonly<Record<string, SideInfo>>): CaseResult[] {
  const context = Number(/^decode @(\d+)$/.exec(label)?.[1]);
  const roof = samples[ROOF];
  if (Number.isNaN(context) || roof === undefined) return [];
  const shares: Record<string, number[]> = {};
  for (const [side, rates] of Object.entries(samples)) {
    if (side === ROOF) continue;
    const { weightBytes, cacheBytesPerToken } = sides[side]!;
    const bytes = Number(weightBytes) + (context + TOKENS / 2) * Number(cacheBytesPerToken);
    shares[side] = rates.map((rate, round) => (rate * bytes) / (roof[round]! * 1e9));
  }
  return [{ case: `${label}, share of the roof`, unit: "of one thread's roof", samples: shares, cpu: {} }];
}
