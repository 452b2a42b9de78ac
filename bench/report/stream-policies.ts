/** The part of docs/streaming.md about what policies keep at the same size. @module */
import type { PolicyResult, PolicyResults } from "../stream/policy-results.ts";

const BASE = "streaming";

export function policiesPart(all: readonly PolicyResults[]): string[] {
  if (all.length === 0) return [];
  const lines = [
    "## Policies at the same size",
    "",
    "Written by `npm run bench:stream-policies` and `npm run bench:stream -- --report`. The same text and needles through a session of",
    "the same size under each policy. **context**: what a head can hold where heads share the slots unevenly. **bytes**: of a full",
    "session's pages and of what the policy keeps for each slot, as a share of 4,096 tokens' keys and values in f16. **nats**: mean -ln p of the text once twice the size has gone by; **beyond**: what that is",
    `beyond \`${BASE}\`, block by block of 500 tokens, with the standard error. **found**: as above; **kept**: e^-(beyond) times the`,
    "share of all needles found, by which policies stand.",
    "",
  ];
  for (const { model, slots, forms, tokens, policies, f16Bytes, command } of all) {
    lines.push(`### ${model}, ${slots} slots, ${forms}, ${tokens.toLocaleString("en")} tokens`, "");
    const distances = policies[0]!.found.map(({ distance }) => distance.toLocaleString("en"));
    lines.push(
      `| policy | context | bytes | nats | beyond | ${distances.map((n) => `found, ${n}`).join(" | ")} | kept |`,
    );
    lines.push(
      `| --- | ${Array(distances.length + 5)
        .fill("---:")
        .join(" | ")} |`,
    );
    const base = policies.find(({ policy }) => policy === BASE);
    const ranked = policies.map((one) => ({ ...one, kept: Math.exp(-beyond(one, base).mean) * shareFound(one) }));
    for (const one of ranked.sort((a, b) => b.kept - a.kept || mean(a.nats) - mean(b.nats))) {
      const apart = beyond(one, base);
      const cells = [
        ...[
          one.policy,
          one.context.toLocaleString("en"),
          `${((100 * one.bytes) / f16Bytes).toFixed(1)}%`,
          mean(one.nats).toFixed(3),
        ],
        one.policy === BASE ? "" : `${apart.mean < 0 ? "" : "+"}${apart.mean.toFixed(3)} ± ${apart.error.toFixed(3)}`,
        ...one.found.map(({ found, of }) => `${found} of ${of}`),
        one.kept.toFixed(2),
      ];
      lines.push(`| ${cells.join(" | ")} |`);
    }
    const ways = new Set(
      policies.map(({ machine, date }) => `\`${command}\` (and \`--context\` as in the table), ${machine}, ${date}.`),
    );
    lines.push("", ...ways, "");
  }
  return lines;
}

/** What a policy pays beyond another, over the blocks that both have. */
function beyond(one: PolicyResult, base: PolicyResult | undefined): { mean: number; error: number } {
  const apart =
    base === undefined ? [0] : one.nats.flatMap((x, i) => (base.nats[i] === undefined ? [] : [x - base.nats[i]]));
  const middle = mean(apart);
  const variance = mean(apart.map((x) => (x - middle) ** 2));
  return { mean: middle, error: Math.sqrt(variance / Math.max(1, apart.length - 1)) };
}

function shareFound({ found }: PolicyResult): number {
  return found.reduce((sum, each) => sum + each.found, 0) / found.reduce((sum, each) => sum + each.of, 0);
}

function mean(of: readonly number[]): number {
  return of.reduce((sum, x) => sum + x, 0) / of.length;
}
