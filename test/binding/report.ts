/**
 * How a host's run is printed: what it measured as a line `RUNTIME {...}`, a line for each check, then `N passed, N failed`.
 * @module
 */
import { type CheckResult, type Host, runConformance } from "./conformance.ts";
import { type Measured, measure } from "./measure.ts";

export function printMeasured(measured: Measured): void {
  console.log(`RUNTIME ${JSON.stringify(measured)}`);
}

/** A check that the host cannot run says so by how its detail begins; it counts as neither passed nor failed. */
export const NOT_RUN = "NOT RUN: ";

export function printResult({ name, ok, detail, ms }: CheckResult): void {
  const mark = !ok ? "FAIL" : detail.startsWith(NOT_RUN) ? "--  " : "ok  ";
  console.log(`${mark} ${name} (${ms} ms): ${detail}`);
}

/** Prints the last line. Returns whether all is well: something ran, nothing failed. */
export function printTotal(results: readonly Pick<CheckResult, "ok" | "detail">[]): boolean {
  const failed = results.filter(({ ok }) => !ok).length;
  const notRun = results.filter(({ ok, detail }) => ok && detail.startsWith(NOT_RUN)).length;
  console.log(`${results.length - failed - notRun} passed, ${failed} failed`);
  return failed === 0 && results.length > 0;
}

/** The whole run of a host that prints by itself. Returns whether all is well. */
export async function reportConformance(host: Host, version: string): Promise<boolean> {
  console.log(version);
  printMeasured(await measure(host, version));
  return printTotal(await runConformance(host, printResult));
}
