/** docs/streaming.md: what an endless stream costs and keeps, of bench/results/stream.json. @module */
import type { PolicyResults } from "../stream/policy-results.ts";
import type { StreamResult } from "../stream.ts";
import { policiesPart } from "./stream-policies.ts";

const MIB = 1 << 20;

export function reportStream(results: readonly StreamResult[], policies: readonly PolicyResults[]): string {
  const lines = [
    "# Streams without end",
    "",
    "Written by `npm run bench:stream` from `bench/results/stream.json`; do not edit. Tokens go through a session of the embedded",
    'model that holds a fixed size (`overflow: "evict"`, `keep: { slots }`), under one policy after the other. Read in chunks, every',
    "token is predicted from what the session then holds.",
    "",
    "- **tokens/s**: medians of pieces of 500 tokens, in the second and the last tenth of the way; **ratio**: of the paces, tokens",
    "  in the time in which a session of fixed length, computed after each piece, takes one: other load on the machine falls out.",
    "  The bar is 0.95 to 1.05",
    "- **nats**: mean -ln p over the same tenths; **beyond**: what tokens of the tenth cost beyond a session that begins with it",
    "  (4,096 tokens once that has held twice its slots, with the standard error): how hard the text is falls out",
    "- **memory**: WebAssembly memory at the end of the first and the last tenth, resident bytes of the process likewise",
    "- **found**: pass keys named when the question comes so many tokens later, nobody having known it before",
    "",
  ];
  const sizes = new Map<string, StreamResult[]>();
  for (const result of results) {
    const size = `${result.slots} slots, ${result.forms}, ${result.tokens.toLocaleString("en")} tokens`;
    sizes.set(size, [...(sizes.get(size) ?? []), result]);
  }
  for (const [size, all] of sizes) {
    lines.push(`## ${size}`, "");
    lines.push(
      "| policy | tokens/s, 2nd tenth | last | ratio | nats, 2nd | last | beyond, 2nd | last | wasm MiB | resident MiB |",
    );
    lines.push("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for (const { policy, rates, paces, nats, beyond, wasmBytes, rssBytes } of all) {
      const apart = ({ mean, error }: StreamResult["beyond"][number]): string =>
        `${mean < 0 ? "" : "+"}${mean.toFixed(3)} ± ${error.toFixed(3)}`;
      const mib = (of: readonly number[]): string => `${(of[0]! / MIB).toFixed(1)}, ${(of.at(-1)! / MIB).toFixed(1)}`;
      const cells = [
        ...[policy, rates[1]!.toFixed(0), rates.at(-1)!.toFixed(0), (paces.at(-1)! / paces[1]!).toFixed(3)],
        ...[nats[1]!.toFixed(3), nats.at(-1)!.toFixed(3)],
        ...[apart(beyond[1]!), apart(beyond.at(-1)!)],
        ...[mib(wasmBytes), mib(rssBytes)],
      ];
      lines.push(`| ${cells.join(" | ")} |`);
    }
    const asked = all.filter(({ found }) => found.length > 0);
    if (asked.length > 0) {
      const distances = asked[0]!.found.map(({ distance }) => distance);
      lines.push("", `| found behind | ${distances.map((n) => n.toLocaleString("en")).join(" | ")} |`);
      lines.push(`| --- | ${distances.map(() => "---:").join(" | ")} |`);
      for (const { policy, found } of asked) {
        lines.push(`| ${policy} | ${found.map((at) => `${at.found} of ${at.of}`).join(" | ")} |`);
      }
    }
    lines.push("", ...new Set(all.map(({ command, machine, date }) => `\`${command}\`, ${machine}, ${date}.`)), "");
  }
  lines.push(...policiesPart(policies));
  return `${lines.join("\n").trimEnd()}\n`;
}
