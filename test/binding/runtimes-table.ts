/**
 * docs/runtimes.md from what the hosts measured.
 * @module
 */
import { cpus } from "node:os";
import type { Measured } from "./measure.ts";

const MIB = 2 ** 20;

/** @param notRun lines about hosts that this machine does not have */
export function runtimesTable(measured: readonly Measured[], notRun: readonly string[]): string {
  const digests = [...new Set(measured.map(({ digest }) => digest))];
  const rows = measured.map((row) => {
    const speed = row.tokensPerSecond === 0 ? "-" : row.tokensPerSecond.toFixed(0);
    const cells = [row.host, row.version, row.variant, row.threads, row.coldMs.toFixed(0), speed];
    const digest = `\`${row.digest.slice(0, 12)}\``;
    return `| ${[...cells, (row.peakBytes / MIB).toFixed(1), digest, row.notes.join(", ")].join(" | ")} |`;
  });
  return `# Runtimes

Written by \`npm run test:hosts -- --report docs/runtimes.md\` on ${new Date().toISOString().slice(0, 10)} (${cpus().length} x ${cpus()[0]?.model.trim()}).
Every host runs the one conformance suite (\`test/binding/conformance.ts\`) with the embedded model; this table is what it
measures first: cold is from \`loadModel\` to the first piece of text in a fresh process or page, tokens a second while it
writes 128 tokens, memory is all of WebAssembly memory at a context of 1,024, and the digest is of the logits of all tokens
of three prompts, with one thread and with two where there are two. ${digests.length === 1 ? `It is the same on all of them: \`${digests[0]}\`.` : "THE DIGESTS DIFFER."} One run each; times say
what order they are of, no more. Where a thread or relaxed SIMD is missing, one thread or the baseline build computes the
same bits.

| host | version | build | threads | cold ms | tokens/s | MiB | digest | missing |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
${rows.join("\n")}
${["", ...notRun.map((line) => `- ${line}`), ""].join("\n")}
Not tested: \`deno compile\` (it downloads a runtime), WKWebView and Android WebView themselves (WebKitGTK stands in for the
one, Chromium for the other), Windows and macOS.
`;
}
