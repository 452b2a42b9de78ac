/**
 * How a host's run is printed: a line for each check, then `N passed, N failed`.
 * @module
 */
import { type CheckResult, type Host, runConformance } from "./conformance.ts";

export function printResult({ name, ok, detail, ms }: CheckResult): void {
  console.log(`${ok ? "ok  " : "FAIL"} ${name} (${ms} ms): ${detail}`);
}

/** Prints the last line. Returns whether all is well: something ran, nothing failed. */
export function printTotal(results: readonly { readonly ok: boolean }[]): boolean {
  const failed = results.filter(({ ok }) => !ok).length;
  console.log(`${results.length - failed} passed, ${failed} failed`);
  return failed === 0 && results.length > 0;
}

/** The whole run of a host that prints by itself. Returns whether all is well. */
export async function reportConformance(host: Host): Promise<boolean> {
  return printTotal(await runConformance(host, printResult));
}
